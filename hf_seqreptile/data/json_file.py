"""JSON files: a list of objects, the same under "data", nested SQuAD, or one object a line."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..json_text import parse_json, reason
from .squad import check_articles, flatten, is_nested
from .text import read_lines, shown

_MEND = 'Give one object a line, or (in .json) a list of objects or {"data": [objects]}.'


def read_json(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a .json file (a list, `{"data": [...]}` or one object a line) as they are.

    Objects with paragraphs are the articles of a SQuAD file, which yields its questions instead.
    """
    text = "".join(line for _, line in read_lines(path))
    try:
        content = parse_json(text)
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":
            # Its own number does not count lines that end in CR alone.
            line = 1 + len(re.findall(r"\r\n?|\n", text[: error.pos]))
            raise InputError(f"{path}, line {line}: not JSON ({reason(error)}). {_MEND}") from None
        content = None
    except ValueError as error:
        raise InputError(f"{path}: {reason(error)}. {_MEND}") from None
    if isinstance(content, dict):
        check_articles(content, path)
        content = content.get("data")
    if not isinstance(content, list):
        yield from read_json_lines(path)
    elif is_nested(content):
        yield from flatten(content, path)
    else:
        for row, item in enumerate(content, 1):
            yield _object(item, f"{path}, row {row}")


def read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file with one object a line; empty lines are skipped.

    Raises:
        InputError: a line that is not one JSON object.
    """
    for number, line in read_lines(path):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            item = parse_json(line)
        except ValueError as error:
            raise InputError(f"{place}: not JSON ({reason(error)}). {_MEND}") from None
        yield _object(item, place)


def _object(item: object, place: str) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise InputError(f"{place}: `{shown(item)}` is not an object. {_MEND}")
    return item
