"""What a user says of single tasks: their shares of the draws, their batches, and a cap on passes over them."""

import math
from collections.abc import Collection, Mapping, Sequence

from ..errors import InputError

SHARES = ("task_weights", "max_task_passes")
"""Arguments that say how often tasks are drawn, beside q."""
Given = Sequence[str] | None
"""An argument by task as the command line has it, `en=1 sw=3`; `None` if it was not given."""


def as_items(name: str, value: object) -> list[str] | None:
    """An argument by task, which in Python may be a dict, as [`Given`].

    Raises:
        InputError: it is something else.
    """
    if value is None:
        return None
    if isinstance(value, Mapping):
        return [f"{task}={number}" for task, number in value.items()]
    if isinstance(value, list | tuple) and value and all(isinstance(item, str) for item in value):
        return list(value)
    raise InputError(f"{name} is {value!r}; give a number by task, en=1 sw=3 or {{'en': 1, 'sw': 3}}.")


def numbers_by_task(argument: str, given: Given, whole: bool) -> dict[str, float]:
    """The numbers of an argument by task.

    Args:
        argument: its name, for messages.
        given: its items.
        whole: whether the numbers are whole ones.

    Raises:
        InputError: an item that is no positive number of a task, or a task twice.
    """
    numbers: dict[str, float] = {}
    for item in given or ():
        task, separator, text = item.rpartition("=")
        try:
            number = int(text) if whole else float(text)
        except ValueError:
            number = math.nan
        if not separator or not task or not (math.isfinite(number) and number > 0):
            kind = "a whole number of at least 1" if whole else "a number above 0"
            raise InputError(f"--{argument}: `{item}` does not give a task {kind}; write en=1 sw=3.")
        if task in numbers:
            raise InputError(f"--{argument} names the task {task!r} twice.")
        numbers[task] = number
    return numbers


def check_tasks_of(argument: str, numbers: Collection[str], tasks: Sequence[str], all_needed: bool) -> None:
    """Refuse an argument by task that names other tasks than those trained on, or not all of them.

    Args:
        argument: its name, for messages.
        numbers: the tasks that it names.
        tasks: those trained on.
        all_needed: whether each needs a number.

    Raises:
        InputError: as said.
    """
    unknown = [task for task in numbers if task not in tasks]
    lacking = [task for task in tasks if task not in numbers] if all_needed else []
    if unknown or lacking:
        told = f"names {unknown[0]!r}, which is no training task" if unknown else f"has none for {lacking[0]!r}"
        raise InputError(f"--{argument} {told}. The tasks are {', '.join(tasks)}.")


def capped(probabilities: Mapping[str, float], most: Mapping[str, float]) -> dict[str, float]:
    """The probabilities, none above its cap; what a task loses goes to the others in their proportions.

    With equal probabilities this is UniMax (Chung et al. 2023, Algorithm 1).

    Args:
        probabilities: p_t, summing to 1.
        most: the cap of each task.

    Raises:
        InputError: the caps leave no task for a part of the draws.
    """
    open_, shares, left = dict(probabilities), {}, 1.0
    while over := [t for t, p in open_.items() if p / sum(open_.values()) * left > most[t]]:
        for task in over:
            shares[task] = most[task]
            left -= most[task]
            del open_[task]
    if not open_ and left > 1e-9:
        raise InputError(
            f"--max_task_passes leaves no task for {left:.0%} of the draws: all are drawn as often as it allows. "
            f"Raise it, or lower --max_steps or --num_train_epochs."
        )
    total = sum(open_.values())
    shares |= {task: p / total * left for task, p in open_.items()}
    return {task: shares[task] for task in probabilities}
