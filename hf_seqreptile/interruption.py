"""SIGTERM, by which clusters announce that they are about to kill a run."""

import signal
import threading
from types import FrameType, TracebackType

EXIT_CODE = 128 + signal.SIGTERM
"""As a shell reports a process that SIGTERM ended: the run is not finished, so nothing that waits for it may go on."""


class TerminationSignal:
    """Within its context, SIGTERM is noted in place of ending the process.

    Where the program handles SIGTERM already, or in a thread, which can set no handler, nothing is changed.

    Attributes:
        came: whether it did.
    """

    def __init__(self) -> None:
        self.came = False
        self._is_ours = False

    def __enter__(self) -> "TerminationSignal":
        is_main_thread = threading.current_thread() is threading.main_thread()
        self._is_ours = is_main_thread and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        if self._is_ours:
            signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._is_ours:
            return
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if self.came and error is None:
            # It came too late to be acted upon.
            signal.raise_signal(signal.SIGTERM)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.came = True
