"""Files that a power cut cannot take back: on the disk, not only in the system's memory, once they are named whole."""

import errno
import os
from pathlib import Path

_NO_SYNC_OF_FOLDERS = (errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.ENOSYS)


def sync_file(path: Path) -> None:
    """Wait until the file's content is on the disk; its name is there only after [`sync_names`] of its folder."""
    # Windows writes out only what was opened to be written.
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_names(folder: Path) -> None:
    """Wait until the names of what lies in `folder` are on the disk, where the file system can be asked to."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC_OF_FOLDERS:
            raise
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Wait until `folder`, with all that lies below it, is on the disk.

    Raises:
        OSError: the disk refused what was to be written, a network's or one with quotas only now.
    """
    for below, _, names in os.walk(folder):
        for name in names:
            sync_file(Path(below, name))
        sync_names(Path(below))
    sync_names(folder.parent)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file such that a process killed meanwhile, or a power cut, leaves the old one or the new one."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(content.encode() if isinstance(content, str) else content)
    sync_file(part)
    part.replace(path)
    sync_names(path.parent)
