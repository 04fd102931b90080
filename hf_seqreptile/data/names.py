"""Names of tasks and splits: which are allowed, and what to say about an unknown one."""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import PureWindowsPath

from ..errors import InputError
from .text import SHOWN

SPLIT_NAMES = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}
"""What files and folders call each split."""
_SPLIT_OF = {name: split for split, names in SPLIT_NAMES.items() for name in names}
_ANY = "|".join(_SPLIT_OF)
_SPLIT_AND_TASK = re.compile(rf"(?:({_ANY})[-_.](.+)|(.+)[-_.]({_ANY}))")
MAX_BYTES = 200
"""Of a task's name: a file name has at most 255, and ours put up to 31 around it."""


def check_task_name(name: str, origin: str, kind: str = "task") -> str:
    """Return `name` if it can name files of its own; `origin` says where it came from, `kind` what it is of."""
    if not name.strip():
        raise InputError(f"{origin}: an empty task name. Write `name=path`, such as `de=data/de.conll`.")
    # Windows separates paths by all that others do, and more.
    is_file_name = PureWindowsPath(name).name == name and not name.startswith(".") and name.isprintable()
    if not is_file_name or len(name.encode()) > MAX_BYTES:
        raise InputError(
            f"{origin}: the {kind} name {name[:SHOWN]!r} is unfit for a file name. Use at most {MAX_BYTES} bytes, "
            "none of them /, \\ or a control character, and no dot in front."
        )
    return name


def split_item(item: str) -> tuple[str | None, str]:
    """The name and the path of `name=path`; `None` and the path where there is no name."""
    before, separator, after = item.partition("=")
    named = bool(separator) and "/" not in before and "\\" not in before
    return (before.strip(), after) if named else (None, item)


def split_and_task(name: str) -> tuple[str, str] | None:
    """The split and the task that a name such as `train_de` or `de-dev` is made up of; `None` for other names."""
    match = _SPLIT_AND_TASK.fullmatch(name)
    if match is None:
        return None
    return _SPLIT_OF[match[1] or match[4]], match[2] or match[3]


def check_distinct(names: Sequence[str], argument: str, kind: str = "task") -> None:
    """Refuse a name that occurs twice; `kind` is what the names are of."""
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{argument}: {name!r} occurs twice. Name each {kind} once.")


def unknown_name(name: str, known: Iterable[str], argument: str, kind: str = "language") -> InputError:
    """The error for a name that the data does not have, with those it has."""
    names = sorted(known)
    nearest = get_close_matches(name.lower(), names, n=1)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return InputError(f"{argument}: unknown {kind} {name!r}.{hint} Known: {', '.join(names) or 'none'}.")
