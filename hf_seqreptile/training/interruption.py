"""SIGTERM, by which clusters announce that they are about to kill a run."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType

from torch.utils.data import DataLoader

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


def outlive_sigterm(loader: DataLoader) -> DataLoader:
    """The loader, whose worker processes pass over SIGTERM unless the process that started them sends it.

    Schedulers send it to every process of a job, and training needs its workers to end its step. On Linux only.
    """
    # accelerate's loaders wrap the one that starts the workers.
    inner = getattr(loader, "base_dataloader", loader)
    inner.worker_init_fn = _InWorker(inner.worker_init_fn)
    return loader


class _InWorker:
    def __init__(self, then: Callable[[int], None] | None) -> None:
        self.then = then

    def __call__(self, worker_id: int) -> None:
        if sys.platform == "linux":
            # Blocked, so that it waits for the thread, which learns who sent it.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            threading.Thread(target=self._end_when_the_parent_says_so, daemon=True).start()
        if self.then is not None:
            self.then(worker_id)

    def _end_when_the_parent_says_so(self) -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
            pass
        os._exit(0)
