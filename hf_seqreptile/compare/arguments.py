"""The command line of a comparison: its own arguments, and those that it passes on to a script."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..experiments.commands import find_script
from ..yaml_text import read_mapping

EPILOG = """example:
  python -m hf_seqreptile.compare run_ner.py config.yaml --methods "mtl --tasks_per_step 1" mtl seq_reptile pcgrad \\
    --learning_rates 5e-5 1e-4 2e-4 --seeds 1 2 3 --max_gradient_computations 900 --output_dir compare

Arguments that are not listed here go to the script. docs/compare.md explains what is done and why."""
DEFAULT_METHODS = ("mtl --tasks_per_step 1", "mtl", "seq_reptile")
DEFAULT_RATES = (2e-5, 5e-5, 1e-4)
DEFAULT_ETAS = (0.5,)
SET_BY_THE_COMPARISON = {
    "--method": "--methods", "--seed": "--seeds", "--learning_rate": "--learning_rates",
    "--max_steps": "--max_gradient_computations", "--num_train_epochs": "--max_gradient_computations",
}  # fmt: skip
"""Arguments of a script that a comparison sets, and by which of its own."""


@dataclass(frozen=True)
class ComparisonArguments:
    """What a comparison was asked for.

    Args:
        script: its path.
        passed_on: the script's arguments, after the file that holds some of them.
        methods: each as after `--method`, with the arguments that belong to it.
        learning_rates: α to choose from.
        inner_steps: K to choose from; empty for a tenth and a thirtieth of the budget.
        outer_learning_rates: η to choose from.
        seeds: that are scored.
        choosing_seed: of the runs that settings are chosen by.
        choosing_share: of the budget that such a run takes.
        max_gradient_computations: of each scored run.
        interpolate: how much of the way from the start the encoder is put, to score it there too.
        pairs: of parallel sentences, `name=source,target`; empty for the bundled ones.
        without_retrieval: whether what the encoder still knows is not measured.
        jobs: runs at the same time.
        executor: Snakemake's; `None` for this machine.
        output_dir: of all that is written.
        dry_run: whether only to say what would be done.
    """

    script: str
    passed_on: Sequence[str]
    methods: Sequence[str]
    learning_rates: Sequence[float]
    inner_steps: Sequence[int]
    outer_learning_rates: Sequence[float]
    seeds: Sequence[int]
    choosing_seed: int
    choosing_share: float
    max_gradient_computations: int
    interpolate: Sequence[float]
    pairs: Sequence[str]
    without_retrieval: bool
    jobs: int
    executor: str | None
    output_dir: Path
    dry_run: bool

    def value_of(self, name: str) -> Any:
        """What the script is given for an argument, on the command line or in its file; `None` where nothing is."""
        return value_of(self.passed_on, name)


def value_of(passed_on: Sequence[str], name: str) -> Any:
    """As in [`ComparisonArguments`]; of several values the first."""
    for place, part in enumerate(passed_on):
        if part == f"--{name}" and place + 1 < len(passed_on):
            return passed_on[place + 1]
        if part.startswith(f"--{name}="):
            return part.partition("=")[2]
    files = [part for part in _leading(passed_on) if part.endswith((".yaml", ".yml", ".json"))]
    given = read_mapping(Path(files[-1]), "arguments' file", "arguments by name") if files else {}
    return given.get(name)


def parse(argv: Sequence[str]) -> ComparisonArguments:
    """The arguments of a comparison.

    Args:
        argv: the command line.

    Raises:
        InputError: an argument that the comparison sets itself, or a number that cannot be. (What argparse refuses
            ends the process with code 2.)
    """
    parser = make_parser()
    args, passed_on = parser.parse_known_args(argv)
    if taken := [part for part in passed_on if part.partition("=")[0] in SET_BY_THE_COMPARISON]:
        name = taken[0].partition("=")[0]
        raise InputError(f"A comparison sets {name} itself: give {SET_BY_THE_COMPARISON[name]} instead.")
    budget = args.max_gradient_computations or value_of(passed_on, "max_gradient_computations")
    if budget is None:
        raise InputError(
            "Methods are compared at equal gradient computations: give --max_gradient_computations. An epoch has "
            "⌈number of training examples / batch size⌉ of them, whatever the method."
        )
    made = ComparisonArguments(
        **vars(args)
        | {
            "script": find_script(args.script),
            "passed_on": passed_on,
            "choosing_seed": max(args.seeds) + 1 if args.choosing_seed is None else args.choosing_seed,
            "max_gradient_computations": _whole(budget),
        }
    )
    _check(made)
    return made


def make_parser() -> argparse.ArgumentParser:
    """The parser of the comparison's own arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m hf_seqreptile.compare",
        description="Compare methods on the same data at equal gradient computations, settings chosen alike.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        usage="%(prog)s SCRIPT [config.yaml] [--argument value …]",
    )
    rates = " ".join(f"{rate:g}" for rate in DEFAULT_RATES)
    methods = ", ".join(map(repr, DEFAULT_METHODS))
    several: dict[str, tuple[type, Sequence[Any], str, str]] = {
        "methods": (
            str, DEFAULT_METHODS, "METHOD",
            "each as after --method, with its own arguments in quotes; the first is what the others are held against; "
            f"default: {methods}",
        ),
        "learning_rates": (float, DEFAULT_RATES, "α", f"to choose from; default: {rates}"),
        "inner_steps": (
            int, (), "K",
            "to choose from, where a method has them; default: a tenth and a thirtieth of the gradient computations "
            "for seq_reptile, the method's own for reptile",
        ),
        "outer_learning_rates": (
            float, DEFAULT_ETAS, "η", "likewise; default: 0.5 for seq_reptile, the method's own for reptile"
        ),
        "seeds": (int, (1, 2, 3), "SEED", "of the scored runs; default: 1 2 3"),
        "interpolate": (
            float, (), "W",
            "score each model also with its encoder pulled back to W of its way from the start, such as 0.75 0.5",
        ),
        "pairs": (
            str, (), "NAME=SOURCE,TARGET",
            "parallel sentences that what the encoder still knows is measured on; default: the bundled ones",
        ),
    }  # fmt: skip
    single: dict[str, tuple[type, Any, str, str]] = {
        "max_gradient_computations": (int, None, "N", "drawn batches of each scored run"),
        "choosing_seed": (
            int, None, "SEED",
            "of the runs that settings are chosen by; default: one more than the largest of --seeds",
        ),
        "choosing_share": (float, 0.5, "SHARE", "of the budget that such a run takes; default: 0.5"),
        "jobs": (int, 1, "N", "runs at the same time; default: 1"),
        "executor": (str, None, "NAME", "Snakemake's, such as slurm, whose plugin must be installed; default: none"),
        "output_dir": (Path, Path("compare"), "FOLDER", "gets everything; default: compare"),
    }  # fmt: skip
    parser.add_argument("script", metavar="SCRIPT", help="run_ner.py, run_qa.py, … or your own")
    for name, (kind, default, shown, text) in several.items():
        parser.add_argument(f"--{name}", nargs="+", type=kind, default=default, metavar=shown, help=text)
    for name, (kind, default, shown, text) in single.items():
        parser.add_argument(f"--{name}", type=kind, default=default, metavar=shown, help=text)
    parser.add_argument("--without_retrieval", action="store_true", help="do not measure what the encoder still knows")
    parser.add_argument("--dry_run", action="store_true", help="check all commands, say what would be done, and stop")
    return parser


