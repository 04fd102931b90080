"""The labels of rows that have one each: names of classes, or numbers to predict."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from datasets import ClassLabel, Dataset

from ..data.text import shown
from ..errors import InputError
from .labels import mend_of_unknown, misspelled, same_but_for_case

NO_LABEL = -100
"""Stands for the label that a row of the test split lacks."""
NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_MISSING = ("", "-")
NO_MEANINGS: Mapping[str, str] = {}
"""Each label as it is written is a name."""


@dataclass(frozen=True)
class Classes:
    """Reads the labels of one task's rows as names of classes.

    Args:
        names: of a ClassLabel, by number; `None` where labels are written out.
        meanings: names for what other labels are written as, such as numbers. Default: each is a name of its own.
        label2id: the ids of the classes that the model knows.
        for_training: whether the rows are trained on.
    """

    names: Sequence[str] | None
    meanings: Mapping[str, str] = field(default_factory=dict)
    label2id: Mapping[str, int] = field(default_factory=dict)
    for_training: bool = False

    def name(self, value: Any) -> str | None:
        """What a row's label is called; `None` if it is missing.

        2 means the same as an integer, a float and text.
        """
        if self.names is not None and value is not None:
            # A ClassLabel's -1 means that the label was left out.
            value = self.names[value] if value >= 0 else None
        if is_missing(value) or (isinstance(value, float) and math.isnan(value)):
            return None
        text = str(value)
        if not NUMBER.fullmatch(text):
            return self.meanings.get(text, text)
        number = float(text)
        if number.is_integer() and (meaning := self.meanings.get(str(int(number)))):
            return meaning
        return text if self.names is not None else text.removesuffix(".0")

    def is_labelled(self, value: Any) -> bool:
        """Whether the row has a label."""
        return self.name(value) is not None

    def feature(self, value: Any, row: str) -> int:
        """The id of a row's label, -100 if it is missing; `row` names the row for messages.

        Raises:
            InputError: a label that the model does not know.
        """
        name = self.name(value)
        if name is None:
            return NO_LABEL
        if name not in self.label2id:
            if other := same_but_for_case(name, self.label2id):
                raise InputError(f"{row}: {misspelled(name, other)}")
            raise InputError(
                f"{row}: unknown label {name!r}; the model knows {', '.join(self.label2id)}. "
                f"{mend_of_unknown(self.for_training)}"
            )
        return self.label2id[name]


@dataclass(frozen=True)
class Targets:
    """Reads the labels of one task's rows as numbers to predict."""

    def is_labelled(self, value: Any) -> bool:
        """Whether the row has a label."""
        return not is_missing(value)

    def feature(self, value: Any, row: str) -> float:
        """The number that a row's label is, NaN if it is missing; `row` names the row for messages.

        Raises:
            InputError: a label that is no number, or not finite.
        """
        if is_missing(value):
            return math.nan
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number) or isinstance(value, bool):
            raise InputError(
                f"{row}: the label `{shown(value)}` is not a number that can be learnt, as others of the task are. "
                f"Mend the row, or add --do_regression False if the labels are classes."
            )
        return number


def is_missing(value: Any) -> bool:
    """Whether a row has no label: null, empty, or `-`, on which annotators did not agree."""
    return value is None or (isinstance(value, str) and value.strip() in _MISSING)


def class_label_names(dataset: Dataset, column: str) -> list[str] | None:
    """The names of the labels that a dataset numbers in its own way."""
    feature = dataset.features.get(column)
    return feature.names if isinstance(feature, ClassLabel) else None


def holds_numbers(dataset: Dataset, column: str) -> bool:
    """Whether labels are numbers to predict: floats, or texts of which at least one has a decimal point."""
    dtype = dataset.features[column].dtype
    if dtype in ("string", "large_string"):
        return any(_DECIMAL.fullmatch(value.strip()) for value in dataset.unique(column) if value is not None)
    return dtype.startswith(("float", "double"))


def names_in(dataset: Dataset, column: str, meanings: Mapping[str, str] = NO_MEANINGS) -> list[str]:
    """The names of a dataset's classes: in the order of a ClassLabel, else sorted, numbers by their value."""
    classes = Classes(class_label_names(dataset, column), meanings)
    values = range(len(classes.names)) if classes.names is not None else dataset.unique(column)
    names = list(dict.fromkeys(name for value in values if (name := classes.name(value)) is not None))
    if classes.names is not None:
        return names
    return sorted(names, key=float) if all(map(NUMBER.fullmatch, names)) else sorted(names)


def check_spelling(
    datasets: Iterable[tuple[str, Dataset, str, Mapping[str, str]]],
    known: Iterable[str] = (),
) -> None:
    """Refuse names of classes that differ from another one in case or surrounding spaces alone.

    Args:
        datasets: where each is from, for messages; the rows; their column of labels; meanings as in [`Classes`].
        known: names that others must be spelled as, if some of the rows have one of them.

    Raises:
        InputError: names the first row.
    """
    places: dict[str, tuple[str, Dataset, str, Any]] = {}
    for where, dataset, column, meanings in datasets:
        classes = Classes(class_label_names(dataset, column), meanings)
        for value in dataset.unique(column):
            if name := classes.name(value):
                places.setdefault(name, (where, dataset, column, value))
    before = [*known] if places.keys() & {*known} else []
    for name, (where, dataset, column, value) in places.items():
        if other := same_but_for_case(name, before):
            row = dataset[column][:].index(value) + 1
            raise InputError(f"{where}, row {row}: {misspelled(name, other)}")
        before.append(name)
