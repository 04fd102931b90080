"""CoNLL files: one token a line with its tag, a blank line between sentences."""

from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError
from .conll_columns import TAGS
from .conll_layout import find_layout
from .conll_rows import counted, numbered_rows, quoted, row_blocks


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
    layout = find_layout(path, tag_scheme, tag_column)
    name = tag_column or TAGS
    sure_tags, read_tag = {*layout.known}.difference(layout.odd), layout.tag.reader
    columns, place, prefix = layout.columns, layout.token, layout.prefix
    tokens: list[str] = []
    tags: list[str] = []
    for first, lines, rows in row_blocks(path):
        for number, (line, row) in enumerate(zip(lines, rows, strict=True), first):
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
    return next((len(row) == 1 for _, line, row in numbered_rows(path) if row and not line.startswith("# ")), False)


def read_tokens(path: Path) -> Iterator[dict[str, list[str]]]:
    """Yield each sentence of a file without tags, one token a line, as `{"tokens": [...]}`.

    Raises:
        InputError: a line with several columns, or bytes that are not UTF-8 text.
    """
    tokens: list[str] = []
    for number, line, row in numbered_rows(path):
        if not row:
            if tokens:
                yield {"tokens": tokens}
                tokens = []
        elif len(row) > 1 and (tokens or not line.startswith("# ")):
            raise InputError(
                f"{path}, line {number}: {counted(len(row))} ({quoted(line)}), but the first line has one, a token "
                f"without a tag. Give one token a line, with an empty line between sentences."
            )
        elif len(row) == 1:
            tokens.append(row[0])
    if tokens:
        yield {"tokens": tokens}