def _check(args: ComparisonArguments) -> None:
    checks = {
        "--seeds": (len(set(args.seeds)) < len(args.seeds), "names a seed twice"),
        "--choosing_seed": (args.choosing_seed in args.seeds, "is one of --seeds: settings would be chosen on a seed "
                            "that is scored"),
        "--choosing_share": (not 0 < args.choosing_share <= 1, "must be above 0 and at most 1"),
        "--learning_rates": (not all(rate > 0 for rate in args.learning_rates), "must be above 0"),
        "--inner_steps": (not all(number >= 1 for number in args.inner_steps), "must be at least 1"),
        "--outer_learning_rates": (not all(0 < rate <= 1 for rate in args.outer_learning_rates), "must be in (0, 1]"),
        "--interpolate": (not all(0 < weight < 1 for weight in args.interpolate), "must lie between 0 and 1"),
        "--max_gradient_computations": (args.max_gradient_computations < 2, "must be at least 2"),
    }  # fmt: skip
    if args.interpolate and ("--use_peft" in args.passed_on or args.value_of("use_peft")):
        raise InputError(
            "--interpolate pulls an encoder's own weights back, which --use_peft leaves as they were; remove one."
        )
    for name, (is_wrong, why) in checks.items():
        if is_wrong:
            raise InputError(f"{name} {why}.")


def _leading(passed_on: Sequence[str]) -> list[str]:
    """What comes before the first argument that has a name."""
    ends = next((place for place, part in enumerate(passed_on) if part.startswith("-")), len(passed_on))
    return list(passed_on[:ends])


def _whole(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"max_gradient_computations is {value!r}; give a whole number.") from error
