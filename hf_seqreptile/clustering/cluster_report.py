"""What a clustering leaves behind for people: its numbers, a figure, and examples of each cluster."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from ..embeddings.sentence_embeddings import as_text
from ..scores import escape_markdown, markdown_table
from .gaussian_clusters import Clusters

EXAMPLES = 5
CHARACTERS = 300
"""Of an example's text that are shown."""
POINTS = 20_000
"""At most so many are drawn."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
WIDTH, HEIGHT, DPI = 7.0, 5.6, 150
TEXT_SIZE, TITLE_SIZE = 9.5, 11


def cluster_name(number: int) -> str:
    """The task that a cluster becomes: cluster_1 for the largest, whose number is 0."""
    return f"cluster_{number + 1}"


def summary(clusters: Clusters, settings: Mapping[str, Any]) -> str:
    """Sizes, explained variance, BIC and mean responsibilities, as JSON, with the settings that gave them.

    A mean responsibility of 1 says that no row lies between clusters.
    """
    numbers = {
        "clusters": {
            cluster_name(number): {
                "size": int(size),
                "mean_responsibility": float(clusters.responsibilities[clusters.numbers == number].mean()),
            }
            for number, size in enumerate(clusters.sizes)
        },
        "examples": len(clusters.numbers),
        "mean_responsibility": float(clusters.responsibilities.mean()),
        "bic": clusters.bic,
        "converged": clusters.converged,
        "explained_variance": float(clusters.explained_variance.sum()),
        "explained_variance_by_component": clusters.explained_variance.tolist(),
    }
    return json.dumps(numbers | dict(settings), indent=2, ensure_ascii=False) + "\n"


def write_examples(clusters: Clusters, dataset: Dataset, columns: Sequence[str], path: Path) -> None:
    """Write a Markdown table of the clusters, and some texts of each, spread evenly over its rows."""
    rows = []
    parts = []
    for number, size in enumerate(clusters.sizes):
        own = clusters.numbers == number
        share = f"{100 * size / len(own):.1f}"
        rows.append([cluster_name(number), str(size), share, f"{clusters.responsibilities[own].mean():.3f}"])
        members = np.flatnonzero(own)
        shown = members[np.linspace(0, size - 1, min(EXAMPLES, size)).astype(int)]
        texts = dataset.select(shown).select_columns(list(columns))
        lines = ["- " + " / ".join(_shortened(as_text(row[column])) for column in columns) for row in texts]
        parts += [f"## {escape_markdown(cluster_name(number))}", "\n".join(lines)]
    table = markdown_table(["task", "examples", "share (%)", "mean responsibility"], rows)
    path.write_text("\n\n".join(["# Clusters", table, *parts]) + "\n", encoding="utf-8")


def plot_clusters(clusters: Clusters, path: Path) -> None:
    """Draw the first two principal components as a PNG, each cluster in its colour; of many rows, some."""
    # Imported when they are needed, since they take most of a second.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from ..plots import COLOURS, MARKERS

    every = -(-len(clusters.points) // POINTS)
    points, numbers = clusters.points[::every], clusters.numbers[::every]
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
    for number, size in enumerate(clusters.sizes):
        own = points[numbers == number]
        axes.scatter(
            own[:, 0],
            own[:, 1] if own.shape[1] > 1 else np.zeros(len(own)),
            s=max(3.0, min(25.0, 20_000 / len(points))),
            color=COLOURS[number % len(COLOURS)],
            marker=MARKERS[number // len(COLOURS) % len(MARKERS)],
            alpha=0.6,
            linewidths=0,
            label=f"{cluster_name(number)} ({size:,})",
        )
    for axis, number in ((axes.xaxis, 0), (axes.yaxis, 1)):
        if number < len(clusters.explained_variance):
            share = 100 * clusters.explained_variance[number]
            axis.set_label_text(f"component {number + 1} ({share:.1f} % of the variance)", fontsize=TEXT_SIZE)
    axes.tick_params(labelsize=TEXT_SIZE)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=4, fontsize=TEXT_SIZE, frameon=False, markerscale=2)
    figure.suptitle("Clusters of the sentence embeddings", fontsize=TITLE_SIZE)
    canvas.print_png(path, metadata={"Title": "Clusters"})


def _shortened(text: str) -> str:
    text = _CONTROL.sub("\ufffd", " ".join(text.split()))
    escaped = escape_markdown(text if len(text) <= CHARACTERS else text[:CHARACTERS].rstrip() + " …")
    # At the beginning of an item, a dash or `1.` would start a list within the list.
    return re.sub(r"^(\d*)([-+.)])", r"\1\\\2", escaped)
