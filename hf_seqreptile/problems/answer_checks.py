"""What must hold for the data of question answering, and how to mend it where it does not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from datasets import Dataset, LargeList, List

from ..data.answers import OBJECT, Answers, answers_from_row
from ..data.text import shown
from ..errors import InputError
from .context_windows import Windows


@dataclass(frozen=True)
class QuestionRows:
    """The rows of one task and split.

    Args:
        task: its name.
        split: `train`, `validation` or `test`.
        may_be_impossible: whether a question may have no answer.
        have_answers: whether the answers are known.
        numbers: of the rows in the data, from 0, where some were left out.
    """

    task: str
    split: str
    may_be_impossible: bool
    have_answers: bool
    numbers: Sequence[int] | None = None

    @property
    def need_starts(self) -> bool:
        """Whether answers must be where they are said to be: scores need their texts alone."""
        return self.split == "train"

    @property
    def may_be_unanswered(self) -> bool:
        """Whether the answers to some questions may be unknown, which are then predicted, and not scored."""
        return self.split == "test" and not self.may_be_impossible

    @classmethod
    def of(cls, dataset: Dataset, task: str, split: str, may_be_impossible: bool) -> "QuestionRows":
        """The rows of a dataset, after checking its columns and, unless it is for training, that ids are distinct.

        Raises:
            InputError: a column is missing or holds something else, ids occur twice, or no answers are there in a
                split other than `test`.
        """
        where = f"Task {task!r}, {split} split"
        check_columns(dataset, task, split)
        has_column = "answers" in dataset.column_names
        known = has_column and (may_be_impossible or any(map(_names_one, dataset["answers"])))
        if not known and split != "test":
            mend = "" if may_be_impossible else " or, where questions may have none, add --version_2_with_negative"
            raise InputError(f"{where}: no question has an answer. Fill in the column `answers`{mend}.")
        if split != "train" and "id" in dataset.column_names:
            _check_distinct(dataset["id"][:], where)
        return cls(task, split, may_be_impossible, known)

    def unanswered(self, dataset: Dataset) -> int:
        """How many questions have no answer, where those of others are known."""
        if not (self.have_answers and self.may_be_unanswered):
            return 0
        return sum(not _names_one(value) for value in dataset["answers"])

    def misplaced(self, dataset: Dataset) -> list[int]:
        """The rows, from 0, of which an answer is not where its start says, whatever else is wrong."""
        if not self.have_answers:
            return []
        found = []
        # In blocks, since a row by itself takes ten times as long to read.
        blocks = dataset.select_columns(["answers", "context"]).iter(1000)
        rows = chain.from_iterable(zip(block["answers"], block["context"], strict=True) for block in blocks)
        for row, (value, context) in enumerate(rows):
            answers = answers_from_row(value, need_starts=False)
            if answers and context is not None and not _are_placed(answers, context):
                found.append(row)
        return found

    def prepare(self, rows: Mapping[str, list], indices: list[int], windows: Windows) -> dict[str, list]:
        """The columns `task`, `id`, `question`, `context` and, where they are known, `answers`, ready to be encoded.

        Raises:
            InputError: an empty value, an answer that is not in its place, or a question that is too long; names task,
                split, row and id.
        """
        numbers = [index + 1 if self.numbers is None else self.numbers[index] + 1 for index in indices]
        ids = list(map(str, numbers))
        if "id" in rows:
            ids = [str(value) if value is not None else number for value, number in zip(rows["id"], ids, strict=True)]
        questions: list[Any] = [None if question is None else question.lstrip() for question in rows["question"]]
        columns: dict[str, list] = {"question": questions, "context": rows["context"]}
        places = [
            f"Task {self.task!r}, {self.split} split, row {number} (id {name})"
            for number, name in zip(numbers, ids, strict=True)
        ]
        if self.have_answers:
            columns["answers"] = [
                _answers(value, place, self.need_starts) for value, place in zip(rows["answers"], places, strict=True)
            ]
            if self.may_be_unanswered:
                columns["answers"] = [value or {"text": [], "answer_start": []} for value in columns["answers"]]
        for i, place in enumerate(places):
            self._check({name: values[i] for name, values in columns.items()}, place)
        for i in windows.long_questions(questions):
            (room,) = windows.rooms([questions[i]])
            if room <= windows.stride and room < windows.lengths([rows["context"][i]])[0]:
                raise InputError(f"{places[i]}: {_too_long(columns['question'][i], room, windows)}")
        return {"task": [self.task] * len(ids), "id": ids} | columns

    def _check(self, row: Mapping[str, Any], place: str) -> None:
        for name, value in row.items():
            if value is None:
                raise InputError(
                    f"{place}: an empty value (null) in the column `{name}`; fill it in or delete the row."
                )
        if not row["context"].strip():
            raise InputError(f"{place}: the context is empty; fill it in or delete the row.")
        if self.have_answers:
            self._check_answers(row["answers"], row["context"], place)

    def _check_answers(self, answers: Mapping[str, list], context: str, place: str) -> None:
        texts, starts = answers["text"], answers["answer_start"]
        if None in texts or (None in starts and self.need_starts):
            raise InputError(f"{place}: an empty value (null) in the column `answers`; fill it in or delete the row.")
        if len(texts) != len(starts) and self.need_starts:
            raise InputError(f"{place}: {len(texts)} answers, but {len(starts)} values of answer_start.")
        if not texts and not (self.may_be_impossible or self.may_be_unanswered):
            raise InputError(
                f"{place}: no answer. Where questions may have none, add --version_2_with_negative; else give one or "
                f"delete the row."
            )
        for text in texts:
            if not text.strip():
                raise InputError(f"{place}: an answer without text. Delete the answer, or the row.")
        for text, start in zip(texts, starts, strict=True) if self.need_starts else ():
            if not _is_placed(text, start, context):
                raise InputError(f"{place}: {_misplaced(text, start, context)}")


def _is_placed(text: str, start: int | None, context: str) -> bool:
    return start is not None and start >= 0 and context[start : start + len(text)] == text


def _are_placed(answers: Answers, context: str) -> bool:
    texts, starts = answers["text"], answers["answer_start"]
    if len(texts) != len(starts):
        return False
    return all(text is None or _is_placed(text, start, context) for text, start in zip(texts, starts, strict=True))


def _names_one(value: object) -> bool:
    answers = answers_from_row(value, need_starts=False)
    # What cannot be read is not nothing: its row will be named.
    return answers["text"] != [] if answers else value is not None


def _answers(value: object, place: str, need_starts: bool) -> Answers | None:
    answers = answers_from_row(value, need_starts)
    # A null is for the check of all columns.
    if answers is None and value is not None:
        raise InputError(f"{place}: `{shown(value)}` is no answer. Write {OBJECT}.")
    return answers


def _too_long(question: str, room: int, windows: Windows) -> str:
    """What is wrong with a question that leaves too few tokens to a context that is longer, and what helps."""
    spare = windows.tokenizer.model_max_length - windows.max_length
    ways = ["lower --doc_stride"] if room > 0 else []
    ways += ["raise --max_seq_length"] if room + spare > 0 and spare > 0 else []
    told = f"the question leaves {max(room, 0)} of --max_seq_length {windows.max_length} to the context"
    if room > 0:
        told += f", and --doc_stride {windows.stride} must be smaller"
    elif not ways:
        told += ", and the model takes no longer ones"
    mend = " or ".join(filter(None, [", ".join(ways), f"shorten the question ({shown(question)!r})"]))
    return f"{told}. {mend[0].upper()}{mend[1:]}."


def _misplaced(text: str, start: int, context: str) -> str:
    there = context[max(start, 0) : max(start, 0) + len(text)]
    message = (
        f"the answer {text[:80]!r} does not start at character {start} of the context, where {there[:80]!r} stands"
    )
    places = [i for i in range(len(context)) if context.startswith(text, i)]
    leave_out = "or leave such rows out with --misplaced_answers drop"
    if not places:
        return f"{message}, nor is it anywhere else there. Mend the answer, {leave_out}."
    nearest = min(places, key=lambda place: abs(place - start))
    return (
        f"{message}. It starts at character {nearest}: mend answer_start, which counts characters from 0, {leave_out}."
    )


def check_columns(dataset: Dataset, task: str, split: str) -> None:
    """Refuse a dataset without questions and contexts as text, or with answers of another form."""
    where = f"Task {task!r}, {split} split"
    for name in ("question", "context"):
        if name not in dataset.column_names:
            raise InputError(
                f"{where}: no column {name!r}; it has {', '.join(dataset.column_names)}. Rename the column."
            )
        if getattr(dataset.features[name], "dtype", None) not in ("string", "large_string"):
            raise InputError(f"{where}: the column {name!r} holds {dataset.features[name]}; it must hold texts.")
    answers = dataset.features.get("answers", {"text": None, "answer_start": None})
    of_one = answers.feature if isinstance(answers, List | LargeList) else answers
    needed = {"text", "answer_start"} if split == "train" else {"text"}
    if not isinstance(of_one, dict) or not of_one.keys() >= needed:
        raise InputError(
            f'{where}: the column `answers` holds {answers}; it must hold {{"text": [...], "answer_start": [...]}}.'
        )


def _check_distinct(ids: Any, where: str) -> None:
    rows: dict[Any, int] = {}
    for row, value in enumerate(ids, 1):
        if rows.setdefault(value, row) != row and value is not None:
            raise InputError(
                f"{where}: rows {rows[value]} and {row} have the same id, {value}. Predictions are named by id: give "
                f"each question its own."
            )
