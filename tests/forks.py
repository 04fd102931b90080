"""Processes that may be killed, or whose end and streams are looked at: forks of one that has imported everything.

An import takes longer than most of what is done here. What is read when a library is imported, such as the Hub's
variables, is as it was when the first of these processes started; who needs others starts a real process.
"""

import gc
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

LIMIT = 280
"""Seconds after which a process that does not end is ended."""


def server() -> ForkServerContext:
    """What starts the processes, one for all tests of a process: its first use settles what it imports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.processes", "tests.scripts", "run_ner"])
    return context


@contextmanager
def started(log: Path, function: Callable[..., Any], *args: Any, errors: Path | None = None) -> Iterator[BaseProcess]:
    """A process that runs `function(*args)` and prints into the file `log`; killed in the end.

    What it prints as errors goes there, too, where there is no file for these.
    """
    process = server().Process(target=_run, args=(log, errors or log, function, args))
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def exit_code(log: Path, function: Callable[..., Any], *args: Any, errors: Path | None = None) -> int | None:
    """The exit code of a process that runs `function(*args)`; minus the signal's number where one ended it."""
    with started(log, function, *args, errors=errors) as process:
        process.join(LIMIT)
        assert process.exitcode is not None, f"still running after {LIMIT} s: {log.read_text()}"
        return process.exitcode


def completed(function: Callable[..., Any], *args: Any) -> subprocess.CompletedProcess[str]:
    """A process that ran `function(*args)`, and what it printed."""
    with tempfile.TemporaryDirectory() as folder:
        out, errors = Path(folder, "out"), Path(folder, "errors")
        code = exit_code(out, function, *args, errors=errors)
        assert code is not None
        return subprocess.CompletedProcess(args, code, out.read_text("utf-8"), errors.read_text("utf-8"))


def _run(log: Path, errors: Path, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    for stream, path in ((sys.stdout, log), (sys.stderr, errors)):
        stream.flush()
        with path.open("ab") as file:
            os.dup2(file.fileno(), stream.fileno())
    # accelerate collects garbage in every training, and would go through all that was imported.
    gc.freeze()
    # Data loaders start their workers as in any process, not as this one was started.
    multiprocessing.set_start_method(None, force=True)
    function(*args)
