"""What an analysis gives: numbers, a figure, and what the runs could not give."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .groups import Group

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REPORT_FILE = "analysis.json"


@dataclass(frozen=True)
class Result:
    """One analysis of some runs.

    Args:
        name: of its files.
        title: stands over the figure.
        caption: what is measured, in which unit, and how.
        numbers: what is drawn, as JSON; empty where no run gives it.
        missing: what runs could not give, each with its reason and how to get it.
        figure: the drawing; `None` where no run gives it.
        headlines: its main numbers, by what they are and by the setting's label.
    """

    name: str
    title: str
    caption: str
    numbers: dict[str, Any]
    missing: list[str]
    figure: Figure | None
    headlines: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def write_results(results: Sequence[Result], groups: Sequence[Group], folder: Path) -> list[Path]:
    """Write analysis.json, and a JSON file and, where something could be drawn, a PNG for each result.

    Args:
        results: of all analyses.
        groups: the runs.
        folder: exists.

    Returns:
        What was written.
    """
    figures: list[dict[str, Any]] = []
    files = []
    for result in results:
        described = {
            "name": result.name,
            "file": f"{result.name}.png" if result.figure else None,
            "title": result.title,
            "caption": result.caption,
            "missing": result.missing,
        }
        figures.append(described)
        files.append(_write_json(folder / f"{result.name}.json", described | {"numbers": result.numbers}))
        if result.figure:
            # Imported when it is needed: the report reads this file's results without a figure.
            from matplotlib.backends.backend_agg import FigureCanvasAgg

            path = folder / f"{result.name}.png"
            FigureCanvasAgg(result.figure).print_png(path, metadata={"Title": result.title})
            files.append(path)
    # The order is that of the groups in all figures.
    runs = [
        {"label": group.label, "folder": run.folder.resolve().name, "seed": run.seed, "settings": group.settings}
        for group in groups
        for run in group.runs
    ]
    return [_write_json(folder / REPORT_FILE, {"runs": runs, "figures": figures}), *files]


def _write_json(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
