"""Pictures in a folder that has one folder a class."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from datasets import ClassLabel, Dataset, Features, Image

from ..errors import InputError
from .build import Cache, Row, build_from_rows

IMAGE, LABEL = "image", "label"
"""The columns of pictures and their classes, whatever the data calls them."""


def read_image_folder(folder: Path, split: str, cache: Cache, origin: str, may_lack_classes: bool = False) -> Dataset:
    """The files of a folder with one folder a class, sorted, as columns `image` (their paths) and `label`.

    No file is opened; what is cached goes stale when one of them changes. Names that begin with a dot are passed over.

    Args:
        folder: with the classes' folders.
        split: of the pictures.
        cache: where the list is kept.
        origin: what named it, for messages.
        may_lack_classes: whether pictures may lie in the folder itself; they then have no column `label`.

    Raises:
        InputError: no classes, a class without pictures, files beside the classes, or folders within them.
    """
    inside = _visible(folder)
    classes, files = [path for path in inside if path.is_dir()], [path for path in inside if not path.is_dir()]
    if not inside or (not classes and not may_lack_classes):
        raise InputError(f"{origin}: {folder} holds no folders. Put the pictures of each class into one: `cat/1.jpg`.")
    if files and (classes or not may_lack_classes):
        raise InputError(
            f"{origin}: {files[0]} lies beside the classes' folders. Move it into the folder of its class, or out."
        )
    features = Features({IMAGE: Image(decode=False)})
    listing = [_file(path, None) for path in files]
    for number, of_class in enumerate(classes):
        own = _visible(of_class)
        if deeper := [path for path in own if path.is_dir()]:
            raise InputError(
                f"{origin}: {deeper[0]} is a folder within that of a class. Put its pictures into {of_class}, or "
                f"it beside that, as a class of its own."
            )
        if not own:
            raise InputError(f"{origin}: {of_class} holds no pictures. Put some into it, or remove it.")
        listing += [_file(path, number) for path in own]
    if classes:
        features[LABEL] = ClassLabel(names=[path.name for path in classes])
    return build_from_rows(_rows, folder, split, cache, features, listing=listing)


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _file(path: Path, label: int | None) -> tuple[str, int | None, int, int]:
    status = path.stat()
    return str(path.resolve()), label, status.st_size, status.st_mtime_ns


def _rows(path: Path, listing: Sequence[tuple[str, int | None, int, int]]) -> Iterator[Row]:
    for file, label, *_ in listing:
        yield {IMAGE: {"path": file, "bytes": None}} | ({} if label is None else {LABEL: label})
