"""Rows of multiple choice: which columns hold them, and what a row says."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datasets import Dataset

from ..data.text import shown
from ..errors import InputError
from ..json_text import parse_json
from .text_labels import is_missing

CONTEXTS = ("context", "premise", "ctx", "sent1")
QUESTIONS = ("question", "sent2")
CHOICES = ("choices", "endings", "options")
LABELS = ("label", "answerKey")
WRITTEN_OUT = {"cause": "What was the cause?", "effect": "What was the effect?"}
"""What COPA's questions stand for."""
_NUMBERED_KINDS = ("choice", "ending", "answer", "option", "solution", "sol")
_NUMBERED = re.compile(rf"({'|'.join(_NUMBERED_KINDS)})_?(\d)")
_NUMBER = re.compile(r"\d+(?:\.0)?")


@dataclass(frozen=True)
class ChoiceColumns:
    """Where the examples of a task are.

    Args:
        context: the column of what a question is about; `None` where there is none.
        question: the column of questions likewise; one of the two there is.
        choices: a column of lists, or several of one choice each.
        label: the column of labels; a test split may lack it.
    """

    context: str | None
    question: str | None
    choices: tuple[str, ...]
    label: str


@dataclass(frozen=True)
class ChoiceRow:
    """An example, as the model reads it.

    Args:
        first: the text that all choices follow.
        seconds: a text for each choice.
        label: the number of the right one, from 0; `None` where it is missing.
    """

    first: str
    seconds: Sequence[str]
    label: int | None

    @property
    def texts(self) -> tuple[str, ...]:
        """All of them."""
        return (self.first, *self.seconds)


def find_choice_columns(
    task: str,
    dataset: Dataset,
    context: str | None = None,
    question: str | None = None,
    choices: Sequence[str] | None = None,
    label: str | None = None,
) -> ChoiceColumns:
    """The columns of a task: those that the user names, else those of usual names.

    Args:
        task: whose data it is.
        dataset: the data.
        context: the column of contexts. Default: `context`, `premise`, `ctx` or `sent1`.
        question: the column of questions. Default: `question` or `sent2`.
        choices: the column of choices, or several. Default: `choices`, `endings` or `options`, which hold lists, or
            numbered ones, such as `choice1` and `choice2`.
        label: the column of labels. Default: `label` or `answerKey`.

    Raises:
        InputError: a column that was named does not exist, or one that is needed cannot be told.
    """
    names = dataset.column_names
    given = [("context", context), ("question", question), ("label", label)]
    for argument, column in [*given, *(("choices", column) for column in choices or ())]:
        if column is not None and column not in names:
            raise InputError(
                f"--{argument}_column_name{'s' if argument == 'choices' else ''} {column} is not a column of task "
                f"{task!r}, which has {', '.join(names)}."
            )
    context, question = context or _first(names, CONTEXTS), question or _first(names, QUESTIONS)
    if context is None and question is None:
        raise InputError(
            f"Task {task!r} has neither a context nor a question: its columns are {', '.join(names)}. Name one with "
            f"--context_column_name or --question_column_name."
        )
    found = [(name,) for name in CHOICES if name in names] + _numbered(names)
    if not choices and len(found) != 1:
        kinds = [" ".join(columns) for columns in found]
        which = f"it may be {' or '.join(kinds)}" if kinds else f"there are {', '.join(names)}"
        raise InputError(
            f"Task {task!r}: which columns hold the choices cannot be told; {which}. Name the column of lists, or "
            f"those of one choice each, with --choices_column_names."
        )
    label = label or _first(names, LABELS) or LABELS[0]
    return ChoiceColumns(context, question, tuple(choices or found[0]), label)


def choice_columns_that_may_be_read(
    context: str | None, question: str | None, choices: Sequence[str] | None, label: str | None
) -> frozenset[str]:
    """All columns that [`find_choice_columns`] may find, given the same."""
    numbered = [f"{kind}{sign}{digit}" for kind in _NUMBERED_KINDS for sign in ("", "_") for digit in range(10)]
    return frozenset({
        *([context] if context else CONTEXTS), *([question] if question else QUESTIONS),
        *(choices or (*CHOICES, *numbered)), *([label] if label else LABELS),
    })  # fmt: skip


