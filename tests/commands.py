"""Commands of the package in processes of their own, killed and continued."""

import os
import signal
import subprocess
import sys

from tests.scripts import ROOT


def started(module: str, *arguments: str) -> subprocess.Popen:
    """`python -m module arguments`, with what it prints as text, in a process group that can be killed as a whole."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        cwd=ROOT, start_new_session=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def kill_repeatedly(module: str, *arguments: str, times: int, step: float) -> None:
    """Start a command again and again; kill it and all that it started, each time `step` seconds later."""
    for number in range(1, times + 1):
        running = started(module, *arguments)
        try:
            running.communicate(timeout=number * step)
            return
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            running.communicate()
