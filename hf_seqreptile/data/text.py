"""UTF-8 text, line by line, for the readers that must say which line is wrong."""

import codecs
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError

SHOWN = 80
"""Characters of a file that a message quotes, at most."""
_CHUNK = 1 << 12
"""Characters that are read at a time: so few that what is made of them dies young, before a collector looks at it."""


def shown(content: object) -> str:
    """The beginning of `content` on one line, for a message; control characters and text marks appear as escapes."""
    return escaped(str(content)[:SHOWN])


def escaped(text: str, kept: str = "") -> str:
    """`text` with escapes for control characters and text marks, which could rewrite what a terminal shows.

    Args:
        text: anything.
        kept: such characters that stay as they are.
    """
    return "".join(c if c.isprintable() or c in kept else c.encode("unicode_escape").decode() for c in text)


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line with its ending: LF, CR LF or CR); a byte order mark at the start is dropped.

    Raises:
        InputError: bytes that are not UTF-8, or a NUL byte.
    """
    number = 0
    try:
        # Of all characters LF, CR LF and CR alone end a line here, where str.splitlines would also cut at some that
        # occur inside tokens, as U+2028.
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, line in enumerate(file, 1):
                if "\0" in line:
                    raise _nul(path, number)
                yield number, line
    except UnicodeDecodeError:
        # It came with a block of lines, of which those that are good have their turn first.
        yield from _lines_before_error(path, number)


def read_blocks(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (number of the first line, from 1; text) of parts of a file that empty lines end; its lines end with LF.

    Many lines take less time than with [`read_lines`], whose lines and errors these are.
    """
    number, parts = 1, []
    try:
        with path.open(encoding="utf-8-sig") as file:
            # What is read ends with a whole line.
            while chunk := file.read(_CHUNK) + file.readline():
                if "\0" in chunk:
                    break
                before, empty_line, after = chunk.rpartition("\n\n")
                parts.append(before)
                if empty_line:
                    block = "".join(parts)
                    yield number, block
                    number += block.count("\n") + 2
                    parts = []
                parts.append(after)
            else:
                yield number, "".join(parts)
                return
    except UnicodeDecodeError:
        pass
    # It names the line of the error.
    for _ in read_lines(path):
        pass


def _lines_before_error(path: Path, after: int) -> Iterator[tuple[int, str]]:
    """Yield the lines behind line `after`, as `read_lines` does, up to the first with bytes that are not UTF-8.

    Raises:
        InputError: this line is reached.
    """
    offset = 0
    # Each byte as one character, so that bytes can be counted.
    with path.open(encoding="latin-1", newline="") as file:
        for number, characters in enumerate(file, 1):
            line = characters.encode("latin-1")
            content = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            try:
                text = content.decode("utf-8")
            except UnicodeDecodeError as error:
                position = offset + len(line) - len(content) + error.start
                raise InputError(
                    f"{path}, line {number}: byte 0x{content[error.start]:02x} at offset {position} is not UTF-8. "
                    "Save the file as UTF-8."
                ) from None
            if number > after:
                if "\0" in text:
                    raise _nul(path, number)
                yield number, text
            offset += len(line)


def _nul(path: Path, number: int) -> InputError:
    return InputError(f"{path}, line {number}: a NUL byte. Is it a text file? Save it as UTF-8, without NUL bytes.")
