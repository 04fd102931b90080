"""Scores by task: taken from a trainer's metrics, shown as tables, written beside the model."""

import html
import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

AVERAGE = "avg"
START = "before training"
"""The row of the scores at step 0."""
SCORES_FILE, SCORES_JSON = "scores.md", "scores.json"
SPLITS = {"validation": "eval", "test": "predict"}
"""What is evaluated, with the prefix of its metrics and files."""
MISSING = "–"
TIMINGS = ("runtime", "samples_per_second", "steps_per_second", "model_preparation_time")
"""Metrics of a trainer that are not scores."""


@dataclass(frozen=True)
class Metric:
    """A metric that a trainer reports.

    Args:
        name: `f1`, `accuracy`.
        perfect: the value of a perfect score: 1, or 100 where the problem's official script reports percent.
        of_tasks: of a metric that stands for another in each task, each task's name and that metric's.
        problems: likewise each task's name and that of its kind of problem, of which there are means too.
        greater_is_better: whether a larger value is a better one.
    """

    name: str
    perfect: float = 1.0
    of_tasks: tuple[tuple[str, str], ...] = ()
    problems: tuple[tuple[str, str], ...] = ()
    greater_is_better: bool = True

    @property
    def label(self) -> str:
        """The name as readers know it: `F1`, `accuracy`, `exact match`."""
        return self.name.upper() if len(self.name) < 4 else self.name.replace("_", " ")

    def of_task(self, task: str) -> "Metric":
        """The metric that a task's scores are of."""
        names = dict(self.of_tasks)
        return Metric(names[task]) if task in names else self

    def heading(self, task: str) -> str:
        """Stands over a task's scores: its name, with its metric where tasks differ in that."""
        return f"{task} ({self.of_task(task).label})" if task in dict(self.of_tasks) else task

    def as_json(self) -> dict[str, Any]:
        """As scores.json has it."""
        of_tasks = {"of_tasks": dict(self.of_tasks), "problems": dict(self.problems)}
        direction = {} if self.greater_is_better else {"greater_is_better": False}
        named = {"name": self.name, "perfect": self.perfect}
        return named | {key: value for key, value in of_tasks.items() if value} | direction

    def means_by_problem(self, scores: "Scores") -> dict[str, float]:
        """The mean score of each problem that has several tasks, all of them scored, beside other problems."""
        kinds = dict(self.problems)
        groups = {kind: [task for task, of_task in kinds.items() if of_task == kind] for kind in kinds.values()}
        return {
            f"{kind} {AVERAGE}": sum(scores[task] for task in tasks) / len(tasks)
            for kind, tasks in groups.items()
            if len(groups) > 1 < len(tasks) and all(task in scores for task in tasks)
        }

    def fraction(self, value: float) -> float:
        """A reported value as a fraction of the perfect one."""
        return value / self.perfect


SCORE = "score"
"""The name of the metric that is each task's own main metric as a fraction, where tasks differ in that."""

Scores = Mapping[str, float]
"""A score, as a fraction, for each task and for `avg`."""
ScoreRows = Mapping[str, Scores]
"""The scores of each row of a table: `before training`, `seq_reptile`."""
ScoreTables = Mapping[str, ScoreRows]
"""A table for each split: `validation`, `test`."""


def scores_by_task(
    metrics: Mapping[str, float], prefix: str, tasks: Sequence[str], metric: Metric
) -> dict[str, float]:
    """Each task's score from a trainer's metrics, and their mean under `avg`.

    Args:
        metrics: as `evaluate` returns them, `eval_sw_f1`; those of several trainers may be put together.
        prefix: `eval` or `test`.
        tasks: whose scores to take; one without the metric is left out.
        metric: whose values to take.

    Returns:
        The scores, as fractions; `avg` is their plain mean, and is left out where a task lacks the metric.
    """
    keys = {task: f"{prefix}_{task}_{metric.name}" for task in tasks}
    scores = {task: metric.fraction(metrics[key]) for task, key in keys.items() if key in metrics}
    if scores and len(scores) == len(keys):
        # Not the metrics' own average: with several trainers' metrics put together it is only that of the last.
        scores[AVERAGE] = sum(scores.values()) / len(scores)
    return scores


def average_over_tasks(metrics: Mapping[str, float], tasks: list[str], prefix: str) -> dict[str, float]:
    """The unweighted mean of each metric `{prefix}_{task}_{metric}` that all tasks have as a number.

    Timings have none.

    Returns it as `{prefix}_avg_{metric}` and as `{prefix}_{metric}`.
    """
    by_task = [
        {key.removeprefix(f"{prefix}_{t}_"): v for key, v in metrics.items() if key.startswith(f"{prefix}_{t}_")}
        for t in tasks
    ]
    shared = [m for m in by_task[0] if m not in TIMINGS and all(is_number(of_task.get(m)) for of_task in by_task)]
    means = {metric: sum(of_task[metric] for of_task in by_task) / len(tasks) for metric in shared}
    return {f"{prefix}_avg_{m}": v for m, v in means.items()} | {f"{prefix}_{m}": v for m, v in means.items()}


