"""The methods of a comparison and the settings that each is given to choose from."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from ..errors import InputError
from ..experiments.names import label_of, slug
from ..methods import method_class
from ..methods.outer_loop import OuterLoopMixin
from ..methods.reptile import ReptileMixin
from .arguments import ComparisonArguments

TRAJECTORIES = (10, 30)
"""Outer updates of a run, for which K is a share of the budget."""


@dataclass(frozen=True)
class Candidate:
    """A method as it is compared.

    Args:
        method: as after `--method`.
        arguments: its own, as on the command line.
        grid: the settings to choose from, each as arguments: those of a choosing run, and those of a scored one.
    """

    method: str
    arguments: Sequence[str]
    grid: Sequence[tuple[Sequence[str], Sequence[str]]]

    @property
    def label(self) -> str:
        """The method and what was given with it: `mtl, M=1`."""
        return label_of(self.method, self.arguments)

    @property
    def slug(self) -> str:
        """The label, for files."""
        return slug(self.label)


def candidates(args: ComparisonArguments) -> list[Candidate]:
    """The methods, with their grids.

    Raises:
        InputError: an unknown method, or two alike.
    """
    made = [_candidate(text, args) for text in args.methods]
    labels = [one.label for one in made]
    if twice := [label for label in labels if labels.count(label) > 1]:
        raise InputError(f"--methods names {twice[0]!r} twice.")
    return made


def _candidate(text: str, args: ComparisonArguments) -> Candidate:
    try:
        method, *own = shlex.split(text)
    except ValueError as error:
        raise InputError(f"--methods {text!r} cannot be read: {error}.") from error
    method_of_class = method_class(method)
    given = {part[2:].partition("=")[0] for part in own if part.startswith("--")}
    if taken := given & {"seed", "method", "max_steps", "max_gradient_computations", "output_dir"}:
        raise InputError(f"--methods {text!r}: a comparison sets --{min(taken)} itself.")
    choosing = max(1, int(args.max_gradient_computations * args.choosing_share))
    varied: dict[str, list[tuple[str, str]]] = {}
    if "learning_rate" not in given:
        varied["learning_rate"] = [(f"{rate:g}", f"{rate:g}") for rate in args.learning_rates]
    if issubclass(method_of_class, OuterLoopMixin):
        is_reptile = issubclass(method_of_class, ReptileMixin)
        if "inner_steps" not in given:
            if args.inner_steps:
                varied["inner_steps"] = [(str(number), str(number)) for number in args.inner_steps]
            elif not is_reptile:
                varied["inner_steps"] = [
                    (str(max(1, choosing // updates)), str(max(1, args.max_gradient_computations // updates)))
                    for updates in TRAJECTORIES
                ]
        if "outer_learning_rate" not in given and not is_reptile:
            varied["outer_learning_rate"] = [(f"{rate:g}", f"{rate:g}") for rate in args.outer_learning_rates]
    points = [dict(zip(varied, values, strict=True)) for values in product(*varied.values())]
    grid = [tuple(_as_arguments(point, which) for which in (0, 1)) for point in points]
    return Candidate(method, own, grid)  # type: ignore[arg-type]


def _as_arguments(point: dict[str, tuple[str, str]], which: int) -> list[str]:
    return [part for name, values in point.items() for part in (f"--{name}", values[which])]
