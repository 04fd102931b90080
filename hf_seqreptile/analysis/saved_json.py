"""JSON files that the scripts left in an output folder, refused where they have another form."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..json_text import parse_json


def read_object(path: Path) -> dict[str, Any]:
    """The object that the file holds.

    Raises:
        InputError: there is no such file, it cannot be read, or it holds something else.
    """
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(
            f"{path.parent} has no {path.name}, so it is not the folder of a finished run. Let the run finish, or "
            f"leave the folder out."
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold a JSON object; the scripts write it so.")
    return content


def check(holds: bool, path: Path, otherwise: str) -> None:
    """Refuse a file whose values are not of the form that the scripts write.

    Args:
        holds: whether they are.
        path: of the file.
        otherwise: what is wrong.

    Raises:
        InputError: `holds` is false.
    """
    if not holds:
        raise InputError(f"{path} is damaged, or no script wrote it: {otherwise}. Leave its run out, or repeat it.")


def is_nested(value: Any, depth: int = 0) -> bool:
    """Whether `value` is a number or null within objects, `depth` of them."""
    if depth:
        return isinstance(value, dict) and all(is_nested(inner, depth - 1) for inner in value.values())
    return value is None or isinstance(value, int | float)


def without_null(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Without what was written as null because JSON cannot hold it, such as a score that is no number."""
    return {name: value for name, value in numbers.items() if value is not None}


def are_texts(value: Any) -> bool:
    """Whether `value` is a list of strings."""
    return isinstance(value, list) and all(isinstance(text, str) for text in value)
