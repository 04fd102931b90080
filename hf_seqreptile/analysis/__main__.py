"""`python -m hf_seqreptile.analysis`: what finished runs say about gradients, forgetting and cost."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import datasets
import transformers

from ..console.bad_input import bad_input_exits
from ..console.verbosity import verbosity_put_back
from ..errors import InputError
from ..models.offline_encoder import OFFLINE_ENCODER
from ..scores import MISSING, markdown_table
from .cosine_and_loss import cosine_and_loss
from .distance_from_start import distance_from_start
from .encoders import load_start
from .folders import runs_of
from .forgetting import forgetting
from .gradient_computations import gradient_computations
from .gradient_cosines import gradient_cosines
from .groups import Group, group_by_setting
from .inner_steps import inner_steps
from .learning_rate import learning_rate
from .results import Result, write_results
from .retrieval import ParallelTexts, read_parallel_texts, retrieval
from .texts import Texts, bundled_texts, read_texts
from .wall_clock import wall_clock

EPILOG = """example:
  python -m hf_seqreptile.analysis out/mtl out/pcgrad out/seq_reptile --output_dir report

writes report/analysis.json, and a JSON file and a PNG for each figure. What a run cannot give is said, with how to
get it."""


def analyse(
    groups: Sequence[Group],
    texts: Texts | None = None,
    base_model: str | None = None,
    parallel_texts: ParallelTexts | None = None,
    layer: int | None = None,
) -> list[Result]:
    """All analyses, in the paper's order.

    Args:
        groups: the runs.
        texts: sentences by language, for the masked-language-model loss. Default: it is not measured.
        base_model: what all runs started from. Default: what each run's card names.
        parallel_texts: what translations are searched in. Default: the bundled sentences.
        layer: whose states find them, by the number of blocks before it. Default: the last.
    """
    return [
        gradient_cosines(groups),
        retrieval(groups, parallel_texts or read_parallel_texts(None), base_model, layer),
        *([] if texts is None else [forgetting(groups, texts, base_model)]),
        distance_from_start(groups, base_model),
        cosine_and_loss(groups),
        learning_rate(groups),
        gradient_computations(groups),
        wall_clock(groups),
        inner_steps(groups),
    ]


def summary(results: Sequence[Result], groups: Sequence[Group]) -> str:
    """A table of each setting's main numbers, and below it what was not drawn or is missing, and why."""
    columns = {name: values for result in results for name, values in result.headlines.items()}
    rows = list(
        dict.fromkeys([*(label for values in columns.values() for label in values), *(g.label for g in groups)])
    )
    body = [
        [row, *(f"{values[row]:.4g}" if row in values else MISSING for values in columns.values())] for row in rows
    ]
    parts = [markdown_table(["", *columns], body)]
    for result in results:
        if result.missing:
            state = "" if result.figure else " (not drawn)"
            parts.append("\n".join([f"{result.title}{state}, missing:", *(f"  {why}" for why in result.missing)]))
    return "\n\n".join(parts)


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m hf_seqreptile.analysis",
        description="What finished runs say about gradients, forgetting and cost.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folders of finished runs, or patterns: 'out/*'")
    parser.add_argument("--output_dir", type=Path, default=Path("report"), help="gets the files; default: report")
    parser.add_argument(
        "--base_model",
        help=f"what the runs started from: a model of the Hub, a folder, or {OFFLINE_ENCODER}; default: what their "
        f"model cards name",
    )
    parser.add_argument(
        "--masked_language_model",
        action="store_true",
        help="measure the masked-language-model loss too, which takes minutes",
    )
    parser.add_argument(
        "--text_files",
        nargs="+",
        metavar="LANGUAGE=FILE",
        help="texts for the masked-language-model loss, one sentence a line; default: the bundled samples' texts",
    )
    parser.add_argument(
        "--pairs",
        nargs="+",
        metavar="NAME=SOURCE,TARGET",
        help="files that translations are searched in, line by line translations of each other; default: the bundled "
        "sentences",
    )
    parser.add_argument(
        "--layer", type=int, help="whose states find translations: 8 is after block 8; default: the last"
    )
    args = parser.parse_args(argv)
    with bad_input_exits(), verbosity_put_back():
        # Loading an encoder without its head is what this is about; that a head is missing is no news.
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        datasets.disable_progress_bars()
        if args.text_files and not args.masked_language_model:
            raise InputError("--text_files is for --masked_language_model and has no effect without it; add it.")
        parallel_texts = read_parallel_texts(args.pairs)
        runs, skipped = runs_of(args.runs)
        for reason in skipped:
            print(f"skipped: {reason}", file=sys.stderr)
        groups = group_by_setting(runs)
        if args.base_model:
            load_start(args.base_model)
        texts = None
        if args.masked_language_model:
            texts = read_texts(args.text_files) if args.text_files else bundled_texts()
        # Before the work, so that a folder that cannot be made costs no wait.
        args.output_dir.mkdir(parents=True, exist_ok=True)
        results = analyse(groups, texts, args.base_model, parallel_texts, args.layer)
        files = write_results(results, groups, args.output_dir)
    print(summary(results, groups))
    print("\nWritten:", *files, sep="\n  ")


if __name__ == "__main__":
    main()
