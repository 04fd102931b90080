"""Names of tasks and splits: which are allowed, and what to say about an unknown one."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import PureWindowsPath

from ..errors import InputError
from .text import SHOWN

SPLIT_NAMES = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}
"""What files and folders call each split."""
MAX_BYTES = 200
"""Of a task's name: a file name has at most 255, and ours put up to 31 around it."""


def check_task_name(name: str, origin: str) -> str:
    """Return `name` if it can name files of its own; `origin` says where it came from."""
    if not name.strip():
        raise InputError(f"{origin}: an empty task name. Write `name=path`, such as `de=data/de.conll`.")
    # Windows separates paths by all that others do, and more.
    is_file_name = PureWindowsPath(name).name == name and not name.startswith(".") and name.isprintable()
    if not is_file_name or len(name.encode()) > MAX_BYTES:
        raise InputError(
            f"{origin}: the task name {name[:SHOWN]!r} is unfit for a file name. Use at most {MAX_BYTES} bytes, none "
            "of them /, \\ or a control character, and no dot in front."
        )
    return name


def check_distinct(names: Sequence[str], argument: str) -> None:
    """Refuse a name that occurs twice."""
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{argument}: {name!r} occurs twice. Name each task once.")


def unknown_name(name: str, known: Iterable[str], argument: str, kind: str = "language") -> InputError:
    """The error for a name that the data does not have, with those it has."""
    names = sorted(known)
    nearest = get_close_matches(name.lower(), names, n=1)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return InputError(f"{argument}: unknown {kind} {name!r}.{hint} Known: {', '.join(names) or 'none'}.")
