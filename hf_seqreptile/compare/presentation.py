"""A comparison's outcome in words, as tables, as a figure and as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..analysis.drawing import label_axes, new_figure
from ..analysis.groups import group_by_setting
from ..analysis.results import Result, write_results
from ..durable import write_whole
from ..experiments.differences import Estimate
from ..experiments.words import interval, percent
from ..plots import line_look, literal
from ..report.files import write_report
from ..report.page import Summary
from ..report.tables import make_tables
from ..scores import MISSING, escape_markdown, markdown_table
from .outcome import MethodOutcome, Outcome, Point
from .plan import Comparison

COMPARISON_FILES = ("comparison.md", "comparison.json")
FRONTIER = "frontier"
TITLE = "Score against what the encoder still knows"
CAPTION = (
    "Above: every setting that was tried, on validation data. Below: the scored runs at their chosen settings, "
    "{split} data, means over seeds. Further right, the encoder finds more translations (retrieval accuracy over "
    "{pairs} directions of sentence pairs; the start is the dotted line); further up, the task is done better. Hollow "
    "marks: the same models with their encoders pulled back to a share of their way from the start, which the number "
    "tells."
)


def sentences(outcome: Outcome) -> list[str]:
    """The answer: each method's score, whether its difference to the first is real, and what it kept."""
    first, *others = outcome.methods
    group = outcome.main_group
    lines = [f"{first.label}: {interval(first.group_scores[group])}."]
    for one in others:
        difference = one.difference
        assert difference is not None
        verdict = _verdict(one, difference)
        lines.append(
            f"{one.label}: {interval(one.group_scores[group])}. The difference to {first.label}, "
            f"{interval(difference, signed=True)}, {verdict}"
        )
    kept = [one for one in outcome.methods if one.kept is not None]
    if kept and outcome.start_kept is not None:
        told = ", ".join(f"{one.label} {percent(one.kept.value)}" for one in kept if one.kept)
        lines.append(
            f"What the encoder still knows, by the share of translations that it finds ({percent(outcome.start_kept)} "
            f"before training): {told}."
        )
    return lines


def _verdict(one: MethodOutcome, difference: Estimate) -> str:
    if one.corrected_p is None:
        return "has no interval: give more seeds."
    if one.differs:
        return f"is beyond chance (p = {one.corrected_p:.2g} after Holm's correction)."
    return f"is within chance (p = {one.corrected_p:.2g} after Holm's correction)."


def summary(outcome: Outcome) -> Summary:
    """The table of the methods, with the sentences above it and the notes below."""
    groups = list(outcome.groups)
    tasks = list(dict.fromkeys(task for own in outcome.groups.values() for task in own))
    headers = [
        "Method", "settings", *(f"{name} ({len(own)})" for name, own in outcome.groups.items()), "difference",
        "p (Holm)", "kept", "steps", "tried", *map(outcome.metric.heading, tasks),
    ]  # fmt: skip
    rows = []
    for one in outcome.methods:
        rows.append(
            [
                one.label,
                one.chosen or MISSING,
                *(interval(one.group_scores[group]) for group in groups),
                MISSING if one.difference is None else interval(one.difference, signed=True),
                MISSING if one.corrected_p is None else f"{one.corrected_p:.2g}",
                MISSING if one.kept is None else percent(one.kept.value),
                MISSING if one.steps is None else f"{one.steps:,.0f}",
                str(one.tuned_over),
                *(percent(one.task_scores[task]) for task in tasks),
            ]
        )
    marked = [one.label for one in outcome.methods if one.differs]
    notes = [
        f"{outcome.metric.label} (%) on {outcome.split} data, means over seeds; in brackets the 95 % interval, over "
        f"seeds and over test examples (paired bootstrap).",
        *(f"{name}: {', '.join(own)}." for name, own in outcome.groups.items()),
        f"difference: to {outcome.methods[0].label}, over the {outcome.main_group} tasks. "
        + (f"Beyond chance: {', '.join(marked)}." if marked else "None is beyond chance."),
        "kept: retrieval accuracy (%) of the encoder"
        + ("" if outcome.start_kept is None else f"; before training {percent(outcome.start_kept)}")
        + ". tried: settings that it was chosen from. steps: optimizer steps, of equal gradient computations.",
        *outcome.notes,
    ]
    return Summary("What was found", sentences(outcome), headers, rows, marked, notes)


def markdown(shown: Summary) -> str:
    """The sentences, the table, the notes."""
    table = markdown_table(shown.headers, shown.rows)
    parts = ["# Comparison", "\n".join(f"- {escape_markdown(line)}" for line in shown.sentences), table]
    return "\n\n".join([*parts, "  \n".join(map(escape_markdown, shown.notes))]) + "\n"


