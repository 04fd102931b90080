"""A study's outcome in words, as tables, as figures, as CSV and as JSON."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from ..analysis.drawing import Curve, Panel, RowPanel, draw_curves, draw_rows
from ..analysis.results import Result, write_results
from ..durable import write_whole
from ..experiments.words import interval, percent
from ..report.files import write_report
from ..report.page import Summary
from ..scores import MISSING, escape_markdown, markdown_table
from .order_effect import OrderEffect
from .outcome import StudyOutcome, TargetScores

FILES = ("study.md", "study.csv", "study.json")
CSV_COLUMNS = ("target", "metric", "split", "language", "condition", "kind", "seed", "score")
EFFECTS, FORGETTING = "intermediate_effects", "intermediate_forgetting"
FEW = 20
"""Permutations of which fewer have no p-value below 0.05."""


def sentences(outcome: StudyOutcome) -> list[str]:
    """The answers: what helps each target, and whether the order of tasks matters."""
    lines = []
    for target in outcome.targets:
        differing = [one for one in outcome.conditions if outcome.effects[target.name, one.name].differs]
        told = ", ".join(
            f"{one.label} {percent(difference.value, signed=True)}"
            for one in differing
            if (difference := outcome.effects[target.name, one.name].difference)
        )
        none = fmean(outcome.effects[target.name, outcome.conditions[0].name].by_seed)
        lines.append(
            f"{target.name}: {percent(none)} without intermediate tasks. "
            + (f"Beyond chance: {told}." if told else "No condition differs beyond chance.")
        )
    return lines + [_on_order(target, share, found) for (target, share), found in outcome.orders.items()]


def _on_order(target: str, rehearsal: float, found: OrderEffect) -> str:
    rehearsed = f", with rehearsal {rehearsal:g}" if rehearsal else ""
    spread = f"scores deviate by {percent(found.over_orders)} over {found.orders} orders within a seed"
    if math.isnan(found.p_value):
        return f"{target}{rehearsed}: whether order matters cannot be told by one seed; {spread}."
    if found.permutations < FEW:
        return (
            f"{target}{rehearsed}: {found.orders} orders of {found.seeds} seeds are too few to tell whether order "
            f"matters; {spread}, and by {percent(found.over_seeds)} over seeds within an order."
        )
    matters = "order matters" if found.p_value < 0.05 else "order does not matter beyond chance"
    return (
        f"{target}{rehearsed}: {matters} (p = {found.p_value:.2g}, {found.permutations:,} permutations); {spread}, "
        f"and by {percent(found.over_seeds)} over {found.seeds} seeds within an order."
    )


def summaries(outcome: StudyOutcome) -> list[Summary]:
    """The tables of the page: effects, languages, forgetting, cost."""
    return [
        _effects(outcome),
        *(_languages(outcome, target) for target in outcome.targets if len(target.languages) > 1),
        *([_forgetting(outcome)] if any(outcome.phases.values()) else []),
        _cost(outcome),
    ]


def _effects(outcome: StudyOutcome) -> Summary:
    rows = []
    for one in outcome.conditions:
        cells = []
        for target in outcome.targets:
            effect = outcome.effects[target.name, one.name]
            if effect.difference is None:
                cells.append(_with_deviation(effect.by_seed))
            else:
                cells.append(interval(effect.difference, signed=True) + (" *" if effect.differs else ""))
        rows.append([one.label, *cells])
    headers = ["before the target", *(f"{one.name} ({one.metric})" for one in outcome.targets)]
    notes = [
        *(f"{one.name}: {one.metric} (%) on {one.split} data, the mean over {', '.join(one.transferred)}."
          for one in outcome.targets),
        "First row: scores without intermediate tasks, mean ± deviation over seeds. Below: differences to it, with "
        "the 95 % interval over seeds and, where it is known, over test examples (paired bootstrap).",
        f"*: beyond chance (p < 0.05 after Holm's correction over a target's conditions). Seeds: "
        f"{', '.join(map(str, outcome.plan.study.seeds))}.",
        f"Each condition: {outcome.plan.study.budget:,} gradient computations before the target.",
    ]  # fmt: skip
    return Summary("What intermediate tasks do", sentences(outcome), headers, rows, [], notes)


def _languages(outcome: StudyOutcome, target: TargetScores) -> Summary:
    has_spread = len(target.transferred) > 1
    rows = [
        [
            one.label,
            *(percent(fmean(target.by_seed(one.name, [language]))) for language in target.languages),
            *([percent(_spread(_by_language(target, one.name)))] if has_spread else []),
        ]
        for one in outcome.conditions
    ]
    spread = f"; spread: the deviation over {', '.join(target.transferred)}" if has_spread else ""
    notes = [f"{target.metric} (%) on {target.split} data, means over seeds{spread}."]
    return Summary(
        f"{target.name} by language",
        [],
        ["before the target", *target.languages, *(["spread"] if has_spread else [])],
        rows,
        [],
        notes,
    )


def _by_language(target: TargetScores, condition: str) -> list[float]:
    return [fmean(target.by_seed(condition, [language])) for language in target.transferred]


def _forgetting(outcome: StudyOutcome) -> Summary:
    tasks = list(outcome.plan.study.tasks)
    rows = []
    for one in outcome.conditions:
        phases = outcome.phases[one.name]
        if not phases:
            continue
        last = phases[-1]
        cells = []
        for task in tasks:
            at_first = next((phase.own[task] for phase in phases if task in phase.own), None)
            now = last.own.get(task, last.earlier.get(task))
            if now is None or at_first is None:
                cells.append(MISSING)
            else:
                changed = (
                    f" ({percent(now - at_first, signed=True)})" if len(phases) > 1 and task in last.earlier else ""
                )
                cells.append(percent(now) + changed)
        kept = MISSING if last.retrieval is None else percent(last.retrieval)
        rows.append([one.label, *cells, kept, f"{last.distance:.2f}"])
    start = "" if outcome.start_retrieval is None else f" (the start: {percent(outcome.start_retrieval)})"
    notes = [
        "Tasks: their main metric on validation data (%) at the end of the last phase, by the head that each left; in "
        "brackets the change since its own phase.",
        f"translations: the share found by the encoder on the bundled sentences (%){start}. distance: L2, of the "
        f"encoder from the start. Means over seeds.",
    ]
    headers = ["condition", *tasks, "translations", "distance"]
    return Summary("What phases forgot", [], headers, rows, [], notes)


def _cost(outcome: StudyOutcome) -> Summary:
    graph = outcome.plan.graph
    rows = []
    for one in outcome.conditions:
        of_seeds = list(outcome.plan.phases[one.name].values())
        cost = fmean(sum(graph[name].cost for name in names) for names in of_seeds) if of_seeds else 0
        rows.append([one.label, str(len(one.phases)), f"{cost:,.0f}", f"{outcome.seconds[one.name]:,.0f}"])
    notes = [
        "Of one seed, before the target. Phases that conditions share are counted in each; they ran once. Of a run "
        "that was interrupted, seconds are those since it went on."
    ]
    return Summary("Cost", [], ["condition", "phases", "gradient computations", "seconds"], rows, [], notes)


def _with_deviation(values: Sequence[float]) -> str:
    return percent(fmean(values)) + (f" ± {percent(_spread(values))}" if len(values) > 1 else "")


def _spread(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 else 0.0


def figures(outcome: StudyOutcome) -> list[Result]:
    """What conditions do for targets; what the encoder still knows after each phase."""
    labels = [one.label for one in outcome.conditions]
    panels = []
    for target in outcome.targets:
        values = {one.label: [100 * value for value in target.by_seed(one.name)] for one in outcome.conditions}
        none = fmean(values[labels[0]])
        panels.append(RowPanel(f"{target.name}: {target.metric} (%)", values, dict.fromkeys(labels, none)))
    title = "Targets after intermediate tasks"
    caption = (
        "The mean over the languages that were not trained on, or over pairs of languages. Small points are seeds, "
        "the large one their mean; the black mark is what no intermediate task gives."
    )
    results = [
        Result(EFFECTS, title, caption, _numbers(outcome), [], draw_rows(title, panels, labels, reference=labels[0]))
    ]
    orders = [one for one in outcome.conditions if one.order]
    if orders and outcome.start_retrieval is not None:
        results.append(_phases_figure(outcome))
    return results


def _phases_figure(outcome: StudyOutcome) -> Result:
    orders = [one for one in outcome.conditions if one.order]
    translations, moved = [], []
    for one in orders:
        phases = outcome.phases[one.name]
        found = [outcome.start_retrieval, *(phase.retrieval for phase in phases)]
        places = list(range(len(found)))
        translations.append(Curve(one.label, places, [100 * value for value in found if value is not None]))
        moved.append(Curve(one.label, places, [0.0, *(phase.distance for phase in phases)]))
    title = "What the encoder keeps from phase to phase"
    panels = [
        Panel("phase (0: the start)", "translations found (%)", translations),
        Panel("phase (0: the start)", "L2 distance from the start", moved),
    ]
    caption = "After each phase of an order, means over seeds; translations are of the bundled sentences."
    numbers = {one.label: [asdict(phase) for phase in outcome.phases[one.name]] for one in orders}
    return Result(FORGETTING, title, caption, numbers, [], draw_curves(title, panels, [one.label for one in orders]))


def _numbers(outcome: StudyOutcome) -> dict[str, Any]:
    return {
        target.name: {one.label: list(target.by_seed(one.name)) for one in outcome.conditions}
        for target in outcome.targets
    }


def csv_text(outcome: StudyOutcome) -> str:
    """A row for each score: of a target, a language, a condition and a seed; as a fraction."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for target in outcome.targets:
        for one in outcome.conditions:
            for seed, of_seed in target.scores[one.name].items():
                for language, score in of_seed.items():
                    writer.writerow(
                        [target.name, target.metric, target.split, language, one.label, one.kind, seed, f"{score:.6f}"]
                    )
    return file.getvalue()