def evaluated_tasks(keys: Sequence[str], metric: str, trained: Sequence[str], prefix: str = "eval") -> list[str]:
    """The TASK of every key `eval_TASK_f1`, but not of `eval_de_PER_f1`, which is another metric of task de.

    Args:
        keys: of a trainer's metrics.
        metric: its name.
        trained: the tasks that were trained on.
        prefix: of the keys.
    """
    matches = [re.fullmatch(rf"{re.escape(prefix)}_(.+)_{re.escape(metric)}", key) for key in keys]
    found = [match[1] for match in matches if match]
    part_of_metric = {name.removeprefix(f"{AVERAGE}_") for name in found if name.startswith(f"{AVERAGE}_")}
    return [
        name
        for name in found
        if name in trained
        or not (name in part_of_metric or any(name.startswith(f"{task}_") for task in [*trained, *found]))
    ]


def is_number(value: Any) -> bool:
    """Whether a metric is a number, of which there can be a mean and a best."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def score_table(rows: ScoreRows, title: str, metric: Metric | None = None) -> str:
    """A Markdown table in percent with one decimal, aligned to be read in a terminal too.

    Args:
        rows: a row of scores for each name; what one lacks and another has is shown as –.
        title: stands over the names, with the unit.
        metric: what the scores are, for the columns' headings. Default: the tasks' names alone.
    """
    if metric is not None:
        means = {name: metric.means_by_problem(scores) for name, scores in rows.items()}
        rows = {name: {**scores, **means[name]} for name, scores in rows.items()}
    columns = list(dict.fromkeys(task for scores in rows.values() for task in scores if task != AVERAGE))
    if any(AVERAGE in scores for scores in rows.values()):
        columns.append(AVERAGE)
    body = [[name, *(_percent(scores.get(column)) for column in columns)] for name, scores in rows.items()]
    headings = [metric.heading(column) if metric else column for column in columns]
    return markdown_table([f"{title} (%)", *headings], body)


def write_scores(folder: Path, tables: ScoreTables, zero_shot: Sequence[str], metric: Metric | None = None) -> Path:
    """Write scores.md, a table for each split, and scores.json, the same as fractions, into `folder`.

    Args:
        folder: made if it does not exist.
        tables: for each split its rows of scores.
        zero_shot: the languages without training examples.
        metric: what the scores are. Default: the files do not say.

    Returns:
        The path of scores.md.
    """
    parts = [f"# Scores: {metric.label}" if metric else "# Scores"]
    for split, rows in tables.items():
        parts += [f"## {escape_markdown(split)}", score_table(rows, split, metric)]
    if zero_shot:
        parts.append(zero_shot_line(zero_shot))
    fractions = {
        split: {name: {task: _finite(score) for task, score in scores.items()} for name, scores in rows.items()}
        for split, rows in tables.items()
    }
    named = {"metric": metric.as_json()} if metric else {}
    text = json.dumps(named | {"zero_shot": list(zero_shot), "scores": fractions}, indent=2, ensure_ascii=False)

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / SCORES_FILE
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    (folder / SCORES_JSON).write_text(text + "\n", encoding="utf-8")
    return path


def zero_shot_line(languages: Sequence[str]) -> str:
    """The Markdown line that names the languages without training examples."""
    return f"Zero-shot (no training examples): {', '.join(map(escape_markdown, languages))}."


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose first column is text and whose others are numbers; all cells come as plain text."""
    cells = [[escape_markdown(cell) for cell in row] for row in (header, *rows)]
    widths = [max(3, *(_width(row[i]) for row in cells)) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        spaces = [" " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)]
        numbers = [space + cell for space, cell in zip(spaces[1:], row[1:], strict=True)]
        return f"| {' | '.join([row[0] + spaces[0], *numbers])} |"

    rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]) + "|"
    return "\n".join([line(cells[0]), rule, *map(line, cells[1:])])


def escape_markdown(text: str) -> str:
    """`text` on one line, such that Markdown and HTML show it as it is."""
    text = html.escape(" ".join(text.split()), quote=False)
    text = re.sub(r"([\\`*\[\]|~$#])", r"\\\1", text)
    # An underscore within a word, as in seq_reptile, starts no emphasis and reads better bare.
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)


def _percent(score: float | None) -> str:
    return MISSING if score is None or not math.isfinite(score) else f"{100 * score:.1f}"


def _finite(score: float) -> float | None:
    # JSON knows no NaN.
    return float(score) if math.isfinite(score) else None


def _width(text: str) -> int:
    """Columns that a terminal gives to `text`."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