def as_json(outcome: Outcome, comparison: Comparison) -> dict[str, Any]:
    """For programs; scores are fractions."""
    args = comparison.args
    return {
        "split": outcome.split,
        "metric": outcome.metric.as_json(),
        "groups": {name: list(tasks) for name, tasks in outcome.groups.items()},
        "gradient_computations": args.max_gradient_computations,
        "choosing": {"share": args.choosing_share, "seed": args.choosing_seed},
        "start_kept": outcome.start_kept,
        "methods": [_method_as_json(one) for one in outcome.methods],
        "frontier": {"grid": [asdict(one) for one in outcome.grid], "scored": [asdict(one) for one in outcome.scored]},
        "notes": list(outcome.notes),
    }


def _method_as_json(one: MethodOutcome) -> dict[str, Any]:
    def shown(estimate: Estimate | None) -> dict[str, Any] | None:
        if estimate is None:
            return None
        return {name: None if value != value else value for name, value in asdict(estimate).items()}

    return {
        "label": one.label,
        "chosen": one.chosen,
        "tuned_over": one.tuned_over,
        "scores": {name: shown(value) for name, value in one.group_scores.items()},
        "difference": shown(one.difference),
        "corrected_p": one.corrected_p,
        "differs": one.differs,
        "tasks": dict(one.task_scores),
        "kept": shown(one.kept),
        "steps": one.steps,
        "runs": {seed: run.folder.name for seed, run in one.runs.items()},
    }


def frontier(outcome: Outcome, pairs: int) -> Result:
    """The figure of score against what is kept."""
    panels = [
        (points, title)
        for points, title in (
            (outcome.grid, "every setting, validation"),
            (outcome.scored, f"chosen, {outcome.split}"),
        )
        if points
    ]
    labels = [one.label for one in outcome.methods]
    figure = _draw(panels, labels, outcome) if panels else None
    missing = [] if panels else ["Retrieval was not measured (--without_retrieval)."]
    numbers = {"grid": [asdict(one) for one in outcome.grid], "scored": [asdict(one) for one in outcome.scored]}
    return Result(FRONTIER, TITLE, CAPTION.format(split=outcome.split, pairs=pairs), numbers, missing, figure)


def _draw(panels: Sequence[tuple[Sequence[Point], str]], labels: Sequence[str], outcome: Outcome) -> Figure:
    looks = {label: line_look(index) for index, label in enumerate(labels)}
    figure = new_figure(TITLE, 3.2 * len(panels) + 0.25 * len(labels) + 0.6)
    for axes, (points, title) in zip(figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels, strict=True):
        for label in labels:
            look = looks[label]
            style: dict[str, Any] = {"color": look.get_color(), "marker": look.get_marker()}
            for settings in dict.fromkeys(point.settings for point in points if point.label == label):
                own = [p for p in points if (p.label, p.settings) == (label, settings)]
                own.sort(key=lambda point: -point.weight)
                x, y = [100 * p.kept for p in own], [100 * p.score for p in own]
                axes.plot(x, y, linewidth=1, alpha=0.6, color=style["color"])
                axes.plot(x[:1], y[:1], linestyle="", markersize=7, **style)
                axes.plot(x[1:], y[1:], linestyle="", markersize=6, fillstyle="none", **style)
                for point in own[1:]:
                    axes.annotate(f" {point.weight:g}", (100 * point.kept, 100 * point.score), fontsize=7)
        if outcome.start_kept is not None:
            axes.axvline(100 * outcome.start_kept, linestyle=":", color="black", linewidth=1)
        label_axes(axes, "translations found (%)", f"{outcome.metric.label} (%), {title}")
    handles = [
        Line2D([], [], linestyle="", marker=look.get_marker(), color=look.get_color()) for look in looks.values()
    ]
    figure.legend(handles, list(map(literal, labels)), loc="outside lower center", frameon=False, fontsize=9)
    return figure


def write_outcome(outcome: Outcome, comparison: Comparison, pairs: int) -> list[Path]:
    """Write the table, the JSON, the figure and the page.

    Args:
        outcome: what was found.
        comparison: the runs.
        pairs: directions of sentence pairs that retrieval was measured on.
    """
    folder = comparison.args.output_dir
    shown = summary(outcome)
    texts = (markdown(shown), json.dumps(as_json(outcome, comparison), indent=1, ensure_ascii=False) + "\n")
    files = [folder / name for name in COMPARISON_FILES]
    for path, text in zip(files, texts, strict=True):
        write_whole(path, text)
    runs = [run for one in outcome.methods for run in one.runs.values()]
    groups = group_by_setting(runs)
    files += write_results([frontier(outcome, pairs)], groups, folder)
    return files + write_report(make_tables(runs), folder, [shown])
