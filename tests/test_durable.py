"""What is named whole is on the disk."""

import errno
import os
from pathlib import Path

import pytest

from hf_seqreptile.durable import sync_names, sync_tree, write_whole
from tests.power_cut import Disk

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc to tell which file is synced")


def test_a_tree_is_on_the_disk_with_its_own_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a/b/c").mkdir(parents=True)
    for name in ("a/one", "a/b/two", "a/b/c/three"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    disk = Disk(monkeypatch)
    assert len(disk.missing(tmp_path / "a")) == 6
    sync_tree(tmp_path / "a")
    assert disk.missing(tmp_path / "a") == []
    (tmp_path / "a/one").write_text("changed", encoding="utf-8")
    (tmp_path / "a/b/new").touch()
    assert sorted(disk.missing(tmp_path / "a")) == [tmp_path / "a/b/new", tmp_path / "a/one"]


@pytest.mark.parametrize("content", ["text ü", b"\x00bytes"], ids=["text", "bytes"])
def test_the_old_file_is_there_until_the_new_one_is_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | bytes
) -> None:
    path = tmp_path / "file"
    write_whole(path, "old")
    disk, replace, lost = Disk(monkeypatch), Path.replace, []

    def checked(part: Path, target: Path) -> Path:
        assert path.read_bytes() == b"old"
        lost.extend(disk.contents.get(part, b"") != part.read_bytes() for _ in "1")
        return replace(part, target)

    monkeypatch.setattr(Path, "replace", checked)
    write_whole(path, content)
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert lost == [False] and path.name in disk.names[tmp_path]
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(("code", "is_error"), [(errno.EINVAL, False), (errno.EIO, True), (errno.ENOSPC, True)])
def test_a_file_system_that_cannot_sync_names_is_no_error_but_a_failure_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int, is_error: bool
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    if is_error:
        with pytest.raises(OSError, match=os.strerror(code)):
            sync_names(tmp_path)
    else:
        sync_names(tmp_path)
