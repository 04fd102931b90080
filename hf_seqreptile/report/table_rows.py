"""The rows of a report's table: which runs make one, what it is called, its statistics over seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from ..analysis.groups import group_by_setting
from ..analysis.runs import SavedRun
from ..scores import AVERAGE, START, Scores

STL = "stl"
NUMBER = "#"
"""Before the number of a run that nothing else tells from another."""
PAPERS_ORDER = (STL, "mtl", "recadam", "gradnorm", "pcgrad", "gradvac", "torchjd", "swep", "reptile", "seq_reptile")
"""TorchJD's rules stand beside those that work on gradients as they do."""
BUDGET = {"steps": "optimizer steps", "gradients": "gradient computations"}
"""What a row cost: the columns, and what they are."""
SAME_START = 1e-3
"""Scores before training that differ by more, for one seed, are those of different models or data."""


@dataclass(frozen=True)
class Cell:
    """One row's scores in one column.

    Args:
        scores: as fractions, one for each seed.
        is_change: whether they are differences, which are shown with their signs.
    """

    scores: Sequence[float]
    is_change: bool = False

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return fmean(self.scores)

    @property
    def deviation(self) -> float | None:
        """The sample standard deviation (n − 1) over the seeds; `None` for a single one."""
        return stdev(self.scores) if len(self.scores) > 1 else None

    @property
    def shown_mean(self) -> str:
        """In percent, with one decimal."""
        return f"{100 * self.mean:{'+' if self.is_change else ''}.1f}"

    @property
    def shown_deviation(self) -> str:
        """In points, with one decimal; empty for a single seed."""
        return "" if self.deviation is None else f"± {100 * self.deviation:.1f}"

    def __str__(self) -> str:
        return f"{self.shown_mean} {self.shown_deviation}".rstrip()


@dataclass(frozen=True)
class Row:
    """A method, or the start of all.

    Args:
        label: the method as typed, and what tells the row from others of that method.
        method: as typed; `None` for the start.
        runs: whose scores these are.
        cells: by column; a column without a score is left out.
        seeds: how many.
    """

    label: str
    method: str | None
    runs: Sequence[SavedRun]
    cells: Mapping[str, Cell]
    seeds: int

    @property
    def budget(self) -> dict[str, list[float]]:
        """The different numbers of optimizer steps and of gradient computations of the runs, ascending, if known."""
        if self.method is None:
            return {name: [0] for name in BUDGET}
        given: dict[str, list[float | None]] = {
            "steps": [run.steps for run in self.runs],
            "gradients": [run.gradients for run in self.runs],
        }
        return {
            name: [] if None in values else sorted({value for value in values if value is not None})
            for name, values in given.items()
        }

    @property
    def is_multilingual(self) -> bool:
        """Whether one model serves all languages, unlike with STL."""
        return self.method not in (None, STL)


@dataclass(frozen=True)
class EvaluationData:
    """What scores are of, as far as the run's folder tells; `None` is what it does not.

    Args:
        dataset: `sample`, `local-files` or a name on the Hub.
        examples: of all tasks together.
        may_lack_answers: whether questions may have no answer, as in SQuAD 2.0.
    """

    dataset: str | None
    examples: float | None
    may_lack_answers: bool

    def __str__(self) -> str:
        count = "?" if self.examples is None else f"{self.examples:,g}"
        dataset = (self.dataset or "unknown data").replace("local-files", "local files")
        return f"{count} examples of {dataset}{', with unanswerable questions' if self.may_lack_answers else ''}"


@dataclass(frozen=True)
class ScoredRun:
    """A run's scores in one table, as finite fractions and without averages.

    Args:
        run: the run.
        data: what was evaluated.
        own: by task.
        start: those before training; empty where they were not taken.
    """

    run: SavedRun
    data: EvaluationData
    own: Scores
    start: Scores

    @property
    def zero_shot(self) -> frozenset[str]:
        """The scored tasks without training examples."""
        return frozenset(self.own).intersection(self.run.zero_shot)

    def fits(self, other: "ScoredRun") -> bool:
        """Whether its tasks are among the other's, of the same data, and trained on or not as there."""
        # The number of examples is that of all tasks, and says nothing where one run has fewer.
        data = self.data if self.own.keys() == other.own.keys() else replace(self.data, examples=other.data.examples)
        same_kind = self.zero_shot == other.zero_shot.intersection(self.own)
        return self.own.keys() <= other.own.keys() and same_kind and data == other.data


def start_row(members: Sequence[ScoredRun], tasks: Sequence[str]) -> tuple[bool, list[Row]]:
    """The row of the scores before training, which all runs of a seed share.

    Args:
        members: the table's runs.
        tasks: the table's columns.

    Returns:
        Whether runs of the same seed agree in it; and the row, or none where they do not or no run has such scores.
    """
    by_seed: dict[int, dict[str, float]] = {}
    for one in members:
        known = by_seed.setdefault(one.run.seed, {})
        if any(abs(known.get(task, score) - score) > SAME_START for task, score in one.start.items()):
            return False, []
        known |= one.start
    by_seed = {seed: scores for seed, scores in by_seed.items() if scores}
    return True, [Row(START, None, [], _cells(by_seed, tasks), len(by_seed))] if by_seed else []


def method_rows(members: Sequence[ScoredRun], tasks: Sequence[str]) -> list[Row]:
    """A row for each method, or for each of its settings, in the paper's order.

    Runs that differ in nothing but the seed are one row. Two of them that scored the same task with the same seed
    differ in something that their folders do not tell; then each run is a row, and they are numbered.

    Args:
        members: the table's runs.
        tasks: the table's columns.
    """
    scored = {one.run.folder: one for one in members}
    rows: list[tuple[str, list[ScoredRun]]] = []
    for group in group_by_setting([one.run for one in members]):
        own = [scored[run.folder] for run in group.runs]
        if _is_one_a_seed(own):
            rows.append((group.label, own))
        else:
            rows += [(f"{group.label} {NUMBER}{i}", [one]) for i, one in enumerate(own, start=1)]
    return [_method_row(label, own, tasks) for label, own in sorted(rows, key=lambda row: _order(row[1][0].run))]


def _order(run: SavedRun) -> int:
    name = run.method.partition(":")[0]
    return PAPERS_ORDER.index(name) if name in PAPERS_ORDER else len(PAPERS_ORDER)


def _is_one_a_seed(runs: Sequence[ScoredRun]) -> bool:
    scored = [(one.run.seed, task) for one in runs for task in one.own]
    return len(set(scored)) == len(scored)


def _method_row(label: str, runs: Sequence[ScoredRun], tasks: Sequence[str]) -> Row:
    by_seed: dict[int, dict[str, float]] = {}
    for one in runs:
        by_seed.setdefault(one.run.seed, {}).update(one.own)
    return Row(label, runs[0].run.method, [one.run for one in runs], _cells(by_seed, tasks), len(by_seed))


def _cells(by_seed: Mapping[int, Scores], tasks: Sequence[str]) -> dict[str, Cell]:
    """Each column's scores; the average is taken for each seed that has every task."""
    columns = {task: [scores[task] for scores in by_seed.values() if task in scores] for task in tasks}
    if len(tasks) > 1:
        whole = [scores for scores in by_seed.values() if all(task in scores for task in tasks)]
        columns[AVERAGE] = [fmean(scores[task] for task in tasks) for scores in whole]
    return {column: Cell(scores) for column, scores in columns.items() if scores}
