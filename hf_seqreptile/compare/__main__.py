"""`python -m hf_seqreptile.compare`: which method is best on one's own data, and whether the difference is real."""

import sys
from collections.abc import Sequence

from ..analysis.retrieval import read_parallel_texts
from ..console.bad_input import bad_input_exits
from ..console.verbosity import verbosity_put_back
from ..experiments.engine import check_engine, run_graph
from ..experiments.graph import marker
from ..scores import markdown_table
from .arguments import parse
from .outcome import read_outcome
from .plan import check_commands, described, plan
from .presentation import sentences, summary, write_outcome


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    with bad_input_exits(), verbosity_put_back():
        args = parse(sys.argv[1:] if argv is None else argv)
        check_engine(args.output_dir, args.jobs)
        comparison = plan(args)
        check_commands(comparison)
        directions = 2 * len(read_parallel_texts(args.pairs or None).pairs) if not args.without_retrieval else 0
        folder = args.output_dir.resolve()
        done = sum(marker(folder, name).is_file() for name in comparison.graph)
        print(described(comparison, done), flush=True)
        if args.dry_run:
            return
        run_graph(comparison.graph, folder, args.jobs, args.executor)
        outcome = read_outcome(comparison)
        files = write_outcome(outcome, comparison, directions)
        shown = summary(outcome)
        print("\n" + markdown_table(shown.headers, shown.rows), *shown.notes, sep="\n")
        print("", *sentences(outcome), sep="\n")
        print("\nWritten:", *files, sep="\n  ")


if __name__ == "__main__":
    main()
