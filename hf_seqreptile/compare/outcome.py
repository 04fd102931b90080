"""What a finished comparison found: chosen settings, scores, differences, and what the encoders still know."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from ..analysis.runs import SavedRun, read_run
from ..errors import InputError
from ..experiments.differences import Estimate, estimate, holm, mean_or_difference
from ..experiments.graph import finished_run, why_diverged
from ..experiments.names import label_of
from ..experiments.run_node import best_of, counted_tasks
from ..json_text import parse_json
from ..metrics.example_sums import ExampleSums, sums_of_run
from ..scores import AVERAGE, Metric
from .kept import KEPT_FILE
from .plan import Comparison

SMALL = 0.1
"""A task with less than this share of the largest one's training examples is small."""


@dataclass(frozen=True)
class Point:
    """A model on the frontier of score and what is kept, as a mean over seeds.

    Args:
        label: of the method.
        settings: of the point on its grid.
        weight: how much of the way from the start the encoder is put.
        score: on the split that the frontier is of.
        kept: retrieval accuracy, the mean over pairs and directions.
    """

    label: str
    settings: str
    weight: float
    score: float
    kept: float


@dataclass(frozen=True)
class MethodOutcome:
    """What was found of one method.

    Args:
        label: of the method.
        chosen: its chosen settings.
        tuned_over: how many settings it was chosen from.
        runs: the scored runs by seed.
        group_scores: of each group of tasks the mean score with its interval.
        difference: of the trained tasks' mean to the first method's; `None` for that one.
        corrected_p: its p-value after Holm's correction.
        task_scores: of each task the mean over seeds.
        kept: retrieval accuracy, with its interval over seeds; `None` where it was not measured.
        steps: optimizer steps of a run; `None` where its log does not tell.
    """

    label: str
    chosen: str
    tuned_over: int
    runs: Mapping[int, SavedRun]
    group_scores: Mapping[str, Estimate]
    difference: Estimate | None
    corrected_p: float | None
    task_scores: Mapping[str, float]
    kept: Estimate | None
    steps: float | None

    @property
    def differs(self) -> bool:
        """Whether it differs from the first method beyond chance."""
        return self.corrected_p is not None and self.corrected_p < 0.05


@dataclass(frozen=True)
class Outcome:
    """What a comparison found.

    Args:
        split: that the scores are of.
        metric: that the scores are.
        groups: the tasks of each group: `trained`, `small`, `zero-shot`.
        methods: in the order given.
        start_kept: retrieval accuracy of the start; `None` where it was not measured.
        grid: the frontier over the choosing runs, on validation data.
        scored: the frontier of the scored runs.
        notes: what a reader must know besides.
    """

    split: str
    metric: Metric
    groups: Mapping[str, Sequence[str]]
    methods: Sequence[MethodOutcome]
    start_kept: float | None
    grid: Sequence[Point]
    scored: Sequence[Point]
    notes: Sequence[str]

    @property
    def main_group(self) -> str:
        """The group that methods are compared by: the trained tasks, unless all are zero-shot."""
        return next(iter(self.groups))


def read_outcome(comparison: Comparison) -> Outcome:
    """What the runs of a comparison, all of which have ended well, found.

    Raises:
        InputError: a run's folder cannot be read, or has no scores.
    """
    folder = comparison.args.output_dir.resolve()
    runs = {
        one.label: {seed: read_run(finished_run(folder, name)) for seed, name in comparison.scored[one.label].items()}
        for one in comparison.candidates
    }
    every = [run for by_seed in runs.values() for run in by_seed.values()]
    split = "test" if all(run.method in run.scores.get("test", {}) for run in every) else "validation"
    tasks = _shared_tasks(every, split)
    groups = _groups(every, tasks)
    main = next(iter(groups))
    sums = {
        label: {seed: sums_of_run(run.folder, split) for seed, run in by_seed.items()}
        for label, by_seed in runs.items()
    }
    first = comparison.candidates[0].label
    methods: list[MethodOutcome] = []
    for one in comparison.candidates:
        of_groups = {group: _estimate(runs, sums, [one.label], own, split) for group, own in groups.items()}
        against = None if one.label == first else _estimate(runs, sums, [one.label, first], groups[main], split)
        methods.append(
            MethodOutcome(
                one.label,
                _chosen(comparison, one.label, folder),
                len(one.grid),
                runs[one.label],
                of_groups,
                against,
                None,
                {task: fmean(run.needed_score(split, task) for run in runs[one.label].values()) for task in tasks},
                _kept(list(runs[one.label].values())),
                _steps(next(iter(runs[one.label].values()))),
            )
        )
    methods = _corrected(methods)
    start = next((found for run in every if (found := _start(run.folder)) is not None), None)
    return Outcome(
        split,
        every[0].metric,
        groups,
        methods,
        start,
        _grid(comparison, folder),
        _frontier(comparison, runs, groups[main], split),
        _notes(split, methods, len(comparison.args.seeds)) + _notes_on_divergence(comparison, folder),
    )


def _shared_tasks(runs: Sequence[SavedRun], split: str) -> list[str]:
    of_runs = [[task for task in run.scores.get(split, {}).get(run.method, {}) if task != AVERAGE] for run in runs]
    shared = [task for task in of_runs[0] if all(task in own for own in of_runs)]
    if not shared:
        raise InputError("The runs have no task in common that was scored.")
    return shared


