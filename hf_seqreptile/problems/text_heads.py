"""Which tasks of texts share a head: those whose labels fit together."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from datasets import Dataset

from ..errors import InputError
from .label_map import LabelMap
from .labels import defining_splits
from .problem import Splits
from .text_columns import label_column
from .text_labels import NUMBER, holds_numbers, names_in


@dataclass(frozen=True)
class _Labels:
    """What the rows of a task say of its labels.

    Args:
        names: of its classes; empty where it has none, or none is known.
        are_numbers: whether numbers are predicted; `None` where no row tells.
    """

    names: frozenset[str]
    are_numbers: bool | None

    def fit_into(self, others: "_Labels") -> bool:
        """Whether a head for `others` serves these labels: it has them all.

        Numbers that are names of classes say nothing of what they mean: they fit if they are the same. Numbers to
        predict have a scale of their own, and never fit.
        """
        if self.are_numbers or others.are_numbers or not self.names <= others.names:
            return False
        return self.names == others.names or not all(map(NUMBER.fullmatch, self.names))


def heads_by_labels(
    tasks: Splits, labels: Sequence[str] | None, do_regression: bool | None, names: LabelMap, unite: bool = False
) -> dict[str, str]:
    """The name of each task's head: a head is called as its first task.

    Training tasks share a head where one's labels hold all of the other's; those with numbers to predict share none.
    A task that is only evaluated has the head that was trained on its labels, or on numbers.

    Args:
        tasks: raw datasets by split and task.
        labels: the columns of labels, as the user names them.
        do_regression: whether labels are numbers to predict. Default: the rows tell.
        names: other names of labels.
        unite: all tasks with classes share one head.

    Raises:
        InputError: a task that no head was trained for, or that may have several.
    """
    defining = defining_splits(tasks)
    trained = _by_task(defining, labels, do_regression, names)
    if unite:
        every = frozenset().union(*(own.names for own in trained.values()))
        trained = {task: own if own.are_numbers else _Labels(every, own.are_numbers) for task, own in trained.items()}
    heads: dict[str, str] = {}
    largest = sorted(trained, key=lambda task: len(trained[task].names), reverse=True)
    for task in largest:
        heads[task] = next((heads[other] for other in heads if trained[task].fit_into(trained[other])), task)
    first = {head: next(task for task in trained if heads[task] == head) for head in heads.values()}
    heads = {task: first[heads[task]] for task in trained}
    evaluated = _by_task(
        {split: of for split, of in tasks.items() if split not in defining}, labels, do_regression, names
    )
    for task, own in evaluated.items():
        if task not in heads:
            heads[task] = _trained_head(task, own, {head: _of_head(head, heads, trained) for head in first.values()})
    return heads


def _by_task(
    tasks: Splits, labels: Sequence[str] | None, do_regression: bool | None, renamed: LabelMap
) -> dict[str, _Labels]:
    datasets: dict[str, list[Dataset]] = {}
    for of_split in tasks.values():
        for task, dataset in of_split.items():
            datasets.setdefault(task, []).append(dataset)
    return {
        task: _labels_in(of_task, label_column(task, labels), do_regression, renamed.of(task))
        for task, of_task in datasets.items()
    }


def _labels_in(
    datasets: Iterable[Dataset], column: str, do_regression: bool | None, renamed: Mapping[str, str]
) -> _Labels:
    labelled = [dataset for dataset in datasets if column in dataset.column_names]
    numbers = do_regression
    if numbers is None and labelled:
        numbers = any(holds_numbers(dataset, column) for dataset in labelled)
    names = () if numbers else (name for dataset in labelled for name in names_in(dataset, column, renamed))
    return _Labels(frozenset(names), numbers)


def _of_head(head: str, heads: Mapping[str, str], trained: Mapping[str, _Labels]) -> _Labels:
    own = [trained[task] for task, of in heads.items() if of == head]
    return _Labels(frozenset().union(*(labels.names for labels in own)), own[0].are_numbers)


def _trained_head(task: str, own: _Labels, heads: Mapping[str, _Labels]) -> str:
    if not own.names and own.are_numbers is None:
        found = list(heads)
    elif own.are_numbers:
        found = [head for head, labels in heads.items() if labels.are_numbers]
    else:
        found = [head for head, labels in heads.items() if own.fit_into(labels)]
    if len(found) == 1:
        return found[0]
    which = f"it may be that of {' or '.join(found)}" if found else f"there are those of {', '.join(heads)}"
    raise InputError(
        f"Task {task!r} has no training data, and which head serves it cannot be told from its labels: {which}. Leave "
        f"it out, or describe the tasks in a file for run_multitask.py."
    )
