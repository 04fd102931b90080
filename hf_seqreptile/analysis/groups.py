"""Runs of one setting, and settings that differ in one argument."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..training.setting import settings_of
from ..training.training_args import MultiTaskTrainingArguments
from .runs import SavedRun

SYMBOLS = {name: one.symbol for name, one in settings_of(MultiTaskTrainingArguments).items() if one.symbol} | {
    "learning_rate": "α"
}
NEVER_IN_A_LABEL = {"problem", "metric", "tasks", "base_model"}
MOST_IN_A_LABEL = 2


@dataclass(frozen=True)
class Group:
    """Runs of one setting, which differ in nothing but the seed.

    Args:
        label: the method, with what tells it from the method's other settings.
        runs: at least one.
    """

    label: str
    runs: Sequence[SavedRun]

    @property
    def settings(self) -> dict[str, Any]:
        """What the runs have in common."""
        return self.runs[0].settings


def group_by_setting(runs: Sequence[SavedRun]) -> list[Group]:
    """The runs with those beside them that differ by the seed alone; in the order of each setting's first run."""
    by_setting: dict[str, list[SavedRun]] = {}
    for run in runs:
        by_setting.setdefault(_key(run.settings), []).append(run)
    firsts = [of_setting[0] for of_setting in by_setting.values()]
    return [Group(_label(of_setting[0], firsts), of_setting) for of_setting in by_setting.values()]


def families(groups: Sequence[Group], argument: str) -> dict[str, list[Group]]:
    """The groups that differ in `argument` alone, by a label, sorted by its value.

    Args:
        groups: to choose from.
        argument: a numeric one, `learning_rate`.

    Returns:
        For each other setting that occurs with at least two values of the argument, its groups.
    """
    found: dict[str, list[Group]] = {}
    for group in groups:
        if group.settings[argument] is not None:
            others = {name: value for name, value in group.settings.items() if name != argument}
            found.setdefault(_key(others), []).append(group)
    several = [sorted(members, key=lambda g: g.settings[argument]) for members in found.values() if len(members) > 1]
    firsts = [members[0].runs[0] for members in several]
    return {_label(members[0].runs[0], firsts, argument): members for members in several}


def _key(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)


def _label(run: SavedRun, rivals: Sequence[SavedRun], without: str = "") -> str:
    """The method, and where `rivals` have it too, what tells the run from them, `without` one argument."""
    all_settings = [rival.settings for rival in rivals if rival.method == run.method]
    names = {name for settings in all_settings for name in settings} - {without}
    differing = sorted(name for name in names if len({_key({name: s.get(name)}) for s in all_settings}) > 1)
    if not differing:
        return run.method
    if len(differing) > MOST_IN_A_LABEL or NEVER_IN_A_LABEL & set(differing):
        return f"{run.method} ({run.folder})"
    values = (run.settings.get(name) for name in differing)
    shown = ("default" if value is None else value for value in values)
    return f"{run.method}, {', '.join(f'{SYMBOLS.get(n, n)}={v}' for n, v in zip(differing, shown, strict=True))}"
