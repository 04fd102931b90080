"""What tells a run from others of its method, in few words."""

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from ..training.setting import settings_of
from ..training.training_args import MultiTaskTrainingArguments
from .runs import SavedRun

SYMBOLS = {name: one.symbol for name, one in settings_of(MultiTaskTrainingArguments).items() if one.symbol} | {
    "learning_rate": "α"
}
FIRST = ("problem", "base_model", "tasks_per_step", "learning_rate", "inner_steps", "outer_learning_rate")
BUDGET = ("max_steps", "num_train_epochs", "max_gradient_computations")
SAME_BUDGET = 1.01
"""Gradient computations whose ratio is less are one budget: epochs are rounded up to whole steps."""


def labels(runs: Sequence[SavedRun], without: str = "") -> list[str]:
    """A label for each run: its method, and every setting in which it differs from others of that method.

    No two are alike.

    Args:
        runs: each of another setting.
        without: an argument that is not named, since the runs with other values of it have the same label.
    """
    made = [_label(run, [other for other in runs if other.method == run.method], without) for run in runs]
    return [f"{one} #{made[: i + 1].count(one)}" if made.count(one) > 1 else one for i, one in enumerate(made)]


def _label(run: SavedRun, rivals: Sequence[SavedRun], without: str) -> str:
    differing = _differing(rivals, without)
    short = [_in_words(run, rivals, differing) for run in rivals]
    own = _in_words(run, rivals, differing)
    if short.count(own) > 1:
        alike = [rival for rival, words in zip(rivals, short, strict=True) if words == own]
        own += [f"{name}={json.dumps(run.settings.get(name))}" for name in _differing(alike, without)]
    return ", ".join([run.method, *own])


def _differing(runs: Sequence[SavedRun], without: str) -> list[str]:
    """The settings that differ, those that most will look for first."""
    every = [run.settings for run in runs]
    names = {name for settings in every for name in settings} - {without}
    found = sorted(name for name in names if len({_as_json(settings.get(name)) for settings in every}) > 1)
    first = [name for name in FIRST if name in found]
    return first + sorted([name for name in found if name not in FIRST], key=lambda name: name not in SYMBOLS)


def _in_words(run: SavedRun, rivals: Sequence[SavedRun], names: Sequence[str]) -> list[str]:
    parts = []
    for name in names:
        if name == "tasks":
            parts += _tasks_in_words(run, rivals)
        elif name == "adapters":
            parts.append(run.settings.get(name) or "whole model")
        elif name in ("problem", "metric"):
            parts.append(str(run.settings[name]))
        elif name not in BUDGET:
            value = run.settings.get(name)
            if value is None and name in SYMBOLS:
                value = run.setting(name)
            parts += [] if value is None else [f"{SYMBOLS.get(name, name)}={shown(value)}"]
    return parts + (_budget_in_words(run, rivals) if {*BUDGET} & {*names} else [])


def _tasks_in_words(run: SavedRun, rivals: Sequence[SavedRun]) -> list[str]:
    """The tasks that not all were trained on, or that others were trained on."""
    every = list(dict.fromkeys(task for rival in rivals for task in rival.tasks))
    apart = [task for task in every if any(task not in rival.tasks for rival in rivals)]
    if own := [task for task in apart if task in run.tasks]:
        return [f"with {'+'.join(own)}"]
    return [f"without {'+'.join(apart)}"] if apart else []


def _budget_in_words(run: SavedRun, rivals: Sequence[SavedRun]) -> list[str]:
    """The steps, unless all took about as many gradient computations: then M tells."""
    spent = [rival.gradients for rival in rivals if rival.gradients]
    if len(spent) == len(rivals) and max(spent) <= SAME_BUDGET * min(spent):
        return []
    if run.steps is not None and len({rival.steps for rival in rivals}) > 1:
        return [f"S={run.steps}"]
    given = {"S": run.arguments.get("max_steps"), "epochs": run.arguments.get("num_train_epochs")}
    return [f"{symbol}={shown(value)}" for symbol, value in given.items() if value is not None][:1]


def shown(value: Any) -> str:
    """A setting's value: 3e-4, yes, `en=1 sw=3`."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and 0 < abs(value) < 1e-3:
        mantissa, _, exponent = f"{value:.9e}".partition("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    if isinstance(value, int | float):
        return f"{value:.10g}"
    if isinstance(value, list):
        return " ".join(map(str, value))
    return json.dumps(value, sort_keys=True) if isinstance(value, Mapping) else PurePath(str(value)).name


def _as_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
