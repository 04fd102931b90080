"""A process that dies at a given one of its changes to a folder, whatever language the writer is in."""

import builtins
import os
import resource
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

PLAIN = {str, bytes, int, float, list, tuple, dict, set, frozenset}


class Crash:
    """Ends this process when files were made or removed in the folders so many times.

    Python calls a function of ours after each of a C function's, which looks at the folders: writers in C++ and Rust
    are seen as well as those in Python.

    Args:
        folders: that are watched; some may not exist yet.
        change: after which change, counted from 1.
        cut: in place of ending at once, end in the middle of the first write after it that makes a file longer than
            so many bytes. A limit on the size of files does that: the system cuts the file there and sends SIGXFSZ.
    """

    def __init__(self, folders: Sequence[Path], change: int, cut: int | None = None) -> None:
        self.folders = [str(folder) for folder in folders]
        self.change = change
        self.cut = cut
        self.seen = self._names()

    def arm(self) -> None:
        """Begin to watch."""
        sys.setprofile(self._look)

    def _look(self, frame: FrameType, event: str, arg: Any) -> None:
        if event != "c_return" or _writes_nothing(arg) or (names := self._names()) == self.seen:
            return
        self.seen = names
        self.change -= 1
        if self.change:
            return
        sys.setprofile(None)
        if self.cut is None:
            os.kill(os.getpid(), signal.SIGKILL)
        else:
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.cut, self.cut))

    def _names(self) -> list[list[str]]:
        return [_names(folder) for folder in self.folders]


def _writes_nothing(function: Any) -> bool:
    """Whether it is a method of a plain value or one of Python's built-in functions, the most of all calls.

    (`open` is of another module.)
    """
    owner = getattr(function, "__self__", None)
    return owner is builtins or type(owner) in PLAIN


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []
