"""How every command ends on what the user can mend."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ..data.text import escaped
from ..errors import InputError
from ..publishing.hub_repository import PushError


@contextmanager
def bad_input_exits() -> Iterator[None]:
    """End the process with the message and code 2, without a traceback, on what the user can mend.

    That is bad input, and what the file system refuses: a full disk, a folder that is a file. A push that failed has
    code 3: the model is finished, nothing is to be run again. Ctrl-C ends it with code 130, as a shell reports it.
    """
    try:
        yield
    except (InputError, OSError) as error:
        # Messages of libraries quote files as they are.
        print(escaped(f"error: {error}", kept="\n"), file=sys.stderr)
        sys.exit(3 if isinstance(error, PushError) else 2)
    except KeyboardInterrupt as interrupt:
        print(f"\nInterrupted. {interrupt}".rstrip(), file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
