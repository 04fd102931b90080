"""Tables of text, separated by commas or by tabs: a header line, then one example a row."""

import csv
import re
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..json_text import parse_json, reason
from .answers import Answers, answers_from_cells, answers_from_json
from .text import read_lines, shown

_ANSWER = {"answer_text", "answer_start"}
_TEXT_ALONE = {"answer_text", "question", "context"}
_INTEGER = re.compile(r"-?(?:0|[1-9]\d{0,17})")


def read_csv(path: Path, list_columns: Collection[str], tabs: bool = False) -> Iterator[dict[str, Any]]:
    """Yield each row under the names of the header line.

    The values of `list_columns` become lists: a JSON list, or what white space separates (a sentence may begin with
    `[`). Another column whose values are all integers becomes one of integers (`007` is a string); everything else
    stays a string, the empty one and every `id` too. Answers to questions, as a JSON object in `answers` or one in
    `answer_text` and `answer_start`, become `answers`: `{"text": [...], "answer_start": [...]}`.

    Args:
        path: the file.
        list_columns: columns whose values are lists.
        tabs: whether tabs separate the values; quotation marks are then text, as in GLUE's and XNLI's files, unless
            every name in the header is in such marks.

    Raises:
        InputError: a name that the header lacks or repeats, a row with more or fewer values, a broken quotation or
            broken JSON, an answer without text or start.
    """
    integers: set[str] | None = None
    for _, row in _rows(path, tabs):
        candidates = row.keys() - {*list_columns, *_ANSWER, "answers", "id"} if integers is None else integers
        integers = {name for name in candidates if _INTEGER.fullmatch(row[name])}
    convert: dict[str, Callable[[str], Any]] = dict.fromkeys(integers or (), int)
    for place, row in _rows(path, tabs):
        convert |= {name: partial(_list, place=f"{place}, column `{name}`") for name in row.keys() & list_columns}
        answers = _pop_answers(row, place)
        yield {name: convert[name](value) if name in convert else value for name, value in row.items()} | answers


def _rows(path: Path, tabs: bool) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield (file and row, values by column name); rows count from 1 below the header."""
    quotes = csv.QUOTE_NONE if tabs and not _header_is_quoted(path) else csv.QUOTE_MINIMAL
    form: dict[str, Any] = {"delimiter": "\t" if tabs else ",", "quoting": quotes}
    reader = csv.reader((line for _, line in read_lines(path)), strict=True, **form)
    header: list[str] | None = None
    row = 0
    while True:
        try:
            values = next(reader, None)
        except csv.Error as error:
            what, mend = (
                ("TSV", "A") if quotes == csv.QUOTE_NONE else ("CSV", "Write a quotation mark inside a value twice; a")
            )
            raise InputError(
                f"{path}, line {reader.line_num}: not {what} ({error}). {mend} value has at most "
                f"{csv.field_size_limit():,} characters."
            ) from None
        if values is None:
            return
        if not values:
            continue
        if header is None:
            header = values
            if "" in header or len(set(header)) < len(header):
                raise InputError(f"{path}, line 1: the header {header} needs a different name for every column.")
            continue
        row += 1
        place = f"{path}, row {row} (line {reader.line_num})"
        if len(values) != len(header):
            mend = "Put a value that holds a comma in quotation marks."
            if tabs:
                mend = "Separate them by one tab each; a value holds no tab and no line end, but may in CSV or JSON."
            raise InputError(f"{place}: {len(values)} values for the {len(header)} columns of the header. {mend}")
        yield place, dict(zip(header, values, strict=True))


def _header_is_quoted(path: Path) -> bool:
    """Whether every name in a line of names with tabs is in quotation marks, which then quote values too."""
    names = next((line.strip().split("\t") for _, line in read_lines(path) if line.strip()), [""])
    return all(len(name) > 1 and name[0] == name[-1] == '"' for name in names)


def _pop_answers(row: dict[str, str], place: str) -> dict[str, Answers]:
    """Take the answers out of `row`; empty where the file has no such column."""
    if "answers" in row:
        return {"answers": answers_from_json(row.pop("answers"), f"{place}, column `answers`")}
    if row.keys() >= _ANSWER or row.keys() >= _TEXT_ALONE:
        return {"answers": answers_from_cells(row.pop("answer_text"), row.pop("answer_start", ""), place)}
    return {}


def _list(value: str, place: str) -> list[Any]:
    value = value.strip()
    if not value.startswith("["):
        return value.split()
    try:
        return list(parse_json(value))
    except ValueError as error:
        if not _is_meant_as_list(value):
            return value.split()
        raise InputError(f'{place}: not a JSON list ({reason(error)}): `{shown(value)}`. Write ["a", "b"].') from None


def _is_meant_as_list(value: str) -> bool:
    """Whether a text that begins with a bracket looks like a list of quoted or of bare items."""
    has_bare_items = value.endswith("]") and ", " in value and not value[1].isspace()
    return has_bare_items or value[1:].lstrip().startswith(("'", '"'))
