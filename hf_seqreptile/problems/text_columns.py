"""One text or a pair a row, with its label: which columns hold them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from datasets import ClassLabel, Dataset, Value

from ..data.build import left_out_columns
from ..data.names import unknown_name
from ..errors import InputError

LABEL = "label"
PAIRS = (
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("text", "text_pair"),
    ("text1", "text2"),
)
"""What public datasets call the two texts of a pair."""
_SINGLE = ("sentence", "text")
_NO_TEXTS = ("id", "idx", "index", "guid", "uid", "uuid")
_ARGUMENT = "text_column_names"


@dataclass(frozen=True)
class TextColumns:
    """Where a task's examples are.

    Args:
        texts: the column of the one text, or the two of a pair.
        label: the column of labels; a test split may lack it.
    """

    texts: tuple[str, ...]
    label: str

    @property
    def example(self) -> str:
        """What an example is called."""
        return "pair" if len(self.texts) > 1 else "text"

    def check(self, task: str, dataset: Dataset, needs_label: bool = True) -> None:
        """Refuse a dataset without these columns, or whose columns hold something else.

        Args:
            task: whose data it is.
            dataset: the data.
            needs_label: whether there must be a column of labels.

        Raises:
            InputError: as said.
        """
        for column in self.texts:
            feature = dataset.features.get(column)
            if feature is None:
                raise InputError(f"--{_ARGUMENT}: {column} is not a column of task {task!r}, {_which(dataset)}.")
            if not _holds_texts(feature):
                raise InputError(f"Column {column!r} of task {task!r} holds {feature}; it must hold one text a row.")
        feature = dataset.features.get(self.label)
        if feature is None and needs_label:
            raise InputError(
                f"The data of task {task!r} has no column {self.label!r}, only {dataset.column_names}. Name the "
                f"column of labels with --label_column_name."
            )
        if feature is not None and not isinstance(feature, Value | ClassLabel):
            raise InputError(f"Column {self.label!r} of task {task!r} holds {feature}; it must hold one label a row.")


def find_columns(
    task: str,
    dataset: Dataset,
    texts: Sequence[str] | None,
    labels: Sequence[str] | None,
    others: Collection[str | None] = (),
) -> TextColumns:
    """The columns of a task: those that the user names, those of a known name, or where there are no others.

    Args:
        task: whose data it is.
        dataset: the data.
        texts: columns of texts as the user names them, `column` for all tasks or `task=column`; two make a pair.
        labels: the column of labels likewise. Default: `label`.
        others: columns that are known to hold something else.

    Raises:
        InputError: columns that cannot be told for sure, more than two of texts or more than one of labels.
    """
    label, given = label_column(task, labels), _named(texts, task)
    if len(given) > 2 or len(set(given) - {label}) < len(given):
        raise InputError(
            f"--{_ARGUMENT} gives task {task!r} {', '.join(given)}. Give one column of texts, or two for pairs, none "
            f"of them twice and none of them that of labels ({label!r})."
        )
    return TextColumns(tuple(given) or _found(task, dataset, {*others, label, LABEL, *_NO_TEXTS}), label)


def label_column(task: str, labels: Sequence[str] | None) -> str:
    """The column of a task's labels: the one that the user names as [`find_columns`] says, else `label`."""
    own = _named(labels, task) or [LABEL]
    if len(own) > 1:
        raise InputError(f"--label_column_name gives task {task!r} {len(own)} columns: {', '.join(own)}. Give one.")
    return own[0]


def check_tasks_named(items: Sequence[str] | None, tasks: Collection[str], argument: str) -> None:
    """Refuse a column that is named for a task that there is not."""
    for item in items or ():
        task, separator, _ = item.rpartition("=")
        if separator and task not in tasks:
            raise unknown_name(task, tasks, f"--{argument}", kind="task")


def columns_that_may_be_read(
    texts: Sequence[str] | None, labels: Sequence[str] | None, others: Collection[str | None] = ()
) -> frozenset[str]:
    """All columns that [`find_columns`] may find by their names, for any task."""

    def names(items: Sequence[str] | None) -> set[str]:
        return {name for item in items or () for name in item.rpartition("=")[2].split(",")}

    def is_for_all(items: Sequence[str] | None) -> bool:
        return any("=" not in item for item in items or ())

    usual = set() if is_for_all(texts) else {*_SINGLE, *(name for pair in PAIRS for name in pair)}
    label = set() if is_for_all(labels) else {LABEL}
    return frozenset({*names(texts), *names(labels), *usual, *label, *(name for name in others if name)})


def _named(items: Sequence[str] | None, task: str) -> list[str]:
    """The columns that the user names for the task, else those for all; a comma separates several, as a space does."""
    split = [item.rpartition("=") for item in items or ()]
    own = [names for name, separator, names in split if separator and name == task]
    return [name for names in own or [names for _, separator, names in split if not separator]
            for name in names.split(",")]  # fmt: skip


def _found(task: str, dataset: Dataset, others: Collection[str | None]) -> tuple[str, ...]:
    candidates = [name for name in dataset.column_names if name not in others and _holds_texts(dataset.features[name])]
    pairs = [pair for pair in PAIRS if {*pair} <= {*candidates}]
    if len(pairs) == 1:
        return pairs[0]
    # Beside a column that has one text's usual name, another may hold anything.
    has_single = not {*_SINGLE}.isdisjoint(candidates)
    unread = {name: row for name, row in left_out_columns(dataset).items() if name not in others}
    if unread and not has_single:
        name, row = next(iter(unread.items()))
        raise InputError(
            f"Task {task!r}: which columns hold the texts cannot be told: it may be {name!r} too, which has another "
            f"type of value in row {row} than before. Mend the row, or name the columns with --{_ARGUMENT}."
        )
    if len(candidates) == 1 or (len(candidates) == 2 and not has_single):
        return tuple(candidates)
    which = f"it may be any of {', '.join(candidates)}" if candidates else _which(dataset)
    raise InputError(
        f"Task {task!r}: which columns hold the texts cannot be told; {which}. Name one, or the two of a pair, with "
        f"--{_ARGUMENT}."
    )


def _which(dataset: Dataset) -> str:
    return f"which has {', '.join(dataset.column_names)}"


def _holds_texts(feature: Any) -> bool:
    return isinstance(feature, Value) and feature.dtype in ("string", "large_string")
