"""Figure 4: how far the tasks' gradients point the same way."""

from collections.abc import Sequence
from statistics import fmean, median
from typing import Any

from matplotlib.figure import Figure

from ..plots import line_look
from .alignment_log import pair_cosines, why_no_cosines
from .drawing import GREY, ROW_HEIGHT, label_axes, name_rows, new_figure
from .groups import Group
from .results import Result
from .runs import SavedRun

NAME = "gradient_cosines"
TITLE = "Alignment of the tasks' gradients"
CAPTION = (
    "Cosine similarity between the gradients of each pair of tasks, at φ and without dropout, over all measurements "
    "after step 0 and all seeds (the paper's Figure 4). The shape shows how the values are spread, the black line "
    "their median; a small point is one pair's mean over the run. Right of 0, a step that helps one task helps the "
    "other too."
)


def gradient_cosines(groups: Sequence[Group]) -> Result:
    """The distribution of the pairwise cosine similarities of each setting."""
    missing = [why_no_cosines(run) for group in groups for run in group.runs if not _values_of_pairs(run)]
    numbers = {group.label: _of_group(group) for group in groups if any(map(_values_of_pairs, group.runs))}
    figure = _draw(numbers, [group.label for group in groups]) if numbers else None
    headlines = {"median cosine": {label: of_group["median"] for label, of_group in numbers.items()}}
    return Result(NAME, TITLE, CAPTION, numbers, missing, figure, headlines)


def _values_of_pairs(run: SavedRun) -> dict[str, list[float]]:
    """Of each pair that was measured after step 0."""
    values = {
        " – ".join(pair): [value for step, value in by_step.items() if step > 0]
        for pair, by_step in pair_cosines(run).items()
    }
    return {pair: of_pair for pair, of_pair in values.items() if of_pair}


def _of_group(group: Group) -> dict[str, Any]:
    pairs: dict[str, list[float]] = {}
    for run in group.runs:
        for pair, of_run in _values_of_pairs(run).items():
            pairs.setdefault(pair, []).extend(of_run)
    values = [value for of_pair in pairs.values() for value in of_pair]
    return {
        "median": median(values),
        "mean": fmean(values),
        "share_below_zero": fmean(value < 0 for value in values),
        "mean_of_pair": {pair: fmean(of_pair) for pair, of_pair in pairs.items()},
        "values": values,
    }


def _draw(numbers: dict[str, dict[str, Any]], order: Sequence[str]) -> Figure:
    figure = new_figure(TITLE, len(numbers) * 2 * ROW_HEIGHT + 1.1)
    axes = figure.subplots()
    axes.axvline(0, color=GREY, linewidth=1)
    for row, (label, of_group) in enumerate(numbers.items()):
        look = line_look(order.index(label))
        shape: dict[str, Any] = axes.violinplot(
            of_group["values"], [row], orientation="horizontal", widths=0.85, showextrema=False, showmedians=True
        )
        shape["cmedians"].set(color="black", linewidth=2)
        for body in shape["bodies"]:
            body.set(facecolor=look.get_color(), edgecolor=look.get_color(), alpha=0.45)
        means = list(of_group["mean_of_pair"].values())
        axes.plot(means, [row] * len(means), linestyle="", marker=".", markersize=5, color=look.get_color())
    name_rows(axes, list(numbers))
    label_axes(axes, "cosine similarity", "")
    return figure
