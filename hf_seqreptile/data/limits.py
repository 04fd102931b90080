"""`max_*_samples`: how many of a task's first examples to use."""

import re
from collections.abc import Mapping, Sequence

from datasets import Dataset

from ..errors import InputError
from .names import unknown_name


def parse_limits(items: Sequence[str] | None, argument: str) -> dict[str | None, int]:
    """The limit of each task named in `items` (`6000`, `de=6000`); under `None`, the limit of all the others."""
    limits: dict[str | None, int] = {}
    for item in items or ():
        name, separator, number = item.rpartition("=")
        task = name if separator else None
        if not re.fullmatch(r"\d{1,18}", number) or int(number) < 1 or (separator and not name):
            raise InputError(
                f"{argument}: `{item}` is not a number of examples. Write a whole number of at least 1 for all tasks "
                "(`6000`), or one a task (`de=6000 nl=200`)."
            )
        if task in limits:
            raise InputError(f"{argument}: two limits for {'all tasks' if task is None else repr(task)}. Give one.")
        limits[task] = int(number)
    return limits


def check_limits(limits: Mapping[str | None, int], tasks: Sequence[str], argument: str) -> None:
    """Refuse a limit for a task that is not among `tasks`."""
    for task in limits:
        if task is not None and task not in tasks:
            raise unknown_name(task, tasks, argument, kind="task")


def take_first(dataset: Dataset, task: str, limits: Mapping[str | None, int]) -> Dataset:
    """The first examples of a task's dataset, as many as its limit says."""
    limit = limits.get(task, limits.get(None))
    return dataset if limit is None else dataset.select(range(min(limit, len(dataset))))
