"""The tab-separated files in which GLUE is distributed; quotation marks in them are text."""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from .text import read_lines, shown

logger = logging.getLogger(__name__)

MSR = {"train": "msr_paraphrase_train.txt", "test": "msr_paraphrase_test.txt"}
"""MRPC's files as Microsoft distributes them."""
_DEV_IDS, _IDS = "dev_ids.tsv", ("#1 ID", "#2 ID")


@dataclass(frozen=True)
class Columns:
    """What a task's files call its columns.

    Args:
        label: the column of labels.
        texts: the columns of texts. Default: as on the Hub.
    """

    label: str = "label"
    texts: tuple[str, ...] = ()


def read_glue(
    path: Path,
    texts: Sequence[str],
    names: Columns,
    header: Sequence[str],
    labels: Sequence[str],
    may_lack_label: bool,
    skips_short: bool,
) -> Iterator[dict[str, Any]]:
    """Yield each row of a .tsv file as `texts` and `label`.

    Args:
        path: the file.
        texts: what the columns of texts are to be called.
        names: what the file calls them.
        header: the columns of a file that begins with its first row. Default: the first line names them.
        labels: the names of the classes, by number; none where labels are numbers.
        may_lack_label: whether there may be no column of labels, which are then null.
        skips_short: whether rows that lack columns are left out, and told of.

    Raises:
        InputError: a column that is missing, a row of another length, or a label that is none.
    """
    skipped = 0
    for number, row in _rows(path, header):
        place = f"{path}, line {number}"
        if isinstance(row, int):
            if skips_short:
                skipped += 1
                continue
            raise InputError(f"{place}: {row} values, not as many as the header has. Separate them by one tab each.")
        own = names.texts or texts
        _check_columns(path, row, [*own, *(() if may_lack_label else [names.label])])
        text = {name: row[given] for name, given in zip(texts, own, strict=True)}
        yield text | {"label": _label(row.get(names.label), labels, place)}
    if skipped:
        logger.warning("%s: %d rows lack columns, and are left out.", path, skipped)


def read_msr(
    path: Path,
    texts: Sequence[str],
    names: Columns,
    labels: Sequence[str],
    held_out: Sequence[str] | None,
    wants_held_out: bool,
) -> Iterator[dict[str, Any]]:
    """Yield the rows of one of MRPC's files from Microsoft as `read_glue` does.

    Args:
        path: the file.
        texts: what the columns of texts are to be called.
        names: what the file calls them.
        labels: the names of the classes.
        held_out: pairs of ids, `1 TAB 2`, of the rows that are GLUE's validation split. Default: all rows are wanted.
        wants_held_out: whether these are wanted, or the others.
    """
    known = {*(held_out or ())}
    for number, row in _rows(path, ()):
        if isinstance(row, int):
            raise InputError(f"{path}, line {number}: {row} values, not as many as the header has.")
        _check_columns(path, row, [*_IDS, *names.texts, names.label])
        if held_out is None or ("\t".join(row[name] for name in _IDS) in known) == wants_held_out:
            text = {name: row[given] for name, given in zip(texts, names.texts, strict=True)}
            yield text | {"label": _label(row[names.label], labels, f"{path}, line {number}")}


def dev_ids(folder: Path) -> list[str]:
    """The pairs of ids that are MRPC's validation split, as GLUE's dev_ids.tsv has them."""
    path = folder / _DEV_IDS
    if not path.is_file():
        raise InputError(
            f"{folder} has no {_DEV_IDS}, which says which of {MSR['train']}'s rows GLUE holds out for validation. "
            f"Download it with GLUE, or give train.tsv and dev.tsv."
        )
    return [line.rstrip("\r\n") for _, line in read_lines(path)]


def _rows(path: Path, header: Sequence[str]) -> Iterator[tuple[int, dict[str, str] | int]]:
    """Yield (line, values by column), or the number of values where it is not that of the header."""
    columns = list(header)
    for number, line in read_lines(path):
        values = line.rstrip("\r\n").split("\t")
        if not columns:
            columns = values
            if len(set(columns)) < len(columns):
                raise InputError(f"{path}, line {number}: a column occurs twice in `{shown(line)}`.")
        elif line.strip("\r\n"):
            is_whole = len(values) == len(columns)
            yield number, dict(zip(columns, values, strict=True)) if is_whole else len(values)


def _check_columns(path: Path, row: Mapping[str, str], wanted: Sequence[str]) -> None:
    if lacking := [name for name in wanted if name not in row]:
        raise InputError(f"{path} has no column {lacking[0]!r}, only {shown(', '.join(row))}.")


def _label(value: str | None, labels: Sequence[str], place: str) -> int | float | None:
    if value is None or value in ("", "-"):
        return None
    if not labels:
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise InputError(f"{place}: `{shown(value)}` is not a number, as a label must be.")
        return number
    names = {name: i for i, name in enumerate(labels)} | {str(i): i for i, _ in enumerate(labels)}
    if value not in names:
        raise InputError(f"{place}: `{shown(value)}` is not a label. The task has {', '.join(labels)}.")
    return names[value]
