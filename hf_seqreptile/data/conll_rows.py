"""The lines of CoNLL files and their columns, which one tab or spaces separate."""

from collections.abc import Iterator
from pathlib import Path

from .text import read_blocks, read_lines, shown


def numbered_rows(path: Path) -> Iterator[tuple[int, str, list[str]]]:
    """Yield (line number, line, columns) of each line; where a sentence ends, the columns are empty."""
    return ((number, stripped := _stripped(line), columns_of(stripped)) for number, line in read_lines(path))


def row_blocks(path: Path) -> Iterator[tuple[int, list[str], list[list[str]]]]:
    """Yield (number of the first line, lines, their columns) of parts of a file; the last line of each is empty."""
    for first, text in read_blocks(path):
        lines = f"{text}\n".split("\n")
        separator, other = ("\t", " ") if "\t" in text else (" ", "\t")
        around = f"\n{text}\n"
        needs_look = (
            other in text
            or "-DOCSTART-" in text
            or f"{separator}\n" in around
            or (separator == " " and ("  " in text or "\n " in around))
        )
        if needs_look:
            lines = [*map(_stripped, lines)]
            yield first, lines, [*map(columns_of, lines)]
        else:
            yield first, lines, [line.split(separator) if line else [] for line in lines]


def _stripped(line: str) -> str:
    # Not str.rstrip alone: it would also take the no-break spaces that belong to a token.
    return line.rstrip(" \t\r\n")


def columns_of(line: str) -> list[str]:
    """The columns of a line without white space at its end."""
    if "\t" in line:
        row = line.split("\t")
        if " " in line:
            row = [column.strip(" ") for column in row]
    else:
        row = [column for column in line.split(" ") if column]
    if "-DOCSTART-" in line and any(column.startswith("-DOCSTART-") for column in row):
        return []
    return row


def quoted(line: str) -> str:
    """A line for a message."""
    return f"`{shown(' '.join(line.split()))}`"


def counted(columns: int) -> str:
    """Their number in words for a message."""
    return "1 column" if columns == 1 else f"{columns} columns"
