"""Words and their tags in a dataset: in which columns they are, and in which scheme the tags are written."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow.compute as pc
from datasets import ClassLabel, Dataset, LargeList, List, Value

from ..data.build import left_out_columns
from ..data.tags import OUTSIDE, in_scheme, is_tag, odd_tags, position_and_type, recognised_scheme
from ..data.text import shown
from ..errors import InputError
from .problem import distinct

MOST_LABELS = 100
"""Different tags without prefixes that pass unasked; more are taken for words where the words are not many more."""
_WORDS_PER_LABEL = 4


@dataclass(frozen=True)
class TaggedWords:
    """The sentences of one task's split.

    Args:
        dataset: the sentences.
        text: the column of words.
        column: the column of tags, as strings or a ClassLabel.
        task: whose they are.
        split: of which split.
        given: the scheme of the tags, where the user names it. Default: the recognised one.
        known: tags that are labels already, and so not odd.
        number_names: what the numbers 0, 1, … are called, where tags are such and the dataset does not say.
        renamed: other names of types; tags that have one are not odd.
    """

    dataset: Dataset
    text: str
    column: str
    task: str
    split: str
    given: str | None = None
    known: Collection[str] = ()
    number_names: Sequence[str] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """Task and split, for messages."""
        return f"task {self.task!r}, {self.split} split"

    @cached_property
    def names(self) -> list[str] | None:
        """What the tags are called, where they are numbers."""
        item = self.dataset.features[self.column].feature
        if isinstance(item, ClassLabel):
            return item.names
        return list(self.number_names) if self.are_unnamed_numbers else None

    @property
    def are_unnamed_numbers(self) -> bool:
        """Whether the tags are numbers that the dataset has no names for."""
        return _holds_numbers(self.dataset.features[self.column])

    @cached_property
    def occurring(self) -> list[str]:
        """The distinct tags of all rows.

        Raises:
            InputError: a number without a name, with its row.
        """
        values: list[Any] = distinct(self.dataset, self.column)
        if self.are_unnamed_numbers:
            self._check_numbers(values)
        # A ClassLabel's -1 means that the tag was left out.
        return [self.names[value] for value in values if value >= 0] if self.names else values

    @property
    def tags(self) -> list[str]:
        """The distinct tags, and those that have a name and may occur elsewhere; none of them is odd."""
        unused = [name for name in self.names or () if name not in self.occurring]
        odd = odd_tags([*self.occurring, *unused], self.given)
        unused = [name for name in unused if name not in self.renamed]
        return [*self.occurring, *(name for name in unused if name not in odd)]

    @cached_property
    def scheme(self) -> str | None:
        """The scheme of the tags; `None` where all are `O`, and `iob2` for IOB1 as well.

        Raises:
            InputError: an odd tag, with its row.
        """
        meant = {*self.known, *self.renamed}
        odd = {tag: reason for tag, reason in odd_tags(self.occurring, self.given).items() if tag not in meant}
        if odd:
            row, tag = self._first_row_with(odd)
            raise InputError(f"{row}: `{shown(tag)}` is not a tag. {odd[tag]}")
        return self.given or recognised_scheme(self.occurring) or recognised_scheme(self.tags)

    @property
    def types(self) -> set[str]:
        """The types, or tags where there are none, that occur or have a name, as the data has them."""
        scheme = self.scheme or "none"
        return {position_and_type(tag, scheme)[1] for tag in self.tags if tag != OUTSIDE or scheme == "none"}

    def learnt(self, scheme: str, learnt: str) -> set[str]:
        """The distinct tags that occur, one by one, as they are learnt.

        Args:
            scheme: of the tags.
            learnt: that of the labels.
        """
        return {in_scheme([tag], scheme, learnt, self.renamed)[0] for tag in self.occurring}

    def count_words(self) -> dict[str, int]:
        """How many words have a tag of each type, or, where there is no scheme, each tag."""
        lists = self.dataset.select_columns(self.column).with_format("arrow")[:][self.column].combine_chunks()
        found: dict[str, int] = {}
        for one in pc.value_counts(lists.flatten()).to_pylist():
            tag = one["values"]
            if self.names is not None:
                tag = self.names[tag] if tag is not None and tag >= 0 else None
            if tag is not None and (tag != OUTSIDE or self.scheme == "none"):
                name = position_and_type(tag, self.scheme or "none")[1]
                found[name] = found.get(name, 0) + one["counts"]
        return found

    def row_with(self, tag: str) -> str:
        """Which is the first row that has the tag, for messages."""
        return self._first_row_with([tag])[0]

    def count_begins(self) -> tuple[int, int]:
        """How many entities begin with `I-`, and with a `B-` that IOB1 would not write; tags in IOB1 or IOB2."""
        lists = self.dataset.select_columns(self.column).with_format("arrow")[:][self.column]
        lists = lists.combine_chunks().drop_null()
        lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
        values = lists.flatten()
        if self.names is None:
            values = values.dictionary_encode()
            names, codes = values.dictionary.to_pylist(), values.indices
        else:
            names, codes = self.names, values
        codes = pc.fill_null(codes, -1).to_numpy(zero_copy_only=False)
        # What was left out, -1, counts as outside.
        parts = [("O", "") if tag == OUTSIDE else position_and_type(tag, "iob2") for tag in [*names, OUTSIDE]]
        types = {of: i for i, of in enumerate(dict.fromkeys(of for position, of in parts if position != "O"))}
        letters = np.array([position for position, _ in parts])[codes]
        own = np.array([-1 if position == "O" else types[of] for position, of in parts])[codes]
        before = np.concatenate([[-1], own[:-1]])[: len(own)]
        before[(np.cumsum(lengths) - lengths)[lengths > 0]] = -1
        begins = own != before
        return int(((letters == "I") & begins).sum()), int(((letters == "B") & begins).sum())

    def refuse_words(self) -> None:
        """Raise InputError if there are so many tags, without prefixes, that they may be words."""
        labels = len(self.occurring)
        if self.given or self.scheme not in ("io", "none") or labels <= MOST_LABELS:
            return
        words = len(distinct(self.dataset, self.text))
        if labels * _WORDS_PER_LABEL > words:
            raise InputError(
                f"{self.where}: {labels} different tags in the column {self.column!r} for {words} different words. If "
                f"these are words too, name the column of tags with --label_column_name; if they are tags, add "
                f"--tag_scheme none."
            )

    def _check_numbers(self, values: Sequence[int]) -> None:
        names = len(self.number_names)
        wrong = {value for value in values if not 0 <= value < names}
        for number, tags in enumerate(self.dataset[self.column] if wrong else (), 1):
            if found := [tag for tag in tags or () if tag in wrong]:
                raise InputError(
                    f"{self.where}, row {number}: the tag {found[0]} has no name: --label_names has {names}, for 0 to "
                    f"{names - 1}. Name all tags, or mend the row."
                )

    def _first_row_with(self, tags: Collection[str]) -> tuple[str, str]:
        for number, row in enumerate(self.dataset.select_columns([self.text, self.column]), 1):
            spelled = row[self.column] or ()
            if self.names is not None:
                spelled = [self.names[tag] for tag in spelled if tag is not None and tag >= 0]
            for tag in spelled:
                if tag in tags:
                    words = " ".join(word for word in row[self.text] or () if word is not None)
                    return f"{self.where}, row {number} ({shown(words)})", tag
        raise ValueError(f"{self.where}: no row has any of {tags}")


def find_columns(
    task: str,
    dataset: Dataset,
    text: str | None,
    label: str | None,
    label_by_default: str,
    may_be_numbers: bool = False,
    may_lack_tags: bool = False,
) -> tuple[str, str | None]:
    """The columns of words and of tags: by their names, or where there is no other.

    Args:
        task: whose data it is.
        dataset: the data.
        text: the column of words, where the user names it. Default: `tokens`.
        label: the column of tags, where the user names it.
        label_by_default: what it is called otherwise.
        may_be_numbers: whether tags may be numbers without names.
        may_lack_tags: whether there may be none; their column is then `None`.

    Raises:
        InputError: a column that was named does not exist or is named for both, there are fewer than two, or which
            they are cannot be told for sure; columns that hold something else.
    """
    names = dataset.column_names
    if may_lack_tags and (alone := _words_alone(dataset, text, label or label_by_default)):
        return alone, None
    if len(names) < 2:
        raise InputError(f"The data of task {task!r} has the columns {names}; it needs words and tags.")
    for argument, column in (("text_column_name", text), ("label_column_name", label)):
        if column is not None and column not in names:
            raise InputError(f"--{argument} {column} is not a column of task {task!r}, which has {names}.")
    if label is None and label_by_default in names and label_by_default != text:
        label = label_by_default
    if text is None and "tokens" in names and label != "tokens":
        text = "tokens"
    lists = [name for name in names if _holds_tags(dataset.features[name], may_be_numbers)]
    if label is None:
        candidates = [name for name in lists if name != text]
        if text is None:
            # A column of nothing but tags is none of words.
            candidates = [name for name in lists if _holds_only_tags(dataset, name)]
        # The one list that could be meant is refused for what it holds.
        others = [name for name in names if name != text and isinstance(dataset.features[name], List | LargeList)]
        label = _the_only(task, dataset, candidates or others, "tags", "label_column_name")
    if text is None:
        candidates = [name for name in lists if name != label and _holds_strings(dataset.features[name])]
        text = _the_only(task, dataset, candidates, "words", "text_column_name")
    if text == label:
        raise InputError(f"--text_column_name and --label_column_name both name {text!r}. Give each its own column.")
    _check_features(task, dataset, text, label, may_be_numbers)
    return text, label


def _words_alone(dataset: Dataset, text: str | None, label: str) -> str | None:
    """The column of words, where no other column can be one of tags."""
    lists = [name for name, feature in dataset.features.items() if _holds_tags(feature, may_be_numbers=True)]
    words = text or ("tokens" if "tokens" in lists else lists[0] if lists else None)
    return words if label not in dataset.column_names and lists == [words] else None


def _the_only(task: str, dataset: Dataset, candidates: Sequence[str], what: str, argument: str) -> str:
    names = dataset.column_names
    for name, row in left_out_columns(dataset).items():
        raise InputError(
            f"Task {task!r}: which column holds the {what} cannot be told: it may be {name!r}, which has another type "
            f"of value in row {row} than before. Mend the row, or name the column with --{argument}."
        )
    if len(candidates) == 1:
        return candidates[0]
    which = f"it may be any of {', '.join(candidates)}" if candidates else f"there are {', '.join(names)}"
    raise InputError(
        f"Task {task!r}: which column holds the {what} cannot be told; {which}. Name it with --{argument}."
    )


def _check_features(task: str, dataset: Dataset, text: str, label: str, may_be_numbers: bool) -> None:
    if not _holds_strings(dataset.features[text]):
        raise InputError(
            f"Column {text!r} of task {task!r} holds {dataset.features[text]}; it must hold a list of words for each "
            f"sentence, as strings."
        )
    if not _holds_tags(dataset.features[label], may_be_numbers):
        names = "; name the numbers with --label_names" if _holds_numbers(dataset.features[label]) else ""
        raise InputError(
            f"Column {label!r} of task {task!r} holds {dataset.features[label]}; it must hold a list of tags for each "
            f"sentence, as strings (B-PER, I-PER, O) or as a ClassLabel with names{names}."
        )


def _holds_strings(feature: Any) -> bool:
    dtype = getattr(feature.feature, "dtype", None) if isinstance(feature, List | LargeList) else None
    return dtype in ("string", "large_string")


def _holds_tags(feature: Any, may_be_numbers: bool) -> bool:
    is_list = isinstance(feature, List | LargeList)
    has_names = is_list and (isinstance(feature.feature, ClassLabel) or _holds_strings(feature))
    return has_names or (may_be_numbers and _holds_numbers(feature))


def _holds_numbers(feature: Any) -> bool:
    item = feature.feature if isinstance(feature, List | LargeList) else None
    return isinstance(item, Value) and item.dtype.removeprefix("u").startswith("int")


def _holds_only_tags(dataset: Dataset, name: str) -> bool:
    if not _holds_strings(dataset.features[name]):
        return True
    tags = distinct(dataset, name)
    return bool(tags) and all(map(is_tag, tags))
