"""Pictures in a folder that has one folder a class."""

from pathlib import Path

from datasets import ClassLabel, Dataset, Features, Image

from ..errors import InputError

IMAGE, LABEL = "image", "label"
"""The columns of pictures and their classes, whatever the data calls them."""


def read_image_folder(folder: Path, origin: str, may_lack_classes: bool = False) -> Dataset:
    """The files of a folder with one folder a class, sorted, as columns `image` (their paths) and `label`.

    No file is opened. Names that begin with a dot are passed over.

    Args:
        folder: with the classes' folders.
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
    if not classes:
        return _dataset(Features({IMAGE: Image(decode=False)}), {IMAGE: [_encoded(path) for path in files]})
    pictures, labels = [], []
    for number, of_class in enumerate(classes):
        own = _visible(of_class)
        if deeper := [path for path in own if path.is_dir()]:
            raise InputError(
                f"{origin}: {deeper[0]} is a folder within that of a class. Put its pictures into {of_class}, or "
                f"it beside that, as a class of its own."
            )
        if not own:
            raise InputError(f"{origin}: {of_class} holds no pictures. Put some into it, or remove it.")
        pictures += [_encoded(path) for path in own]
        labels += [number] * len(own)
    features = Features({IMAGE: Image(decode=False), LABEL: ClassLabel(names=[path.name for path in classes])})
    return _dataset(features, {IMAGE: pictures, LABEL: labels})


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _encoded(path: Path) -> dict[str, str | None]:
    return {"path": str(path.resolve()), "bytes": None}


def _dataset(features: Features, columns: dict[str, list]) -> Dataset:
    return Dataset.from_dict(columns, features=features)
