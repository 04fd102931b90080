"""Processes that may be killed: each a fork of one that has imported everything."""

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

LIMIT = 280
"""Seconds after which a process that does not end is ended."""


@contextmanager
def started(log: Path, function: Callable[..., Any], *args: Any) -> Iterator[BaseProcess]:
    """A process that runs `function(*args)` and prints into the file `log`; killed in the end."""
    context = multiprocessing.get_context("forkserver")
    # Importing takes longer than most of what is done here.
    context.set_forkserver_preload([__name__, "tests.scripts", "hf_seqreptile.command_line.fine_tuning"])
    process = context.Process(target=_run, args=(log, function, args))
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def exit_code(log: Path, function: Callable[..., Any], *args: Any) -> int | None:
    """The exit code of a process that runs `function(*args)`; minus the signal's number where one ended it."""
    with started(log, function, *args) as process:
        process.join(LIMIT)
        assert process.exitcode is not None, f"still running after {LIMIT} s: {log.read_text()}"
        return process.exitcode


def wait_for(condition: Callable[[], Any], process: BaseProcess) -> None:
    """Return when `condition()` holds or the process has ended."""
    while process.exitcode is None and not condition():
        time.sleep(0.005)


def _run(log: Path, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    with log.open("ab") as file:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(file.fileno(), stream.fileno())
    # Data loaders start their workers as in any process, not as this one was started.
    multiprocessing.set_start_method(None, force=True)
    function(*args)