def _groups(runs: Sequence[SavedRun], tasks: Sequence[str]) -> dict[str, list[str]]:
    """The tasks apart: trained ones, of these the small ones, and zero-shot ones."""
    zero_shot = {task for run in runs for task in run.zero_shot}
    sizes = {
        task: size
        for task in tasks
        if (size := next((run.results.get(f"train_{task}_samples") for run in runs if run.results), None)) is not None
    }
    largest = max(sizes.values(), default=0)
    trained = [task for task in tasks if task not in zero_shot]
    small = [task for task in trained if sizes.get(task, largest) < SMALL * largest]
    groups = {"trained": trained, "small": small, "zero-shot": [task for task in tasks if task in zero_shot]}
    return {name: own for name, own in groups.items() if own}


def _estimate(
    runs: Mapping[str, Mapping[int, SavedRun]],
    sums: Mapping[str, Mapping[int, Mapping[str, ExampleSums]]],
    labels: Sequence[str],
    tasks: Sequence[str],
    split: str,
) -> Estimate:
    """The mean over tasks and seeds of one method's scores, or its difference to another's."""
    by_seed = [
        np.array([fmean(run.needed_score(split, task) for task in tasks) for run in runs[label].values()])
        for label in labels
    ]
    of_tasks = [
        {task: [own[task] for own in sums[label].values() if task in own] for task in tasks} for label in labels
    ]
    return mean_or_difference(by_seed, of_tasks)


def _corrected(methods: Sequence[MethodOutcome]) -> list[MethodOutcome]:
    known = [one for one in methods if one.difference is not None and np.isfinite(one.difference.p_value)]
    values = holm([one.difference.p_value for one in known if one.difference])
    corrected = {one.label: value for one, value in zip(known, values, strict=True)}
    return [replace(one, corrected_p=corrected.get(one.label)) for one in methods]


def _chosen(comparison: Comparison, label: str, folder: Path) -> str:
    names = comparison.choosing[label]
    if not names:
        own = next(one for one in comparison.candidates if one.label == label)
        return label_of("", own.grid[0][1]).removeprefix(", ")
    return label_of("", comparison.graph[best_of(names, folder)].choice).removeprefix(", ")


def _steps(run: SavedRun) -> float | None:
    return max((entry["step"] for entry in run.log), default=None)


def _points(folder: Path) -> dict[str, Any]:
    path = folder / KEPT_FILE
    return parse_json(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _mean_retrieval(found: Mapping[str, Mapping[str, float]] | None) -> float | None:
    return fmean(value for pair in found.values() for value in pair.values()) if found else None


def _start(folder: Path) -> float | None:
    return _mean_retrieval(_points(folder).get("start"))


def _kept(runs: Sequence[SavedRun]) -> Estimate | None:
    found = [_mean_retrieval(_points(run.folder).get("points", {}).get("1", {}).get("retrieval")) for run in runs]
    values = [value for value in found if value is not None]
    return estimate([np.array(values)], None) if len(values) == len(found) and values else None


def _grid(comparison: Comparison, folder: Path) -> list[Point]:
    points = []
    for one in comparison.candidates:
        for name in comparison.choosing[one.label]:
            if why_diverged(folder, name) is not None:
                continue
            run = read_run(finished_run(folder, name))
            settings = label_of("", comparison.graph[name].choice).removeprefix(", ")
            points += _of_runs(one.label, settings, [run], "validation", counted_tasks(run))
    return points


def _frontier(
    comparison: Comparison, runs: Mapping[str, Mapping[int, SavedRun]], tasks: Sequence[str], split: str
) -> list[Point]:
    folder = comparison.args.output_dir.resolve()
    return [
        point
        for label, by_seed in runs.items()
        for point in _of_runs(label, _chosen(comparison, label, folder), list(by_seed.values()), split, tasks)
    ]


def _of_runs(label: str, settings: str, runs: Sequence[SavedRun], split: str, tasks: Sequence[str]) -> list[Point]:
    """The means over runs at each weight that all of them have."""
    kept = [_points(run.folder).get("points", {}) for run in runs]
    weights = [weight for weight in kept[0] if all(weight in own for own in kept)] if kept else []
    points = []
    for weight in weights:
        known = [_mean_retrieval(own[weight].get("retrieval")) for own in kept]
        if any(value is None for value in known):
            continue
        if weight == "1":
            scores = [fmean(run.needed_score(split, task) for task in tasks) for run in runs]
        else:
            scores = [fmean(own[weight]["scores"][split][task] for task in tasks) for own in kept]
        kept_of_runs = [value for value in known if value is not None]
        points.append(Point(label, settings, float(weight), fmean(scores), fmean(kept_of_runs)))
    return points


def _notes_on_divergence(comparison: Comparison, folder: Path) -> list[str]:
    return [
        f"{name} was no choice: {why.partition('. ')[0]}."
        for names in comparison.choosing.values()
        for name in names
        if (why := why_diverged(folder, name)) is not None
    ]


def _notes(split: str, methods: Sequence[MethodOutcome], seeds: int) -> list[str]:
    notes = []
    if split == "validation" and any(one.tuned_over > 1 for one in methods):
        notes.append(
            "Scores are of validation data, by which the settings were chosen too, so they are optimistic. Give test "
            "data and --do_predict for others."
        )
    estimates = [value for one in methods for value in one.group_scores.values()]
    if seeds == 1:
        notes.append("One seed: what other seeds would change is in no interval. Give --seeds at least three.")
    if not all(one.counts_examples for one in estimates):
        notes.append("Some tasks' metric is no sum over examples: the intervals have the seeds' part alone.")
    if len({one.tuned_over for one in methods}) > 1:
        notes.append("Methods with K and η were chosen from more settings, at the same learning rates.")
    return notes
