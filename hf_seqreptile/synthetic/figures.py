"""Figures of the synthetic experiment: paths over the surface of the loss, and the map of the gradients' cosine."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from ..plots import COLOURS
from .problem import OPTIMA, mean_cosine, total_loss

SURFACE, CLOSE_UP = (-10.0, 22.0), (-4.0, 14.0)
"""What is shown, from and to, of both axes."""
GRID = 161
WIDTH, PANEL, LEGEND, DPI = 6.4, 3.05, 1.0, 120
TEXT_SIZE, TITLE_SIZE = 10, 11
# Light enough for what is drawn over its darkest grey to stand out, in print too.
GREYS = LinearSegmentedColormap.from_list("light greys", ["#8c8c8c", "#ffffff"])

Look = Mapping[str, Any]
OPTIMUM: Look = {"marker": "+", "color": "black", "markersize": 11, "markeredgewidth": 1.8}
PATH: Look = {"color": COLOURS[1], "marker": ".", "markersize": 3.5, "linewidth": 1.3}
START: Look = {"marker": "s", "color": "white", "markeredgecolor": "black", "markersize": 7}
END: Look = {"marker": "o", "color": COLOURS[0], "markeredgecolor": "white", "markersize": 9}
OTHER_END: Look = {"marker": "o", "color": COLOURS[0], "markersize": 3.5}
MARKERS = "so^DvH<X"


def plot_paths(paths: Mapping[str, Sequence[Tensor]], file: Path, title: str) -> None:
    """Draw a panel for each method: its first path over the loss of MTL, and where its other paths ended.

    Args:
        paths: by method, one for each seed, shape (points, 2).
        file: the PNG to write.
        title: stands over the figure.
    """
    rows = -(-len(paths) // 2)
    figure = Figure(figsize=(WIDTH, rows * PANEL + LEGEND), dpi=DPI, layout="constrained")
    panels = figure.subplots(rows, 2, sharex=True, sharey=True, squeeze=False).flatten()
    for panel, (label, of_method) in zip(panels, paths.items(), strict=False):
        panel.contourf(*_heights(total_loss, SURFACE), levels=16, cmap=GREYS)
        first, *others = of_method
        panel.plot(*first.T, **PATH)
        for other in others:
            panel.plot(*other[-1], **OTHER_END)
        panel.plot(*first[0], **START)
        panel.plot(*first[-1], **END)
        _finish(panel, SURFACE)
        panel.set_title(label, fontsize=TITLE_SIZE, loc="left")
    for panel in panels[len(paths) :]:
        panel.set_axis_off()
    looks = {"start": START, "path of φ": PATH, "end": END, "optimum of a task": OPTIMUM}
    if any(len(of_method) > 1 for of_method in paths.values()):
        looks["end, other seeds"] = OTHER_END
    _write(figure, looks, file, title)


def plot_cosine(ends: Mapping[str, Tensor], file: Path, title: str) -> None:
    """Draw the map of the mean cosine of the tasks' gradients, with the points where each method ended.

    Args:
        ends: by method, shape (seeds, 2).
        file: the PNG to write.
        title: stands over the figure.
    """
    figure = Figure(figsize=(WIDTH, 0.85 * WIDTH + LEGEND), dpi=DPI, layout="constrained")
    panel = figure.subplots()
    levels = [i / 10 for i in range(-5, 11)]
    drawn = panel.contourf(*_heights(mean_cosine, CLOSE_UP), levels=levels, cmap="PuOr_r", norm=TwoSlopeNorm(0))
    bar = figure.colorbar(drawn, ax=panel, ticks=[-0.5, 0, 0.5, 1])
    bar.ax.tick_params(labelsize=TEXT_SIZE)
    _finish(panel, CLOSE_UP)
    looks: dict[str, Look] = {"optimum of a task": OPTIMUM}
    for (label, points), marker in zip(ends.items(), MARKERS, strict=True):
        colour = (*COLOURS, "black")[len(looks) - 1]
        looks[label] = {"marker": marker, "color": colour, "markersize": 9, "markeredgecolor": "white"}
        panel.plot(*points.T, linestyle="", **looks[label])
    _write(figure, looks, file, title)


def _heights(of: Callable[[Tensor], Tensor], shown: tuple[float, float]) -> tuple[Tensor, Tensor, Tensor]:
    """The x and y of a grid of points, and the value of each."""
    along = torch.linspace(*shown, GRID)
    x, y = torch.meshgrid(along, along, indexing="xy")
    return x, y, of(torch.stack([x, y], dim=-1))


def _finish(panel: Axes, shown: tuple[float, float]) -> None:
    for optimum in OPTIMA:
        panel.plot(*optimum, **OPTIMUM)
    ticks = [tick for tick in (-10, 0, 10, 20) if shown[0] <= tick <= shown[1]]
    panel.set(xlim=shown, ylim=shown, xticks=ticks, yticks=ticks, aspect="equal")
    panel.tick_params(labelsize=TEXT_SIZE)


def _write(figure: Figure, looks: Mapping[str, Look], file: Path, title: str) -> None:
    lines = [Line2D([], [], linestyle="-" if look is PATH else "", **look) for look in looks.values()]
    figure.legend(
        lines, list(looks), loc="outside lower center", ncols=3, fontsize=TEXT_SIZE, frameon=False, columnspacing=1.2
    )
    figure.suptitle(title, fontsize=TITLE_SIZE)
    FigureCanvasAgg(figure).print_png(file, metadata={"Title": title})
