"""Labels: those that several tasks share, and those that a model predicts."""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import torch
from datasets import Dataset

from ..data.text import shown
from ..errors import InputError
from .problem import Splits

logger = logging.getLogger(__name__)


def labels_by_task(tasks: Splits, labels_of: Callable[[str, Dataset], Sequence[str]]) -> dict[str, list[str]]:
    """The labels of each training task or, without any, of each task of all other splits; some occur again and again.

    Args:
        tasks: raw datasets by split and task.
        labels_of: gives those of one task's dataset.
    """
    found: dict[str, list[str]] = {}
    for split in defining_splits(tasks).values():
        for task, dataset in split.items():
            found[task] = [*found.get(task, ()), *labels_of(task, dataset)]
    return found


def defining_splits(tasks: Splits) -> Splits:
    """The splits that tell the labels: the training split or, without one, all others."""
    return {"train": tasks["train"]} if "train" in tasks else tasks


def same_but_for_case(name: str, known: Iterable[str]) -> str | None:
    """The first known name that differs from `name`, but in case or surrounding spaces alone."""
    folded = name.strip().casefold()
    return next((other for other in known if other != name and other.strip().casefold() == folded), None)


def misspelled(label: str, other: str) -> str:
    """What to say of a label that differs from another in case or surrounding spaces alone."""
    return (
        f"the label {shown(repr(label))} differs from {shown(repr(other))} in case or spaces alone. Spell both alike."
    )


def mend_of_unknown(for_training: bool) -> str:
    """What helps where a row has a label that the model does not know."""
    return "Mend the row." if for_training else "Mend the row, or train on examples with that label."


def warn_of_missing_labels(
    unlabelled: Mapping[str, int], split: str, every: int, examples: str, others: str = ""
) -> None:
    """Warn of examples without a label; silent where there are none.

    Args:
        unlabelled: how many each task has.
        split: their split; those of the test split are predicted.
        every: how many examples there are, of all tasks.
        examples: what they are called.
        others: what else to say of those tasks in the test split.
    """
    if of_tasks := [f"{task} {number:,}" for task, number in unlabelled.items() if number]:
        logger.warning(
            "%s: %s of %s %s have no label (null, empty or -) and are %s: %s.", split,
            f"{sum(unlabelled.values()):,}", f"{every:,}", examples,
            f"predicted, but not scored{others}" if split == "test" else "left out", ", ".join(of_tasks),
        )  # fmt: skip


def task_with_all_labels(labels_by_task: Mapping[str, Collection[str]]) -> str:
    """The task whose labels include every other's: a small task may lack one, but the tasks must spell them alike.

    Raises:
        InputError: two tasks each have a label that the other lacks.
    """
    sets = {task: set(labels) for task, labels in labels_by_task.items()}
    largest = max(sets, key=lambda task: len(sets[task]))
    for task, own in sets.items():
        if extra := own - sets[largest]:
            raise InputError(
                f"The label sets differ: task {task!r} has {sorted(extra)}, which task {largest!r} lacks; that one "
                f"has {sorted(sets[largest])}. Give both the same labels; or learn all with --unite_labels, or map "
                f"some with --label_map old=new."
            )
    return largest


def predicted_labels(logits: Any, labels: torch.Tensor) -> torch.Tensor:
    """Label ids of the highest logits; kept in place of the logits, they take a fraction of the memory."""
    return (logits[0] if isinstance(logits, tuple) else logits).argmax(dim=-1)
