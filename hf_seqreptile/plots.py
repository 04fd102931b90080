"""Figures of a training run."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from .scores import AVERAGE, Metric, evaluated_tasks

Curve = dict[int, float]
"""A value at each step."""

# Okabe and Ito's palette, told apart with any colour vision. Its black is kept for the average, and its yellow, which
# vanishes on white paper, is left out.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7", "#707070")
LINE_STYLES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (8, 2)))
MARKERS = "os^DvP<X>*p"
MOST_MARKERS = 6
CROWD = 10
"""More tasks than this are drawn finer."""

WIDTH, PANEL_HEIGHT, LEGEND_LINE, DPI = 8.0, 3.8, 0.19, 200
TEXT_SIZE, TITLE_SIZE = 9.5, 11
CHARACTERS_ACROSS = 100
"""About what a line of legend holds, at `TEXT_SIZE` on `WIDTH` inches."""


def plot_training(log_history: list[dict[str, Any]], metric: Metric, path: Path, title: str) -> Path:
    """Draw each task's loss and, where it was evaluated, each task's metric and their average, over the steps.

    Args:
        log_history: a trainer's `state.log_history`.
        metric: which metric to draw.
        path: the PNG to write.
        title: stands over the figure.

    Returns:
        `path`.
    """
    losses = _losses(log_history)
    scores = _scores(log_history, metric, trained=list(losses))
    average = scores.pop(AVERAGE, {})
    if len(scores) == 1:
        average = {}
    # A task that was not drawn at first has its first loss late, but all are evaluated at once, in the user's order.
    tasks = list(dict.fromkeys([*scores, *losses]))
    legend = {task: line_look(i, fine=len(tasks) > CROWD) for i, task in enumerate(tasks)}
    if average:
        legend[AVERAGE] = Line2D([], [], color="black", linewidth=3, marker="o", markersize=5)
    columns = max(1, min(len(legend), CHARACTERS_ACROSS // (max(map(len, legend), default=0) + 7)))
    height = PANEL_HEIGHT + LEGEND_LINE * math.ceil(len(legend) / columns)

    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    panels = {}
    if losses:
        panels["training loss"] = losses
    if scores:
        panels[f"{metric.label} (%)"] = {**scores, AVERAGE: average} if average else scores
    if panels:
        axes = figure.subplots(1, len(panels), sharex=True, squeeze=False)[0]
        for panel, (label, curves) in zip(axes, panels.items(), strict=True):
            _draw(panel, curves, legend, label)
    else:
        figure.text(0.5, 0.5, "neither losses nor scores were logged", ha="center", fontsize=TEXT_SIZE)
    figure.suptitle(literal(title), fontsize=TITLE_SIZE)
    figure.legend(
        list(legend.values()),
        [literal(metric.heading(name)) for name in legend],
        loc="outside lower center",
        ncols=columns,
        fontsize=TEXT_SIZE,
        frameon=False,
        handlelength=2.6,
        columnspacing=1.4,
    )
    canvas.print_png(path, metadata={"Title": title})
    return path


def _losses(log_history: Sequence[Mapping[str, Any]]) -> dict[str, Curve]:
    losses: dict[str, Curve] = {}
    for entry in log_history:
        for key, value in entry.items():
            if key.startswith("loss/"):
                losses.setdefault(key.removeprefix("loss/"), {})[entry["step"]] = value
    return losses


def _scores(log_history: Sequence[Mapping[str, Any]], metric: Metric, trained: Sequence[str]) -> dict[str, Curve]:
    """In percent, by task, in the order in which they were evaluated."""
    keys = list(dict.fromkeys(key for entry in log_history for key in entry))
    scores: dict[str, Curve] = {}
    for task in evaluated_tasks(keys, metric.name, trained):
        key = f"eval_{task}_{metric.name}"
        scores[task] = {e["step"]: 100 * metric.fraction(e[key]) for e in log_history if key in e}
    return scores


def line_look(index: int, fine: bool = False) -> Line2D:
    """The look of the task at `index`: colours first, then line styles; markers help in black and white."""
    return Line2D(
        [],
        [],
        color=COLOURS[index % len(COLOURS)],
        linestyle=LINE_STYLES[index // len(COLOURS) % len(LINE_STYLES)],
        marker=MARKERS[index % len(MARKERS)],
        linewidth=1.0 if fine else 1.5,
        markersize=4 if fine else 5.5,
    )


def _draw(axes: Axes, curves: Mapping[str, Curve], looks: Mapping[str, Line2D], label: str) -> None:
    for number, (name, curve) in enumerate(curves.items()):
        line = Line2D(list(curve), list(curve.values()))
        line.update_from(looks[name])
        # Few markers, and not all tasks' at the same steps, or they would hide the lines.
        every = max(1, math.ceil(len(curve) / MOST_MARKERS))
        line.set_markevery((number % every, every))
        axes.add_line(line)
    axes.autoscale_view()
    axes.set_title(label, fontsize=TITLE_SIZE, loc="left")
    axes.set_xlabel("optimizer step", fontsize=TEXT_SIZE)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    tidy(axes)


def tidy(axes: Axes) -> None:
    """A light grid behind what is drawn, no frame, and numbers of a size to read."""
    axes.tick_params(labelsize=TEXT_SIZE)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def literal(text: str) -> str:
    """`text` on one line, without what matplotlib would read as a formula."""
    return " ".join(text.split()).replace("$", r"\$")
