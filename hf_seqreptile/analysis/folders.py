"""Which folders a report or an analysis is of."""

import glob
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..errors import InputError
from .runs import SavedRun, read_run


def find_folders(patterns: Sequence[str]) -> tuple[list[Path], list[str]]:
    """What the patterns match, in order, each once, and why others match nothing.

    The shell may have expanded them already.
    """
    found: dict[Path, Path] = {}
    skipped = []
    for pattern in patterns:
        # A folder may be called `[a]`.
        matches = [pattern] if Path(pattern).exists() else sorted(glob.glob(pattern, recursive=True))
        if not matches:
            skipped.append(
                f"{pattern} is no folder, and as a pattern {pattern} matches nothing. Give the folders of finished "
                f"runs, such as 'out/*'."
            )
        for match in matches:
            found.setdefault(Path(match).resolve(), Path(match))
    return list(found.values()), skipped


def read_runs(folders: Iterable[Path]) -> tuple[list[SavedRun], list[str]]:
    """The finished runs, and for each other folder why it is left out."""
    runs, skipped = [], []
    for folder in folders:
        try:
            runs.append(read_run(folder))
        except InputError as error:
            skipped.append(str(error))
    return runs, skipped


def runs_of(patterns: Sequence[str]) -> tuple[list[SavedRun], list[str]]:
    """The finished runs that the patterns match, and why others are left out.

    Raises:
        InputError: none is left.
    """
    folders, unmatched = find_folders(patterns)
    runs, skipped = read_runs(folders)
    skipped = unmatched + skipped
    if not runs:
        raise InputError("\n  ".join(["No finished run among these:", *skipped]))
    return runs, skipped
