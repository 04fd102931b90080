"""The two kinds of figure that the analyses draw: curves, and a row for each setting."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ..plots import DPI, LEGEND_LINE, TITLE_SIZE, line_look, literal, tidy

WIDTH, PANEL_HEIGHT, ROW_HEIGHT = 5.6, 2.9, 0.38
"""Inches; narrow, so that a phone need not shrink the text much."""
TEXT_SIZE = 10
CHARACTERS_ACROSS = 62
"""About what a line of legend holds, at `TEXT_SIZE` on `WIDTH` inches."""
GREY = "#606060"


@dataclass(frozen=True)
class Curve:
    """A line and, beside it, single points.

    Args:
        label: in the legend, once for all curves that have it.
        x: of the line's points.
        y: of the line's points.
        points: (x, y) of single measurements that the line is the mean of.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    points: Sequence[tuple[float, float]] = ()


@dataclass(frozen=True)
class Panel:
    """A panel of curves; `x_is_log` for arguments that are varied by factors."""

    x_label: str
    y_label: str
    curves: Sequence[Curve]
    x_is_log: bool = False


@dataclass(frozen=True)
class RowPanel:
    """A panel with a row for each setting: its runs as points, their mean larger.

    Args:
        label: of the values.
        values: of the runs of each row.
        reference: a mark in each row to compare the values with.
        from_zero: the axis begins at 0.
    """

    label: str
    values: Mapping[str, Sequence[float]]
    reference: Mapping[str, float] = field(default_factory=dict)
    from_zero: bool = False


def draw_curves(title: str, panels: Sequence[Panel], order: Sequence[str]) -> Figure:
    """A figure with one panel above the other.

    Args:
        title: stands over the figure.
        panels: at least one.
        order: all labels; it decides on colours, so that a setting has the same one in every figure.
    """
    looks = {label: line_look(index) for index, label in enumerate(order)}
    drawn = [label for label in order if any(curve.label == label for panel in panels for curve in panel.curves)]
    columns = max(1, min(len(drawn), CHARACTERS_ACROSS // (max(map(len, drawn)) + 6)))
    legend_height = LEGEND_LINE * math.ceil(len(drawn) / columns) + 0.5
    figure = new_figure(title, len(panels) * PANEL_HEIGHT + legend_height)
    for axes, panel in zip(figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels, strict=True):
        for curve in panel.curves:
            _draw_curve(axes, curve, looks[curve.label])
        if panel.x_is_log:
            values = sorted({x for curve in panel.curves for x in curve.x})
            axes.set_xscale("log")
            axes.minorticks_off()
            axes.set_xticks(values, [f"{value:g}" for value in values])
        elif all(isinstance(x, int) for curve in panel.curves for x in curve.x):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        label_axes(axes, panel.x_label, panel.y_label)
    handles, names = [looks[label] for label in drawn], [literal(label) for label in drawn]
    figure.legend(handles, names, loc="outside lower center", ncols=columns, fontsize=TEXT_SIZE, frameon=False)
    return figure


def _draw_curve(axes: Axes, curve: Curve, look: Line2D) -> None:
    style: dict[str, Any] = {"color": look.get_color(), "marker": look.get_marker()}
    every = max(1, math.ceil(len(curve.x) / 8))
    axes.plot(
        curve.x, curve.y, linestyle=look.get_linestyle(), linewidth=1.5, markersize=4.5, markevery=every, **style
    )
    for x, y in curve.points:
        axes.plot(x, y, linestyle="", markersize=3.5, alpha=0.6, **style)


def draw_rows(title: str, panels: Sequence[RowPanel], order: Sequence[str], reference: str = "") -> Figure:
    """A figure with one panel above the other.

    Args:
        title: stands over the figure.
        panels: at least one.
        order: as for [`draw_curves`].
        reference: what the panels' references are called in the legend.
    """
    heights = [ROW_HEIGHT * len(panel.values) + 0.75 for panel in panels]
    figure = new_figure(title, sum(heights) + 0.4 + (0.3 if reference else 0))
    subplots = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, panel in zip(subplots, panels, strict=True):
        for row, (label, values) in enumerate(panel.values.items()):
            look = line_look(order.index(label))
            style = {"color": look.get_color(), "marker": look.get_marker(), "linestyle": ""}
            if len(values) > 1:
                axes.plot(values, [row] * len(values), markersize=4, alpha=0.6, **style)
            axes.plot(sum(values) / len(values), row, markersize=8, **style)
            if label in panel.reference:
                axes.plot(panel.reference[label], row, marker="|", markersize=17, markeredgewidth=2, color="black")
        name_rows(axes, list(panel.values))
        label_axes(axes, panel.label, "")
        if panel.from_zero:
            # The margin is one of what is shown: where all values are alike, one of their range would cut the marks.
            axes.set_xlim(0, 1.05 * max(map(max, panel.values.values())))
    if reference:
        mark = Line2D([], [], linestyle="", marker="|", markersize=12, markeredgewidth=2, color="black")
        figure.legend([mark], [reference], loc="outside lower center", fontsize=TEXT_SIZE, frameon=False)
    return figure


def new_figure(title: str, height: float) -> Figure:
    """An empty figure of `height` inches under its title."""
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
    figure.suptitle(literal(title), fontsize=TITLE_SIZE)
    return figure


def name_rows(axes: Axes, labels: Sequence[str]) -> None:
    """Rows from above, at 0, 1, …, with their names at the left."""
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    # The method stands over its settings, so that a narrow figure keeps room for what is drawn.
    axes.set_yticks(range(len(labels)), [literal(label).replace(", ", "\n", 1) for label in labels])
    axes.set_ylim(len(labels) - 0.4, -0.6)


def label_axes(axes: Axes, x_label: str, y_label: str) -> None:
    """What the axes show, and a light grid."""
    axes.set_xlabel(x_label, fontsize=TEXT_SIZE)
    axes.set_ylabel(y_label, fontsize=TEXT_SIZE)
    tidy(axes)
