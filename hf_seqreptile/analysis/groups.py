"""Runs of one setting, and settings that differ in one argument."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .labels import labels
from .runs import SavedRun


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
    named = labels([of_setting[0] for of_setting in by_setting.values()])
    return [Group(label, of_setting) for label, of_setting in zip(named, by_setting.values(), strict=True)]


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
    named = labels([members[0].runs[0] for members in several], argument)
    return dict(zip(named, several, strict=True))


def _key(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)
