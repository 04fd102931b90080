"""`python -m hf_seqreptile.study`: what intermediate tasks do for others, and whether their order matters."""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..console.bad_input import bad_input_exits
from ..console.verbosity import verbosity_put_back
from ..experiments.engine import check_engine, run_graph
from .outcome import read_outcome
from .plan import TasksFiles, check_commands, described, plan
from .presentation import sentences, write_outcome
from .start import start_of
from .study_file import read_study

EPILOG = """example:
  python -m hf_seqreptile.study study.yaml --output_dir study --dry_run
  python -m hf_seqreptile.study study.yaml --output_dir study --jobs 2

The file names the start, the intermediate tasks, the conditions and the targets: docs/intermediate.md. What has run is
not run again, whenever the command was stopped; a changed file runs what depends on the change and nothing else."""


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m hf_seqreptile.study",
        description="Intermediate tasks: alone, jointly, in orders, and what they do for other tasks and languages.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("study", type=Path, metavar="STUDY", help="the study's file, YAML or JSON")
    parser.add_argument(
        "--output_dir", type=Path, default=Path("study"), metavar="FOLDER", help="gets everything; default: study"
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at the same time; default: 1")
    parser.add_argument(
        "--executor", metavar="NAME", help="Snakemake's, such as slurm, whose plugin must be installed; default: none"
    )
    parser.add_argument("--dry_run", action="store_true", help="check all commands, say what would be run, and stop")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    args = make_parser().parse_args(argv)
    with bad_input_exits(), verbosity_put_back():
        check_engine(args.output_dir, args.jobs)
        study = read_study(args.study)
        folder = args.output_dir.resolve()
        with tempfile.TemporaryDirectory() as scratch:
            tried = plan(study, study.model, Path(scratch))
            check_commands(tried)
        print(described(tried, folder), flush=True)
        if args.dry_run:
            return
        made = plan(study, start_of(study, TasksFiles(study, folder / "tasks").all_files()), folder)
        run_graph(made.graph, folder, args.jobs, args.executor)
        outcome = read_outcome(made, folder)
        files = write_outcome(outcome, folder)
        print("", *sentences(outcome), sep="\n")
        print("\nWritten:", *files, sep="\n  ")


if __name__ == "__main__":
    main(sys.argv[1:])
