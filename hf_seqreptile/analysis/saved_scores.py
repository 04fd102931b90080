"""The scores of a finished folder: those of its scores.json, or what a run in Python evaluated."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..scores import (
    AVERAGE,
    SCORE,
    SCORES_JSON,
    SPLITS,
    TIMINGS,
    Metric,
    ScoreTables,
    evaluated_tasks,
    is_number,
    scores_by_task,
)
from .saved_json import are_texts, check, is_nested, read_object, without_null

PREFIXES = {"validation": ("eval",), "test": ("predict", "test")}
"""What the metrics of a split begin with; in the stock trainer's `predict` with `test`."""
WITHOUT_A_NAME = "all"
"""What a column is called whose dataset has no name."""
NO_SCORES = (*TIMINGS, "loss", "samples")


@dataclass(frozen=True)
class SavedScores:
    """Scores as [`SavedRun`] has them."""

    tables: ScoreTables
    zero_shot: list[str]
    metric: Metric


def read_scores(folder: Path, method: str, results: Mapping[str, float]) -> SavedScores:
    """What scores.json holds. A metric that it does not name is the one whose values the results have, if any.

    Args:
        folder: of the run, which has the file.
        method: whose row the run's scores are.
        results: all metrics.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / SCORES_JSON
    content = read_object(path)
    tables, zero_shot = content.get("scores", {}), content.get("zero_shot", [])
    check(is_nested(tables, 3), path, "`scores` are not tables of numbers")
    check(are_texts(zero_shot), path, "`zero_shot` is not a list of texts")
    scores = {split: {name: without_null(row) for name, row in rows.items()} for split, rows in tables.items()}
    metric = _metric(content["metric"], path) if "metric" in content else _metric_by_value(scores, method, results)
    return SavedScores(scores, zero_shot, metric)


def scores_of_evaluations(
    method: str,
    trained: Sequence[str],
    results: Mapping[str, float],
    log: Sequence[Mapping[str, Any]],
    arguments: Mapping[str, Any],
    usual: Metric | None,
) -> SavedScores:
    """What a run that no script made evaluated: its saved metrics, else its last evaluation of the final weights.

    The metric is `metric_for_best_model`, the problem's usual one, or the first by name, fractions before others.

    Args:
        method: the row's name.
        trained: the tasks that were trained on.
        results: all saved metrics.
        log: of the trainer.
        arguments: of the training.
        usual: the metric of the problem.
    """
    if not any(name.startswith("eval_") for name in results):
        results = {**results, **_final_evaluation(log, arguments)}
    wanted = str(arguments.get("metric_for_best_model") or "").removeprefix("eval_")
    wanted = next((wanted.removeprefix(f"{task}_") for task in trained if wanted.startswith(f"{task}_")), wanted)
    names = [name for prefix in ("eval", "predict", "test") for name in _names(results, prefix, trained)]
    # In which order they were computed is lost: saved metrics are in that of the alphabet. What counts is no score.
    names.sort(key=lambda name: any(abs(v) > 1 for key, v in results.items() if key.endswith(f"_{name}")))
    metric = next((n for n in (wanted, usual.name if usual else "", *names) if n in names), None)
    if metric is None:
        return SavedScores({}, [], Metric(SCORE))
    is_usual = usual is not None and usual.name == metric
    greater = not (metric == wanted and arguments.get("greater_is_better") is False)
    tables: dict[str, dict[str, dict[str, float]]] = {}
    found: dict[str, dict[str, float]] = {}
    for split, prefixes in PREFIXES.items():
        for prefix in prefixes:
            values = _values(results, prefix, metric, trained)
            if values and split not in found:
                found[split] = values
    every = [value for values in found.values() for value in values.values()]
    # Which metrics of others are in percent no folder says.
    percent = usual.perfect if usual is not None and is_usual else 100.0 if any(v > 1 for v in every) else 1.0
    for split, values in found.items():
        row = {task: value / percent for task, value in values.items()}
        tables[split] = {method: row | {AVERAGE: sum(row.values()) / len(row)}}
    zero_shot = [
        task for task in dict.fromkeys(t for v in found.values() for t in v) if trained and task not in trained
    ]
    zero_shot = [task for task in zero_shot if task != WITHOUT_A_NAME]
    return SavedScores(tables, zero_shot, Metric(metric, percent, greater_is_better=greater))


def _final_evaluation(log: Sequence[Mapping[str, Any]], arguments: Mapping[str, Any]) -> dict[str, float]:
    """What was last evaluated, if the weights are still those: of a run that took its best ones at the end, none."""
    evaluations = [entry for entry in log if any(name.startswith("eval_") for name in entry)]
    last = max((entry["step"] for entry in log), default=0)
    if not evaluations or evaluations[-1]["step"] != last or arguments.get("load_best_model_at_end"):
        return {}
    return {
        name: value
        for entry in evaluations
        if entry["step"] == last
        for name, value in entry.items()
        if name.startswith("eval_")
    }


def _names(results: Mapping[str, float], prefix: str, trained: Sequence[str]) -> list[str]:
    """The metrics that there is a value of for all tasks, or for the one dataset."""
    start = f"{prefix}_"
    rest = [n.removeprefix(start) for n, value in results.items() if n.startswith(start) and is_number(value)]
    averaged = [name.removeprefix(f"{AVERAGE}_") for name in rest if name.startswith(f"{AVERAGE}_")]
    of_tasks = [f"{task}_" for task in trained]
    alone = [name for name in rest if not any(name.startswith(task) for task in of_tasks)]
    return [n for n in averaged or alone if n not in NO_SCORES and not n.endswith(("_loss", *TIMINGS))]


def _values(results: Mapping[str, float], prefix: str, metric: str, trained: Sequence[str]) -> dict[str, float]:
    tasks = [task for task in evaluated_tasks(list(results), metric, trained, prefix) if task != AVERAGE]
    values = {task: results[f"{prefix}_{task}_{metric}"] for task in tasks}
    if not values and f"{prefix}_{metric}" in results:
        values = {trained[0] if len(trained) == 1 else WITHOUT_A_NAME: results[f"{prefix}_{metric}"]}
    return {task: value for task, value in values.items() if is_number(value) and math.isfinite(value)}


def _metric_by_value(tables: ScoreTables, method: str, results: Mapping[str, float]) -> Metric:
    """The metric whose values among the results are those of the scores, else one without a name."""
    for split, prefix in SPLITS.items():
        own = {t: s for t, s in tables.get(split, {}).get(method, {}).items() if t != AVERAGE}
        starts = [f"{prefix}_{task}_" for task in own]
        names = dict.fromkeys(key.removeprefix(start) for key in results for start in starts if key.startswith(start))
        for metric in (Metric(name, perfect) for name in names for perfect in (1.0, 100.0)):
            if own and _are_alike(scores_by_task(results, prefix, list(own), metric), own.items()):
                return metric
    return Metric(SCORE)


def _are_alike(found: Mapping[str, float], own: Iterable[tuple[str, float]]) -> bool:
    return all(task in found and math.isclose(found[task], score, abs_tol=1e-9) for task, score in own)


def _metric(content: Any, path: Path) -> Metric:
    named: dict[str, Any] = content if isinstance(content, dict) else {}
    name, perfect, of_tasks = named.get("name"), named.get("perfect", 0), named.get("of_tasks", {})
    problems, greater = named.get("problems", {}), named.get("greater_is_better", True)
    is_metric = (
        isinstance(name, str) and isinstance(perfect, int | float) and perfect > 0 and isinstance(greater, bool)
    )
    are_tables = all(isinstance(table, dict) and are_texts([*table.values()]) for table in (of_tasks, problems))
    check(is_metric and are_tables, path, "`metric` is none")
    return Metric(str(name), perfect, tuple(of_tasks.items()), tuple(problems.items()), greater)