def as_json(outcome: StudyOutcome) -> dict[str, Any]:
    """For programs; scores are fractions."""
    study = outcome.plan.study
    return {
        "gradient_computations": study.budget,
        "seeds": list(study.seeds),
        "start_retrieval": outcome.start_retrieval,
        "sentences": sentences(outcome),
        "targets": {
            target.name: {
                "metric": target.metric,
                "split": target.split,
                "languages": list(target.languages),
                "mean_over": list(target.transferred),
                "conditions": {
                    one.label: {
                        "kind": one.kind,
                        "scores": {str(seed): dict(found) for seed, found in target.scores[one.name].items()},
                        "difference": _estimate(outcome, target.name, one.name),
                        "corrected_p": outcome.effects[target.name, one.name].corrected_p,
                    }
                    for one in outcome.conditions
                },
            }
            for target in outcome.targets
        },
        "orders": [
            {"target": target, "rehearsal": share, **_finite(asdict(found))}
            for (target, share), found in outcome.orders.items()
        ],
        "phases": {
            one.label: [_finite(asdict(phase)) for phase in outcome.phases[one.name]] for one in outcome.conditions
        },
        "seconds": {one.label: outcome.seconds[one.name] for one in outcome.conditions},
    }


def _estimate(outcome: StudyOutcome, target: str, condition: str) -> dict[str, Any] | None:
    difference = outcome.effects[target, condition].difference
    return None if difference is None else _finite(asdict(difference))


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON knows no NaN."""
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in values.items()}


def markdown(outcome: StudyOutcome) -> str:
    """All tables, each under its title."""
    parts = ["# Intermediate tasks"]
    for one in summaries(outcome):
        parts.append(f"## {escape_markdown(one.title)}")
        if one.sentences:
            parts.append("\n".join(f"- {escape_markdown(line)}" for line in one.sentences))
        parts += [markdown_table(one.headers, one.rows), "  \n".join(map(escape_markdown, one.notes))]
    return "\n\n".join(parts) + "\n"


def write_outcome(outcome: StudyOutcome, folder: Path) -> list[Path]:
    """Write the tables, the scores, the figures and the page.

    Args:
        outcome: what was found.
        folder: of the study.
    """
    texts = (
        markdown(outcome),
        csv_text(outcome),
        json.dumps(as_json(outcome), indent=1, ensure_ascii=False) + "\n",
    )
    files = [folder / name for name in FILES]
    for path, text in zip(files, texts, strict=True):
        write_whole(path, text)
    files += write_results(figures(outcome), [], folder)
    return files + write_report([], folder, summaries(outcome), f"Intermediate tasks: {outcome.plan.study.path.stem}")
