"""What a power cut would leave: the files and names that were written out with fsync, as they were then."""

import os
from pathlib import Path

import pytest


class Disk:
    """Follows every fsync of this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.contents: dict[Path, bytes] = {}
        self.names: dict[Path, set[str]] = {}
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self._note)

    def _note(self, descriptor: int) -> None:
        self._fsync(descriptor)
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if path.is_dir():
            self.names[path] = set(os.listdir(path))
        else:
            self.contents[path] = path.read_bytes()

    def missing(self, path: Path) -> list[Path]:
        """What of a file, or of a folder with all below it, would be lost or older after a power cut now."""
        lost = [] if path.name in self.names.get(path.parent, ()) else [path]
        if path.is_dir():
            return lost + [each for child in path.iterdir() for each in self.missing(child)]
        return lost or ([] if self.contents.get(path) == path.read_bytes() else [path])
