"""CoNLL files: one token a line with its tag, a blank line between sentences."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datasets import Features, List, Value

from ..errors import InputError
from .tags import is_tag, to_iob2
from .text import read_lines, shown

CONLL_FEATURES = Features({"tokens": List(Value("string")), "ner_tags": List(Value("string"))})

_INDEX = re.compile(r"\d+(?:[-.]\d+)?")
_LANGUAGE_PREFIX = re.compile(r"[a-z]{2,}(?:-[a-z]+)*:")


def read_conll(path: Path) -> Iterator[dict[str, list[str]]]:
    """Yield each sentence as `{"tokens": [...], "ner_tags": [...]}`, tags in IOB2; the file is never held in memory.

    Columns are separated by one tab or by spaces, in any of these orders, which is found out from the whole file:
    `token tag`, `token … tag` (CoNLL-2003), `index token tag`, `language:token tag` (the prefix, when every token
    has the same, is dropped) and `tag token`. Comments (`# …`) and `-DOCSTART-` lines are skipped.

    Raises:
        InputError: a line with another number of columns, without a token or with an unreadable tag; bytes that are
            not UTF-8 text.
    """
    layout = _find_layout(path)
    tokens: list[str] = []
    tags: list[str] = []
    for number, row in _rows(path):
        if not row:
            if tokens:
                yield {"tokens": tokens, "ner_tags": to_iob2(tags)}
                tokens, tags = [], []
        elif not _is_comment(row, layout.columns):
            token, tag = layout.parse(row, f"{path}, line {number}")
            tokens.append(token)
            tags.append(tag)
    if tokens:
        yield {"tokens": tokens, "ner_tags": to_iob2(tags)}


@dataclass(frozen=True)
class _Layout:
    """Which column holds what, and the line that set the number of columns."""

    columns: int
    line: int
    token: int
    tag: int
    prefix: str

    def parse(self, row: list[str], place: str) -> tuple[str, str]:
        line = shown(" ".join(row))
        if len(row) != self.columns:
            raise InputError(
                f"{place}: {_count(len(row))} (`{line}`), but line {self.line} has {_count(self.columns)}. "
                "Give every line the same columns, and leave an empty line between sentences."
            )
        token, tag = row[self.token].removeprefix(self.prefix), row[self.tag]
        if not is_tag(tag):
            raise InputError(
                f"{place}: `{shown(tag)}` is not a tag (`{line}`). "
                "A tag is `O`, or one of B- I- E- S- L- U- and a type, such as `B-PER`."
            )
        if not token:
            raise InputError(
                f"{place}: an empty token (`{line}`). Write a token in front of the tag, or delete the line."
            )
        return token, tag


def _count(columns: int) -> str:
    return "1 column" if columns == 1 else f"{columns} columns"


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, columns) of each line; where a sentence ends, the columns are empty."""
    for number, line in read_lines(path):
        # Not str.strip: it would also take the no-break spaces that belong to a token.
        line = line.rstrip(" \t\r\n")
        if "\t" in line:
            row = [column.strip(" ") for column in line.split("\t")]
        else:
            row = [column for column in line.split(" ") if column]
        yield number, [] if any(column.startswith("-DOCSTART-") for column in row) else row


def _is_comment(row: list[str], columns: int) -> bool:
    return row[0].startswith("#") and not (len(row) == columns and is_tag(row[-1]))


def _find_layout(path: Path) -> _Layout:
    line, columns = _first_line(path)
    tags_first = tags_last = indexed = prefixed = True
    prefix: str | None = None
    for _, row in _rows(path):
        # What has another number of columns is a comment, or a mistake that reading will name.
        if len(row) != columns or _is_comment(row, columns):
            continue
        tags_first &= is_tag(row[0])
        tags_last &= is_tag(row[-1])
        indexed &= _INDEX.fullmatch(row[0]) is not None
        if prefix is None:
            match = _LANGUAGE_PREFIX.match(row[0])
            prefix = match[0] if match else ""
        prefixed &= row[0].startswith(prefix)
    if columns == 2 and tags_first and not tags_last:
        return _Layout(columns, line, token=1, tag=0, prefix="")
    if columns >= 3 and indexed:
        if columns > 3:
            raise InputError(
                f"{path}, line {line}: an index and {columns - 1} more columns. Which of them is the tag is unclear: "
                "keep the columns index, token and tag."
            )
        return _Layout(columns, line, token=1, tag=2, prefix="")
    return _Layout(columns, line, token=0, tag=columns - 1, prefix=prefix or "" if columns == 2 and prefixed else "")


def _first_line(path: Path) -> tuple[int, int]:
    """The number of the first line that holds a token, and how many columns it has."""
    rows = ((number, row) for number, row in _rows(path) if row)
    found = next(((number, row) for number, row in rows if not row[0].startswith("#")), None)
    if found is None:
        rows = ((number, row) for number, row in _rows(path) if row)
        found = next(((number, row) for number, row in rows if is_tag(row[-1])), None)
    if found is None:
        raise InputError(f"{path} holds no sentences. Give one token and its tag on each line.")
    number, row = found
    if len(row) < 2:
        raise InputError(
            f"{path}, line {number}: one column only (`{shown(row[0])}`). Give a token and its tag on each line, "
            "separated by a tab or by spaces."
        )
    return number, len(row)
