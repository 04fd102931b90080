"""Runs that differ in one argument: what they end with, against its value."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from .drawing import Curve, Panel, draw_curves
from .groups import Group, families
from .results import Result
from .runs import SavedRun
from .score_log import final_score, score_label

Measure = Callable[[SavedRun], float | None]
"""A number that a run ends with; `None` where it has none."""


@dataclass(frozen=True)
class Measured:
    """What is drawn against the argument.

    Args:
        name: in the JSON file.
        label: of the axis.
        measure: the number.
        why_not: what to say of a run that has none.
        unit: what the axis counts: 0.01 where it is in percent.
    """

    name: str
    label: str
    measure: Measure
    why_not: Callable[[SavedRun], str]
    unit: float = 1


def tuning_score(groups: Sequence[Group]) -> Measured:
    """The final validation score, a fraction: what settings are chosen by. Test data is not looked at for that."""
    return Measured("score", score_label(groups), final_score, _no_final_score, unit=0.01)


def _no_final_score(run: SavedRun) -> str:
    return f"{run.folder}: no validation scores; run it with --do_eval"


def sweep(
    groups: Sequence[Group],
    *,
    name: str,
    title: str,
    caption: str,
    argument: str,
    label: str,
    measured: Sequence[Measured],
) -> Result:
    """Each measure against an argument, over the groups that differ in that argument alone.

    Args:
        groups: the runs.
        name: of the result.
        title: of the result.
        caption: of the result.
        argument: which must differ.
        label: of its axis.
        measured: one panel each.
    """
    found = families(groups, argument)
    missing = []
    if not found:
        missing.append(
            f"no two runs differ in --{argument} alone (and the seed); train again with another value of it"
        )
    numbers: dict[str, Any] = {}
    panels = []
    for each in measured:
        curves = []
        for family, members in found.items():
            points = []
            for run in (run for group in members for run in group.runs):
                value = each.measure(run)
                if value is None:
                    missing.append(each.why_not(run))
                else:
                    points.append((run.setting(argument), value))
            if points:
                curves.append(_curve(family, [(x, y / each.unit) for x, y in points]))
                numbers.setdefault(family, {})[each.name] = [{argument: x, each.name: y} for x, y in points]
        if curves:
            panels.append(Panel(label, each.label, curves, x_is_log=True))
    figure = draw_curves(title, panels, list(found)) if panels else None
    return Result(name, title, caption, numbers, missing, figure)


def _curve(label: str, points: Sequence[tuple[float, float]]) -> Curve:
    values = sorted({x for x, _ in points})
    means = [fmean(y for other, y in points if other == x) for x in values]
    return Curve(label, values, means, points=points if len(points) > len(values) else ())
