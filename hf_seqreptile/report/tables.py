"""Tables of finished runs, as the paper's 1 to 5: methods by languages, over seeds."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..analysis.runs import SavedRun
from ..scores import AVERAGE, MISSING, SPLITS, START, Metric, Scores, scores_by_task
from .table_rows import BUDGET, NUMBER, STL, EvaluationData, Row, ScoredRun, method_rows, start_row

DELTA = "Δ"
EXACT_MATCH = Metric("exact_match", perfect=100)
"""Question answering's second score, which scores.json leaves out."""
EXACT = Metric("exact", perfect=100)
"""The same where questions may have no answer."""


@dataclass(frozen=True)
class Table:
    """One score on one split of one problem.

    Args:
        name: for files; no other table of the report has it.
        problem: as in [`SavedRun`].
        split: `validation` or `test`.
        metric: which score.
        columns: the tasks, and `avg` where there are several.
        zero_shot: the tasks without training examples.
        rows: the start, if it was evaluated, then the methods in the paper's order.
        starts_agree: whether runs of one seed scored alike before training; where not, the start is left out.
        data: what was evaluated, where other tables of this score are of other data; else empty.
        baseline: the row of STL over which the cells are improvements, relative to it; else empty.
    """

    name: str
    problem: str
    split: str
    metric: Metric
    columns: Sequence[str]
    zero_shot: frozenset[str]
    rows: Sequence[Row]
    starts_agree: bool
    data: str = ""
    baseline: str = ""

    @property
    def title(self) -> str:
        """Problem, split, what was evaluated where that differs, and score, with the unit."""
        data = f" ({self.data})" if self.data else ""
        problem, score = self.problem.replace("-", " "), self.metric.label
        score = f"{DELTA} of {score} over {self.baseline}" if self.baseline else score
        return f"{problem[:1].upper()}{problem[1:]}, {self.split}{data}: {score} (%)"

    @property
    def methods(self) -> list[Row]:
        """The rows without the start."""
        return [row for row in self.rows if row.method is not None]

    @property
    def is_marked(self) -> bool:
        """Whether there is something to compare."""
        return len(self.methods) > 1

    def heading(self, column: str) -> str:
        """A column's name, with the mark of zero-shot tasks."""
        if self.baseline and column == AVERAGE:
            return DELTA
        heading = self.metric.heading(column)
        return f"{heading} †" if column in self.zero_shot else heading

    def text(self, row: Row, column: str) -> str:
        """A cell without its marks."""
        return str(row.cells.get(column, MISSING))

    def is_bold(self, row: Row, column: str) -> bool:
        """Whether the row is the best multilingual one, or shows the same number."""
        return row.is_multilingual and self._is_best(row, column, [r for r in self.rows if r.is_multilingual])

    def is_underlined(self, row: Row, column: str) -> bool:
        """Whether the row is the best of all methods, or shows the same number."""
        return row.method is not None and self._is_best(row, column, self.methods)

    def _is_best(self, row: Row, column: str, among: Iterable[Row]) -> bool:
        if not self.is_marked or column not in row.cells:
            return False
        shown = [float(other.cells[column].shown_mean) for other in among if column in other.cells]
        best = max if self.metric.greater_is_better or self.baseline else min
        return float(row.cells[column].shown_mean) == best(shown)

    @property
    def budgets(self) -> list[str]:
        """The columns of what rows cost, after those of scores: what no run tells has none."""
        return [name for name in BUDGET if any(row.budget[name] for row in self.methods)]

    def budget(self, row: Row, name: str) -> str:
        """A cell of these: a number, or from which to which the row's runs have."""
        values = row.budget[name]
        return "–".join(f"{value:,.0f}" for value in dict.fromkeys([*values[:1], *values[-1:]])) or "?"

    @property
    def notes_on_marks(self) -> list[str]:
        """What bold and underlined mean, where they are used."""
        return ["Bold: the best multilingual result. Underlined: the best result of all."] if self.is_marked else []

    @property
    def notes(self) -> list[str]:
        """What a reader must know besides, a sentence each."""
        notes = []
        if self.zero_shot:
            notes.append("†: zero-shot, no training examples.")
        if self.baseline:
            notes.append(
                f"{DELTA}: the mean over the tasks of (score − {self.baseline}'s) / {self.baseline}'s; above 0 is "
                f"better than {self.baseline}."
            )
        elif AVERAGE in self.columns:
            notes.append(f"{AVERAGE}: the mean over the columns, each counting the same.")
        if any(column not in row.cells for row in self.rows for column in self.columns):
            notes.append(f"{MISSING}: not evaluated; no average is taken without it.")
        notes += [*self._notes_on_seeds(), *self._notes_on_training(), *self._notes_on_budgets()]
        if numbered := [row for row in self.methods if NUMBER in row.label and len(row.runs) == 1]:
            folders = "; ".join(f"{row.label}: {row.runs[0].folder}" for row in numbered)
            notes.append(f"Of the same setting and seed, and different in what no folder tells: {folders}.")
        if not self.starts_agree:
            notes.append(
                "Runs of the same seed scored differently before training: they differ in their model or data, and "
                "their rows may not be comparable."
            )
        return notes

    def _notes_on_seeds(self) -> list[str]:
        counts = {row.label: row.seeds for row in self.methods}
        if set(counts.values()) == {1}:
            return ["One seed for each row, so no standard deviation."]
        numbers = list(counts.values())
        over = f"{numbers[0]} seeds" if len(set(numbers)) == 1 else "the seeds"
        each = "" if len(set(numbers)) == 1 else f" ({', '.join(f'{label}: {n}' for label, n in counts.items())})"
        partial = [
            f"{row.label}, {column}: only {len(cell.scores)} of {row.seeds} seeds."
            for row in self.methods
            for column, cell in row.cells.items()
            if len(cell.scores) < row.seeds
        ]
        return [f"Mean ± sample standard deviation (n − 1) over {over}{each}.", *partial]

    def _notes_on_budgets(self) -> list[str]:
        if not self.budgets:
            return []
        meant = ", ".join(f"{name}: {BUDGET[name]}" for name in self.budgets)
        of_all = ", of all its models together for stl" if any(row.method == STL for row in self.methods) else ""
        return [f"{meant} of a run{of_all}. A step takes M gradients."]

    def _notes_on_training(self) -> list[str]:
        sizes = {row.label: row.runs[0].train_samples for row in self.methods if row.runs}
        if len(set(sizes.values())) < 2:
            return []
        shown = (f"{label}: {'?' if size is None else f'{size:,g}'}" for label, size in sizes.items())
        return [f"The rows differ in their training examples, all tasks together ({', '.join(shown)})."]


