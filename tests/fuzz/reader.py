"""What a fuzzed reader is, and what must hold whatever it is given."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hf_seqreptile.errors import InputError


@dataclass(frozen=True)
class Reader:
    """A reader of the package, as both hypothesis and atheris call it.

    Args:
        read: writes its bytes into the folder, as the file or files that the reader is for, and reads them.
        seeds: sound inputs, and some that once were not refused, which the fuzzers alter.
        words: what the format is made of.
        through_datasets: whether each input is prepared by `datasets`, which takes some hundred times as long.
        names_file: whether a message always names the file; arguments go by their own names.
    """

    read: Callable[[bytes, Path], object]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...]
    through_datasets: bool = False
    names_file: bool = True

    @cached_property
    def _folder(self) -> Path:
        return Path(tempfile.mkdtemp(prefix="fuzz-"))

    def __call__(self, data: bytes) -> None:
        """Read `data`: all that may come of it is a result, or an InputError that names the file."""
        try:
            self.read(data, self._folder)
        except InputError as error:
            assert not self.names_file or str(self._folder) in str(error), f"names no file: {error}"
        finally:
            if self.through_datasets:
                shutil.rmtree(self._folder)
                self._folder.mkdir()
