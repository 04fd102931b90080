"""The scripts as an experiment calls them: found, tried, run in this process."""

import contextlib
import io
import runpy
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError


def find_script(name: str) -> str:
    """The path of a script: a file, or one that was installed with this package.

    Raises:
        InputError: there is no such script.
    """
    # A virtual environment's scripts are found though it was not activated.
    found = (
        name if Path(name).is_file() else shutil.which(name) or shutil.which(name, path=Path(sys.executable).parent)
    )
    if found is None:
        raise InputError(
            f"There is no script {name}. Give the path of one of this package's, such as run_ner.py, or of your own."
        )
    return str(Path(found).resolve())


def why_refused(argv: Sequence[str]) -> str | None:
    """Why a script refuses a command, as its `--dry_run` tells; `None` where it does not.

    Args:
        argv: its path and its arguments.
    """
    said, errors = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(errors):
            run_script([*argv, "--dry_run"])
    except SystemExit as end:
        return errors.getvalue().strip().removeprefix("error: ") or f"it ended with code {end.code}"
    return None


def run_script(argv: Sequence[str]) -> None:
    """Run a script or a module in this process, as `python` would.

    Args:
        argv: its path or name, and its arguments.

    Raises:
        SystemExit: it ended with another code than 0.
    """
    before, sys.argv = sys.argv, list(argv)
    sys.path.insert(0, str(Path(argv[0]).resolve().parent))
    try:
        if Path(argv[0]).is_file():
            runpy.run_path(argv[0], run_name="__main__")
        else:
            runpy.run_module(argv[0], run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
    finally:
        sys.argv = before
        del sys.path[0]