def make_tables(runs: Sequence[SavedRun]) -> list[Table]:
    """The tables of a report.

    There is one for each problem, split and score; and where runs were evaluated on different data or tasks, or
    trained on what others saw zero-shot, one for each data and largest set of tasks. A run with fewer tasks, as STL's
    beside zero-shot languages, stands in each of them that has all its own.

    Args:
        runs: each as [`read_run`] gives it; those without scores are in no table.
    """
    tables: list[Table] = []
    for problem in dict.fromkeys(run.problem for run in runs):
        of_problem = [run for run in runs if run.problem == problem]
        for split in dict.fromkeys(split for run in of_problem for split in run.scores):
            for metric in dict.fromkeys(m for run in of_problem for m in _metrics(run, split)):
                by_metric = [run for run in of_problem if metric in _metrics(run, split)]
                scored = [s for run in by_metric if (s := _scored(run, split, metric)).own]
                tables += _tables(scored, split, metric)
    return tables


def _metrics(run: SavedRun, split: str) -> list[Metric]:
    if run.problem != "question-answering":
        return [run.metric]
    return [run.metric, EXACT if _evaluated(run, split).may_lack_answers else EXACT_MATCH]


def _evaluated(run: SavedRun, split: str) -> EvaluationData:
    prefix = SPLITS.get(split, split)
    may_lack_answers = f"{prefix}_{EXACT.name}" in run.results
    return EvaluationData(run.evaluated_on, run.results.get(f"{prefix}_samples"), may_lack_answers)


def _scored(run: SavedRun, split: str, metric: Metric) -> ScoredRun:
    rows = run.scores.get(split, {})
    own = _finite(rows.get(run.method, {}))
    data = _evaluated(run, split)
    if metric == run.metric:
        return ScoredRun(run, data, own, _finite(rows.get(START, {})))
    scores = scores_by_task(run.results, SPLITS.get(split, split), list(own), metric)
    return ScoredRun(run, data, _finite(scores), {})


def _finite(scores: Scores) -> dict[str, float]:
    return {task: score for task, score in scores.items() if task != AVERAGE and math.isfinite(score)}


def _tables(scored: Sequence[ScoredRun], split: str, metric: Metric) -> list[Table]:
    """A table for each data and largest set of tasks, in the order of the first runs that have them."""
    largest: dict[tuple[frozenset[str], frozenset[str], EvaluationData], ScoredRun] = {}
    for one in scored:
        if not any(one.fits(other) and not other.fits(one) for other in scored):
            largest.setdefault((frozenset(one.own), one.zero_shot, one.data), one)
    differ = len({one.data for one in largest.values()}) > 1
    return [
        _table("" if number == 1 else f"-{number}", split, metric, one, [s for s in scored if s.fits(one)], differ)
        for number, one in enumerate(largest.values(), start=1)
    ]


def _table(
    suffix: str, split: str, metric: Metric, widest: ScoredRun, members: Sequence[ScoredRun], names_data: bool
) -> Table:
    tasks = list(widest.own)
    starts_agree, start = start_row(members, tasks)
    return Table(
        name=re.sub(r"[^\w-]+", "_", f"{widest.run.problem}-{split}-{metric.name}") + suffix,
        problem=widest.run.problem,
        split=split,
        metric=metric,
        columns=[*tasks, AVERAGE] if len(tasks) > 1 else tasks,
        zero_shot=widest.zero_shot,
        rows=[*start, *method_rows(members, tasks)],
        starts_agree=starts_agree,
        data=str(widest.data) if names_data else "",
    )
