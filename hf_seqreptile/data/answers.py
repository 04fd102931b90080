"""The answers to a question, `{"text": [...], "answer_start": [...]}`, from the ways in which files write them."""

import re
from typing import Any

from ..errors import InputError
from ..json_text import parse_json, reason
from .text import shown

Answers = dict[str, list[Any]]

# pandas writes the integers of a column with empty cells as `12.0`.
_START = re.compile(r"(-?\d{1,18})(?:\.0)?")
OBJECT = '{"text": ["Rome"], "answer_start": [17]}'


def answers_from_list(items: object, place: str) -> Answers:
    """From a list of `{"text", "answer_start"}`, as nested SQuAD files have it; a missing start is `None`."""
    mend = 'Write "answers" as a list of {"text": "Rome", "answer_start": 17}, empty where there is none.'
    if not isinstance(items, list):
        raise InputError(f"{place}: no list of answers. {mend}")
    for item in items:
        if not (isinstance(item, dict) and _are_answers([item.get("text")], [item.get("answer_start")])):
            raise InputError(f"{place}: `{shown(item)}` is not an answer. {mend}")
    return {name: [item.get(name) for item in items] for name in ("text", "answer_start")}


def answers_from_row(value: object, need_starts: bool = True) -> Answers | None:
    """From what a row holds: lists of texts and starts, one of each, or a list of such; `None` if it is none of these.

    Starts may be numbers or text (`17`, `17.0`, `"17"`). One text that is empty or null, with a start that is null or
    below 0, is no answer. Texts without starts have `None` as theirs.

    Args:
        value: of the row.
        need_starts: whether a start may be nothing else. Default: it may not; otherwise such a start is `None`.
    """
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        texts: Any = [item.get("text") for item in value]
        starts: Any = [item.get("answer_start") for item in value]
    elif isinstance(value, dict):
        texts, starts = value.get("text"), value.get("answer_start")
        if not isinstance(texts, list) and not isinstance(starts, list):
            start = _start(starts)
            is_none = not texts and (start is None or (type(start) is int and start < 0))
            texts, starts = ([], []) if is_none else ([texts], [start])
    else:
        return None
    if isinstance(texts, list) and (starts is None or not (need_starts or isinstance(starts, list))):
        starts = [None] * len(texts)
    if not (isinstance(texts, list) and isinstance(starts, list)):
        return None
    starts = [_start(start) for start in starts]
    if not need_starts:
        starts = [start if type(start) is int else None for start in starts]
    are_texts = all(text is None or isinstance(text, str) for text in texts)
    are_starts = all(start is None or type(start) is int for start in starts)
    return {"text": texts, "answer_start": starts} if are_texts and are_starts else None


def _start(value: object) -> object:
    """The integer that a start is written for; anything else stays."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and (number := _START.fullmatch(value)):
        return int(number[1])
    return value


def answers_from_json(value: str, place: str) -> Answers:
    """From the JSON text of what a row may hold, as a cell of a CSV file has it; an empty cell is no answer."""
    if not value.strip():
        return {"text": [], "answer_start": []}
    try:
        content = parse_json(value)
    except ValueError as error:
        raise InputError(f"{place}: not JSON ({reason(error)}): `{shown(value)}`. Write {OBJECT}.") from None
    answers = answers_from_row(content)
    if answers is None or not _are_answers(answers["text"], answers["answer_start"]):
        raise InputError(f"{place}: `{shown(value)}` has no list of texts with as many starts. Write {OBJECT}.")
    return answers


def answers_from_cells(text: str, start: str, place: str) -> Answers:
    """From one answer's text and start in two cells; both are empty where there is no answer.

    An empty start beside a text is `None`.
    """
    if not text and not start:
        return {"text": [], "answer_start": []}
    if text and not start:
        return {"text": [text], "answer_start": [None]}
    number = _START.fullmatch(start)
    if not text or not number:
        raise InputError(
            f"{place}: `answer_text` is `{shown(text)}` and `answer_start` is `{shown(start)}`. Give a text and the "
            "number of characters before it in the context, or leave both empty."
        )
    return {"text": [text], "answer_start": [int(number[1])]}


def _are_answers(texts: object, starts: object) -> bool:
    return (
        isinstance(texts, list)
        and isinstance(starts, list)
        and len(texts) == len(starts)
        and all(isinstance(text, str) for text in texts)
        and all(start is None or (isinstance(start, int) and not isinstance(start, bool)) for start in starts)
    )
