"""CoNLL files: one token a line with its tag, a blank line between sentences."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from .conll_columns import CONLL_U, TAGS, TagColumn, described_columns, find_tag_column
from .tags import OUTSIDE, is_tag, odd_tags
from .text import read_lines, shown

_INDEX = re.compile(r"\d+(?:[-.]\d+)?")
# In CoNLL-U, of several words and of an empty node.
_NO_WORD = re.compile(r"\d+[-.]\d+")
_REMEMBERED = 1 << 16
"""Distinct beginnings of lines in memory at most."""
_LANGUAGE_PREFIX = re.compile(r"[a-z]{2,}(?:-[a-z]+)*:")


def read_conll(
    path: Path, tag_scheme: str | None = None, tag_column: str | None = None
) -> Iterator[dict[str, list[str]]]:
    """Yield each sentence as `{"tokens": [...], "ner_tags": [...]}`, tags as written, without holding the file.

    Columns are separated by one tab or by spaces, in any of these orders, which is found out from the whole file:
    `token tag`, `token … tag` (CoNLL-2003), `index token tag`, `language:token tag` (the prefix, when every token
    has the same, is dropped) and `tag token`; with the scheme `none` also the ten columns of CoNLL-U, whose fourth is
    the part of speech. Where the user names the column of tags, there may be any others. Comments (`# …`),
    `-DOCSTART-` lines and, behind an index, the ranges (`1-2`) and empty nodes (`2.1`) of CoNLL-U are skipped.

    Args:
        path: of the file.
        tag_scheme: of the tags, one of `TAG_SCHEMES`. Default: the one that is recognised.
        tag_column: the column of tags, as [`find_tag_column`] takes it, and what it is called instead of `ner_tags`.

    Raises:
        InputError: a line with another number of columns, without a token or with an odd tag, or one that may be a
            comment as well; no column of that name, or columns of which the tag's is unclear; bytes that are not UTF-8
            text.
    """
    layout = _find_layout(path, tag_scheme, tag_column)
    name = tag_column or TAGS
    sure_tags, read_tag = {*layout.known}.difference(layout.odd), layout.tag.reader
    columns, place, prefix = layout.columns, layout.token, layout.prefix
    tokens: list[str] = []
    tags: list[str] = []
    for number, line, row in _rows(path):
        if not row:
            if tokens:
                yield {"tokens": tokens, name: tags}
                tokens, tags = [], []
        elif (
            len(row) == columns
            and (tag := read_tag(row)) in sure_tags
            and line[0] != "#"
            and (place == 0 or row[0].isalnum())
            and (token := row[place].removeprefix(prefix))
        ):
            # Most lines need no closer look.
            tokens.append(token)
            tags.append(tag)
        elif not layout.skips(line, row, bool(tokens)):
            token, tag = layout.parse(line, row, f"{path}, line {number}")
            tokens.append(token)
            tags.append(tag)
    if tokens:
        yield {"tokens": tokens, name: tags}


def holds_tokens_alone(path: Path) -> bool:
    """Whether the first line of a file that is no comment has one column, which is then a token without a tag."""
    return next((len(row) == 1 for _, line, row in _rows(path) if row and not line.startswith("# ")), False)


def read_tokens(path: Path) -> Iterator[dict[str, list[str]]]:
    """Yield each sentence of a file without tags, one token a line, as `{"tokens": [...]}`.

    Raises:
        InputError: a line with several columns, or bytes that are not UTF-8 text.
    """
    tokens: list[str] = []
    for number, line, row in _rows(path):
        if not row:
            if tokens:
                yield {"tokens": tokens}
                tokens = []
        elif len(row) > 1 and (tokens or not line.startswith("# ")):
            raise InputError(
                f"{path}, line {number}: {_count(len(row))} ({_quoted(line)}), but the first line has one, a token "
                f"without a tag. Give one token a line, with an empty line between sentences."
            )
        elif len(row) == 1:
            tokens.append(row[0])
    if tokens:
        yield {"tokens": tokens}


@dataclass(frozen=True)
class _Layout:
    """Which column holds what.

    Args:
        columns: how many there are.
        line: the one that set their number.
        token: the place of the token's.
        tag: the place of the tag's.
        prefix: what every token begins with.
        has_index: whether the first column counts the words.
        known: the tags of the lines that are certainly no comments.
        odd: those of them that cannot be meant, with the reasons.
    """

    columns: int
    line: int
    token: int
    tag: TagColumn
    prefix: str
    has_index: bool
    known: Collection[str]
    odd: Mapping[str, str]

    def skips(self, line: str, row: list[str], inside: bool) -> bool:
        """Whether a line within a sentence (`inside`), or before one, holds none of its words."""
        if self.token == 0:
            return _is_comment(line, row, self.columns, inside, self.tag, self.known)
        return line.startswith("#") or (self.has_index and _NO_WORD.fullmatch(row[0]) is not None)

    def parse(self, line: str, row: list[str], place: str) -> tuple[str, str]:
        if len(row) != self.columns:
            if len(row) == self.columns - 1 and line[0] in " \t":
                raise _empty_token(place, line)
            raise InputError(
                f"{place}: {_count(len(row))} ({_quoted(line)}), but line {self.line} has {_count(self.columns)}. "
                "Give every line the same columns, and leave an empty line between sentences."
            )
        token, tag = row[self.token].removeprefix(self.prefix), self.tag.read(row)
        if not token:
            raise _empty_token(place, line)
        if reason := self.odd.get(tag):
            raise InputError(f"{place}: `{shown(tag)}` is not a tag ({_quoted(line)}). {reason}")
        if tag not in self.known:
            raise InputError(
                f"{place}: {_quoted(line)} is a comment, or a token with the tag `{shown(tag)}`, which no other line "
                "has. Write a space behind the # of comments, or mend the tag."
            )
        return token, tag


def _quoted(line: str) -> str:
    return f"`{shown(' '.join(line.split()))}`"


def _empty_token(place: str, line: str) -> InputError:
    return InputError(
        f"{place}: an empty token ({_quoted(line)}). Write a token in front of the tag, or delete the line."
    )


def _count(columns: int) -> str:
    return "1 column" if columns == 1 else f"{columns} columns"


def _rows(path: Path) -> Iterator[tuple[int, str, list[str]]]:
    """Yield (line number, line, columns) of each line; where a sentence ends, the columns are empty."""
    for number, line in read_lines(path):
        # Not str.strip: it would also take the no-break spaces that belong to a token.
        line = line.rstrip(" \t\r\n")
        if "\t" in line:
            row = line.split("\t")
            if " " in line:
                row = [column.strip(" ") for column in row]
        else:
            row = [column for column in line.split(" ") if column] if line else []
        if "-DOCSTART-" in line and any(column.startswith("-DOCSTART-") for column in row):
            row = []
        yield number, line, row


def _is_comment(line: str, row: list[str], columns: int, inside: bool, tag: TagColumn, known: Collection[str]) -> bool:
    """Whether a line that begins with # is no token, where the token's is the first column.

    Args:
        line: the line.
        row: its columns.
        columns: how many a token's line has.
        inside: whether it stands within a sentence, where comments have no place.
        tag: the column of tags.
        known: the tags of other lines.
    """
    if not line.startswith("#"):
        return False
    has_space = line.startswith("# ")
    if len(row) != columns:
        return has_space or not inside
    return has_space and not inside and tag.read(row) not in known


def _find_layout(path: Path, tag_scheme: str | None, tag_column: str | None) -> _Layout:
    line, columns = _first_line(path)
    named = _named_column(path, columns, tag_scheme, tag_column) if tag_column else None
    tag = named or TagColumn(columns - 1)
    read_tag = tag.reader
    tags_first = indexed = prefixed = True
    prefix: str | None = None
    inside = False
    first: set[str] = set()
    found: dict[str, set[str]] = {"words": set(), "ranges": set(), "signs": set()}
    fourth: set[str] = set()
    seen: set[tuple[str, ...]] = set()
    for _, text, row in _rows(path):
        if not row:
            inside = False
        # What has another number of columns is a comment, or a mistake that reading will name.
        if len(row) != columns:
            continue
        own = read_tag(row)
        if text[0] == "#":
            if inside or "\t" in text or is_tag(own):
                found["signs"].add(own)
                inside = True
            continue
        inside = True
        # What the first column and the tag tell, they tell once.
        told = (row[0], own) if columns != CONLL_U else (row[0], own, row[3])
        if told in seen:
            continue
        if len(seen) == _REMEMBERED:
            seen.clear()
        seen.add(told)
        if tags_first := tags_first and is_tag(row[0]):
            first.add(row[0])
        indexed = indexed and (row[0].isdecimal() or _INDEX.fullmatch(row[0]) is not None)
        if prefix is None:
            match = _LANGUAGE_PREFIX.match(row[0])
            prefix = match[0] if match else ""
        prefixed = prefixed and row[0].startswith(prefix)
        is_word = row[0].isalnum() or not _NO_WORD.fullmatch(row[0])
        found["words" if is_word else "ranges"].add(own)
        if is_word and columns == CONLL_U:
            fourth.add(row[3])
    has_index = indexed and columns > 2
    prefix = prefix or "" if columns == 2 and prefixed else ""
    if named:
        token = next(place for place in range(columns) if place not in (0 if has_index else -1, named.place))
        known = found["words"] if has_index else set().union(*found.values())
        return _Layout(columns, line, token, named, prefix, has_index, known, odd_tags(known, tag_scheme))
    if columns == 2 and tags_first and first and not all(map(is_tag, found["words"] | found["ranges"])):
        return _Layout(columns, line, 1, TagColumn(0), "", False, first, odd_tags(first, tag_scheme))
    if has_index:
        if columns == CONLL_U and tag_scheme == "none":
            return _Layout(columns, line, 1, TagColumn(3), "", True, fourth, odd_tags(fourth, tag_scheme))
        if columns > 3:
            raise InputError(
                f"{path}, line {line}: an index and {columns - 1} more columns. Which of them is the tag is unclear: "
                f"name it with --label_column_name {described_columns(columns, has_index)}."
            )
        return _Layout(columns, line, 1, tag, "", True, found["words"], odd_tags(found["words"], tag_scheme))
    known = set().union(*found.values())
    if tag_scheme is None and not any(is_tag(one) for one in known - {OUTSIDE}):
        _refuse_words_for_tags(path, line, columns, known)
    return _Layout(columns, line, 0, tag, prefix, False, known, odd_tags(known, tag_scheme))


def _refuse_words_for_tags(path: Path, line: int, columns: int, last: Collection[str]) -> None:
    """Refuse a file whose last column, without prefixes, may be none of tags."""
    if columns > 2:
        if OUTSIDE in last:
            return
        what = f"{columns} columns, the last without a tag such as `O` or `B-PER`"
    else:
        tokens = {row[0] for _, _, row in _rows(path) if len(row) == columns}
        if len(tokens) >= len(last):
            return
        what = f"{len(last)} different tags of {len(tokens)} different tokens"
    raise InputError(
        f"{path}, line {line}: {what}. Which column is the tag's is unclear: keep the columns token and tag, in this "
        f"order; if they are so, name the tags' scheme with --tag_scheme."
    )


def _named_column(path: Path, columns: int, tag_scheme: str | None, tag_column: str) -> TagColumn | None:
    def rows() -> Iterator[list[str]]:
        return (row for _, _, row in _rows(path))

    words = (row[0] for row in rows() if len(row) == columns and not row[0].startswith("#"))
    has_index = columns > 2 and all(map(_INDEX.fullmatch, words))
    return find_tag_column(path, tag_column, columns, has_index, rows, tag_scheme)


def _first_line(path: Path) -> tuple[int, int]:
    """The number of the first line that holds a token, and how many columns it has."""
    rows = ((number, row) for number, _, row in _rows(path) if row)
    found = next(((number, row) for number, row in rows if not row[0].startswith("#")), None)
    if found is None:
        rows = ((number, row) for number, _, row in _rows(path) if row)
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
