"""Which column of a CoNLL file holds what, as the whole file tells."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError
from .conll_columns import CONLL_U, TagColumn, described_columns, find_tag_column
from .conll_rows import counted, numbered_rows, quoted, row_blocks
from .tags import OUTSIDE, is_tag, odd_tags
from .text import shown

_INDEX = re.compile(r"\d+(?:[-.]\d+)?")
# In CoNLL-U, of several words and of an empty node.
_NO_WORD = re.compile(r"\d+[-.]\d+")
_LANGUAGE_PREFIX = re.compile(r"[a-z]{2,}(?:-[a-z]+)*:")


@dataclass(frozen=True)
class Layout:
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
        """The token and tag of a line that holds a word.

        Args:
            line: the line.
            row: its columns.
            place: file and line, for messages.

        Raises:
            InputError: another number of columns, no token, or a tag that is odd or may be a comment's.
        """
        if len(row) != self.columns:
            if len(row) == self.columns - 1 and line[0] in " \t":
                raise _empty_token(place, line)
            raise InputError(
                f"{place}: {counted(len(row))} ({quoted(line)}), but line {self.line} has {counted(self.columns)}. "
                "Give every line the same columns, and leave an empty line between sentences."
            )
        token, tag = row[self.token].removeprefix(self.prefix), self.tag.read(row)
        if not token:
            raise _empty_token(place, line)
        if reason := self.odd.get(tag):
            raise InputError(f"{place}: `{shown(tag)}` is not a tag ({quoted(line)}). {reason}")
        if tag not in self.known:
            raise InputError(
                f"{place}: {quoted(line)} is a comment, or a token with the tag `{shown(tag)}`, which no other line "
                "has. Write a space behind the # of comments, or mend the tag."
            )
        return token, tag


@dataclass
class _Facts:
    """What all lines of a file have in common, but for comments; `add` is told of them part by part.

    Args:
        columns: of a line that holds a word; what has others is a comment, or a mistake that reading will name.
        tag: the column that is taken for that of tags.
        tags_first: all of the first column are tags; they are in `first`.
        is_indexed: the first column counts the words.
        is_prefixed: all of the first column begin with `prefix`, a language's name.
        fourth: what is in CoNLL-U's fourth column.
        words: the tags of words.
        ranges: those of CoNLL-U's ranges and empty nodes.
        signs: those of lines that begin with # and may be words.
    """

    columns: int
    tag: TagColumn
    tags_first: bool = True
    is_indexed: bool = True
    is_prefixed: bool = True
    prefix: str | None = None
    first: set[str] = field(default_factory=set)
    fourth: set[str] = field(default_factory=set)
    words: set[str] = field(default_factory=set)
    ranges: set[str] = field(default_factory=set)
    signs: set[str] = field(default_factory=set)

    def add(self, lines: list[str], of_lines: list[list[str]]) -> None:
        rows = [row for row in of_lines if len(row) == self.columns]
        heads = {row[0] for row in rows}
        if any(head[:1] == "#" for head in heads):
            self.signs.update(_signs(lines, of_lines, self.columns, self.tag))
            pairs = zip(lines, of_lines, strict=True)
            rows = [row for line, row in pairs if len(row) == self.columns and line[0] != "#"]
            heads = {row[0] for row in rows}
        if self.tags_first and all(map(is_tag, heads)):
            self.first |= heads
        else:
            self.tags_first = False
        self.is_indexed = self.is_indexed and all(head.isdecimal() or _INDEX.fullmatch(head) for head in heads)
        if self.prefix is None and rows:
            match = _LANGUAGE_PREFIX.match(rows[0][0])
            self.prefix = match[0] if match else ""
        self.is_prefixed = self.is_prefixed and all(head.startswith(self.prefix or "") for head in heads)
        ranges = {head for head in heads if not head.isalnum() and _NO_WORD.fullmatch(head)}
        words = [row for row in rows if row[0] not in ranges]
        read_tag = self.tag.reader
        self.words.update(map(read_tag, words))
        self.ranges.update(read_tag(row) for row in rows if row[0] in ranges)
        if self.columns == CONLL_U:
            self.fourth.update(row[3] for row in words)


def find_layout(path: Path, tag_scheme: str | None, tag_column: str | None) -> Layout:
    """Which column holds what in a file, all of which is read.

    Args:
        path: of the file.
        tag_scheme: of the tags, where the user names it.
        tag_column: the column of tags, where the user names it.

    Raises:
        InputError: there are no words, or which column is the tag's is unclear.
    """
    line, columns = _first_line(path)
    named = _named_column(path, columns, tag_scheme, tag_column) if tag_column else None
    tag = named or TagColumn(columns - 1)
    facts = _Facts(columns, tag)
    for _, lines, rows in row_blocks(path):
        facts.add(lines, rows)

    def layout(
        token: int, tag: TagColumn, known: Collection[str], prefix: str = "", has_index: bool = False
    ) -> Layout:
        return Layout(columns, line, token, tag, prefix, has_index, known, odd_tags(known, tag_scheme))

    every = facts.words | facts.ranges | facts.signs
    has_index = facts.is_indexed and columns > 2
    prefix = facts.prefix or "" if columns == 2 and facts.is_prefixed else ""
    if named:
        token = next(place for place in range(columns) if place not in (0 if has_index else -1, named.place))
        return layout(token, named, facts.words if has_index else every, prefix, has_index)
    if columns == 2 and facts.tags_first and facts.first and not all(map(is_tag, facts.words | facts.ranges)):
        return layout(1, TagColumn(0), facts.first)
    if has_index:
        if columns == CONLL_U and tag_scheme == "none":
            return layout(1, TagColumn(3), facts.fourth, has_index=True)
        if columns > 3:
            raise InputError(
                f"{path}, line {line}: an index and {columns - 1} more columns. Which of them is the tag is unclear: "
                f"name it with --label_column_name {described_columns(columns, has_index)}."
            )
        return layout(1, tag, facts.words, has_index=True)
    if tag_scheme is None and not any(is_tag(one) for one in every - {OUTSIDE}):
        _refuse_words_for_tags(path, line, columns, every)
    return layout(0, tag, every, prefix)


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


def _empty_token(place: str, line: str) -> InputError:
    return InputError(
        f"{place}: an empty token ({quoted(line)}). Write a token in front of the tag, or delete the line."
    )


def _signs(lines: list[str], rows: list[list[str]], columns: int, tag: TagColumn) -> Iterator[str]:
    """Yield the tag of each line that begins with # and may yet be a word."""
    inside = False
    for line, row in zip(lines, rows, strict=True):
        if not row:
            inside = False
        elif len(row) == columns and (line[0] != "#" or inside or "\t" in line or is_tag(tag.read(row))):
            inside = True
            if line[0] == "#":
                yield tag.read(row)


