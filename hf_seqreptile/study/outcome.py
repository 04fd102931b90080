"""What a finished study found: targets' scores, differences to no intermediate task, orders, forgetting, cost."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from ..analysis.runs import SavedRun, read_run
from ..errors import InputError
from ..experiments.differences import Estimate, holm, mean_or_difference
from ..experiments.graph import finished_run
from ..experiments.run_node import seconds_of
from ..json_text import parse_json
from ..metrics.example_sums import ExampleSums, sums_of_run
from ..retrieval.results import REPORT
from .after_phase import AFTER_FILE
from .conditions import Condition
from .order_effect import OrderEffect, order_effect
from .plan import StudyPlan
from .targets import Target

MINING = "mining"


@dataclass(frozen=True)
class TargetScores:
    """The scores of one target.

    Args:
        name: of the target.
        metric: what they are.
        split: what they are of.
        languages: that are scored.
        transferred: of these, what the target's mean is over: languages that were not trained on, or all.
        scores: by condition, seed and language, as fractions.
        sums: by condition, seed and language, what the examples add to them; empty where that is not known.
    """

    name: str
    metric: str
    split: str
    languages: Sequence[str]
    transferred: Sequence[str]
    scores: Mapping[str, Mapping[int, Mapping[str, float]]]
    sums: Mapping[str, Mapping[int, Mapping[str, ExampleSums]]]

    def by_seed(self, condition: str, languages: Sequence[str] | None = None) -> list[float]:
        """The mean over languages, by default the transferred ones, of each seed."""
        chosen = self.transferred if languages is None else languages
        return [fmean(of_seed[language] for language in chosen) for of_seed in self.scores[condition].values()]


@dataclass(frozen=True)
class Effect:
    """What a condition does for a target.

    Args:
        by_seed: the mean over the transferred languages, of each seed.
        difference: to no intermediate task; `None` of that one.
        corrected_p: its p-value after Holm's correction over the target's conditions.
    """

    by_seed: Sequence[float]
    difference: Estimate | None
    corrected_p: float | None = None

    @property
    def differs(self) -> bool:
        """Whether it differs from no intermediate task beyond chance."""
        return self.corrected_p is not None and self.corrected_p < 0.05


@dataclass(frozen=True)
class AfterPhase:
    """What is known after a phase, as means over seeds.

    Args:
        own: validation scores of the tasks that it trained on.
        earlier: those of the tasks of phases before it, by the heads that these left.
        distance: of the encoder from the start.
        retrieval: the share of translations found; `None` where it was not measured.
    """

    own: Mapping[str, float]
    earlier: Mapping[str, float]
    distance: float
    retrieval: float | None


@dataclass(frozen=True)
class StudyOutcome:
    """What a study found.

    Args:
        plan: of the study.
        targets: their scores.
        effects: of each target and condition by name.
        orders: of each target and, where there is one, rehearsal: what the order does.
        phases: of each condition by name, what is known after each of its phases.
        start_retrieval: the share of translations that the start finds.
        seconds: of each condition's phases, the mean over seeds.
    """

    plan: StudyPlan
    targets: Sequence[TargetScores]
    effects: Mapping[tuple[str, str], Effect]
    orders: Mapping[tuple[str, float], OrderEffect]
    phases: Mapping[str, Sequence[AfterPhase]]
    start_retrieval: float | None
    seconds: Mapping[str, float]

    @property
    def conditions(self) -> Sequence[Condition]:
        """In the order of the file; the first is no intermediate task."""
        return self.plan.study.conditions


def read_outcome(plan: StudyPlan, folder: Path) -> StudyOutcome:
    """What the runs of a study, all of which have ended well, found.

    Args:
        plan: of the study.
        folder: of the study.

    Raises:
        InputError: a run's folder cannot be read, or has no scores.
    """
    targets = [_scores(plan, target, folder) for target in plan.study.targets]
    effects: dict[tuple[str, str], Effect] = {}
    for target in targets:
        of_target = {
            one.name: _effect(target, one.name, plan.study.conditions[0].name) for one in plan.study.conditions
        }
        known = [name for name, one in of_target.items() if one.difference and np.isfinite(one.difference.p_value)]
        corrected = holm([of_target[name].difference.p_value for name in known])  # type: ignore[union-attr]
        of_target |= {name: replace(of_target[name], corrected_p=p) for name, p in zip(known, corrected, strict=True)}
        effects |= {(target.name, name): one for name, one in of_target.items()}
    starts = [
        value
        for nodes in plan.phases.values()
        for of_seed in nodes.values()
        for name in of_seed
        if (value := _retrieval(_after(folder, name), "start")) is not None
    ]
    return StudyOutcome(
        plan,
        targets,
        effects,
        {(target.name, share): found for target in targets for share, found in _orders(plan, target)},
        {one.name: _phases(one, plan.phases[one.name], folder) for one in plan.study.conditions},
        starts[0] if starts else None,
        {name: _seconds(nodes, folder) for name, nodes in plan.phases.items()},
    )


def _scores(plan: StudyPlan, target: Target, folder: Path) -> TargetScores:
    runs = {
        one.name: {seed: finished_run(folder, name) for seed, name in plan.targets[target.name, one.name].items()}
        for one in plan.study.conditions
    }

    def of_each(read: Callable[[Path], Any]) -> dict[str, dict[int, Any]]:
        return {name: {seed: read(run) for seed, run in of_seeds.items()} for name, of_seeds in runs.items()}

    if target.is_retrieval:
        found = of_each(_found_translations)
        pairs = list(next(iter(found[plan.study.conditions[0].name].values())))
        metric = "F1" if target.mines else "accuracy"
        # The sums are of accuracy, and say nothing of what was mined.
        sums = {} if target.mines else of_each(lambda run: sums_of_run(run, "test"))
        return TargetScores(target.name, metric, "test", pairs, pairs, found, sums)
    read = of_each(read_run)
    every: list[SavedRun] = [run for of_seeds in read.values() for run in of_seeds.values()]
    splits = [
        split
        for split in ("test", "validation")
        if all(run.score(split, language) is not None for run in every for language in target.evaluated)
    ]
    if not splits:
        raise InputError(f"{plan.study.where('targets', target.name)}: not all of {', '.join(target.evaluated)} were "
                         f"scored, neither on validation nor on test data.")  # fmt: skip
    split = splits[0]
    transferred = [language for language in target.evaluated if language != target.language] or target.evaluated
    scores = {
        name: {seed: _of_languages(run, split, target.evaluated) for seed, run in of_seeds.items()}
        for name, of_seeds in read.items()
    }
    sums = of_each(lambda run: sums_of_run(run, split))
    return TargetScores(target.name, every[0].metric.label, split, target.evaluated, transferred, scores, sums)


def _of_languages(run: SavedRun, split: str, languages: Sequence[str]) -> dict[str, float]:
    return {language: run.needed_score(split, language) for language in languages}


def _found_translations(run: Path) -> dict[str, float]:
    layers = parse_json((run / REPORT).read_text(encoding="utf-8"))["layers"]
    (layer,) = layers.values()
    if MINING in layer:
        return {pair: values["f1"] for pair, values in layer[MINING].items()}
    return {pair: values["mean"] for pair, values in layer["accuracy"].items()}


def _effect(target: TargetScores, condition: str, none: str) -> Effect:
    by_seed = target.by_seed(condition)
    if condition == none:
        return Effect(by_seed, None)
    sums = [
        {language: [own[language] for own in target.sums.get(name, {}).values() if language in own]
         for language in target.transferred}
        for name in (condition, none)
    ]  # fmt: skip
    sides = [np.array(target.by_seed(name)) for name in (condition, none)]
    return Effect(by_seed, mean_or_difference(sides, sums))


def _orders(plan: StudyPlan, target: TargetScores) -> list[tuple[float, OrderEffect]]:
    """Of each share of rehearsal, the orders of all tasks that occur in several."""
    found = []
    for share in dict.fromkeys(one.rehearsal for one in plan.study.conditions if one.order):
        orders = [one for one in plan.study.conditions if one.order and one.rehearsal == share]
        alike = [one for one in orders if set(one.order) == set(orders[0].order)]
        if len(alike) > 1:
            found.append((share, order_effect(np.array([target.by_seed(one.name) for one in alike]))))
    return found


def _after(folder: Path, name: str) -> Mapping[str, Any]:
    return parse_json((finished_run(folder, name) / AFTER_FILE).read_text(encoding="utf-8"))


def _retrieval(after: Mapping[str, Any], which: str) -> float | None:
    found = after["retrieval"]
    return fmean(value for pair in found[which].values() for value in pair.values()) if found else None


def _phases(condition: Condition, nodes: Mapping[int, Sequence[str]], folder: Path) -> list[AfterPhase]:
    phases = []
    for phase, *names in zip(condition.phases, *nodes.values(), strict=True):
        runs, after = (
            [read_run(finished_run(folder, name)) for name in names],
            [_after(folder, name) for name in names],
        )
        retrieval = [_retrieval(one, "now") for one in after]
        known = [value for value in retrieval if value is not None]
        phases.append(
            AfterPhase(
                {task: fmean(run.needed_score("validation", task) for run in runs) for task in phase.tasks},
                {task: fmean(one["earlier"][task] for one in after) for task in after[0]["earlier"]},
                fmean(one["distance"] for one in after),
                fmean(known) if len(known) == len(names) else None,
            )
        )
    return phases


def _seconds(nodes: Mapping[int, Sequence[str]], folder: Path) -> float:
    of_seeds = [sum(seconds_of(finished_run(folder, name)) for name in names) for names in nodes.values()]
    return fmean(of_seeds) if of_seeds else 0.0