def read_row(row: Mapping[str, Any], columns: ChoiceColumns, place: str) -> ChoiceRow:
    """What a row says.

    Args:
        row: its values by column.
        columns: where what is.
        place: task, split and row, for messages.

    Raises:
        InputError: no list of at least two choices, an empty text, or a label that names none of them or several.
    """
    texts = [row[column] for column in (columns.context, columns.question) if column is not None]
    for text in texts:
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"{place}: the context or the question is empty (`{shown(text)}`). Fill it in.")
    choices, keys = _choices(row, columns, place)
    # With a context, the question goes to the choices, which end or answer it.
    first, *question = (WRITTEN_OUT.get(text, text) for text in texts)
    place = f"{place} ({shown(first)})"
    seconds = [" ".join([*question, choice]) for choice in choices]
    return ChoiceRow(first, seconds, _label(row.get(columns.label), choices, keys, place))


def is_unlabelled(value: Any) -> bool:
    """Whether a row has no label: null, empty, `-` or -1."""
    return is_missing(value) or value in (-1, "-1")


def _first(names: Sequence[str], usual: Sequence[str]) -> str | None:
    return next((name for name in usual if name in names), None)


def _numbered(names: Sequence[str]) -> list[tuple[str, ...]]:
    by_kind: dict[str, dict[int, str]] = {}
    for name in names:
        if match := _NUMBERED.fullmatch(name):
            by_kind.setdefault(match[1], {})[int(match[2])] = name
    return [tuple(of[number] for number in sorted(of)) for of in by_kind.values() if len(of) > 1]


def _choices(row: Mapping[str, Any], columns: ChoiceColumns, place: str) -> tuple[list[str], list[str]]:
    """The choices of a row, and what they are called, if anything."""
    keys: Any = []
    if len(columns.choices) > 1:
        values: Any = [row[column] for column in columns.choices]
        # A row may have fewer than others.
        while values and is_missing(values[-1]):
            values.pop()
    else:
        values = row[columns.choices[0]]
        if isinstance(values, str):
            values = _from_json(values)
        if isinstance(values, Mapping):
            values, keys = values.get("text"), values.get("label")
    if not isinstance(values, list) or not isinstance(keys, list):
        raise InputError(f'{place}: `{shown(values)}` is not a list of choices. Write ["one", "another"].')
    if len(values) < 2:
        raise InputError(f"{place}: {len(values)} choice{'s' * (not values)}; there must be two at least.")
    for value in values:
        if not isinstance(value, str) or not value.strip():
            raise InputError(f"{place}: a choice is no text (`{shown(value)}`). Fill it in, or leave it out.")
    if keys and len(keys) != len(values):
        raise InputError(f"{place}: {len(values)} choices with {len(keys)} names. Give each its own.")
    return values, [str(key) for key in keys]


def _from_json(text: str) -> Any:
    try:
        return parse_json(text)
    except ValueError:
        return text


def _label(value: Any, choices: Sequence[str], keys: Sequence[str], place: str) -> int | None:
    if is_unlabelled(value):
        return None
    text = str(value)
    found = {i for i, name in enumerate(choices) if isinstance(value, str) and name == value}
    found |= {i for i, key in enumerate(keys) if key == text}
    if not keys and _NUMBER.fullmatch(text) and float(text) < len(choices):
        found.add(int(float(text)))
    if len(found) == 1:
        return found.pop()
    what = "means none of them" if not found else f"may mean those of numbers {', '.join(map(str, sorted(found)))}"
    raise InputError(
        f"{place}: the label `{shown(text)}` {what}. There are {len(choices)} choices"
        f"{' (' + ', '.join(keys) + ')' if keys else ', counted from 0'}; give the number of one, or its text."
    )