def _refuse_words_for_tags(path: Path, line: int, columns: int, last: Collection[str]) -> None:
    """Refuse a file whose last column, without prefixes, may be none of tags."""
    if columns > 2:
        if OUTSIDE in last:
            return
        what = f"{columns} columns, the last without a tag such as `O` or `B-PER`"
    else:
        tokens = {row[0] for _, _, row in numbered_rows(path) if len(row) == columns}
        if len(tokens) >= len(last):
            return
        what = f"{len(last)} different tags of {len(tokens)} different tokens"
    raise InputError(
        f"{path}, line {line}: {what}. Which column is the tag's is unclear: keep the columns token and tag, in this "
        f"order; if they are so, name the tags' scheme with --tag_scheme."
    )


def _named_column(path: Path, columns: int, tag_scheme: str | None, tag_column: str) -> TagColumn | None:
    def rows() -> Iterator[list[str]]:
        return (row for _, _, row in numbered_rows(path))

    words = (row[0] for row in rows() if len(row) == columns and not row[0].startswith("#"))
    has_index = columns > 2 and all(map(_INDEX.fullmatch, words))
    return find_tag_column(path, tag_column, columns, has_index, rows, tag_scheme)


def _first_line(path: Path) -> tuple[int, int]:
    """The number of the first line that holds a token, and how many columns it has."""
    rows = ((number, row) for number, _, row in numbered_rows(path) if row)
    found = next(((number, row) for number, row in rows if not row[0].startswith("#")), None)
    if found is None:
        rows = ((number, row) for number, _, row in numbered_rows(path) if row)
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
