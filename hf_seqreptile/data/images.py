"""Tasks of pictures: folders with one folder a class, datasets of the Hub, the sample; some cut by their classes."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from datasets import ClassLabel, Dataset, Image, Value

from ..errors import InputError
from .build import Cache
from .image_folder import IMAGE, LABEL, read_image_folder
from .image_sample import CLASSES, draw_sample
from .names import SPLIT_NAMES, unknown_name
from .repository import Repository

ROW = "row"
"""The column with a picture's number in its data, from 0."""
SAMPLE = "sample"
_ORDER_SEED = 0
"""Of the order of a split's pictures, from which held-out ones are taken: the same for every run."""


@dataclass(frozen=True)
class Origin:
    """Where the pictures of one task, or of several that it is cut into, come from.

    Args:
        dataset: of the Hub, a local folder that `datasets` reads, or `sample`; `None` for folders of pictures.
        config: its configuration.
        folders: by split, folders with one folder a class.
        image: the column of pictures. Default: `image`, or the only one of pictures.
        label: the column of classes. Default: `label`, or the only one with names of classes.
        parts: the number of tasks that its classes are dealt to. Default: it is one task.
        classes: those whose pictures are kept. Default: all.
    """

    dataset: str | None = None
    config: str | None = None
    folders: Mapping[str, Path] = field(default_factory=dict)
    image: str | None = None
    label: str | None = None
    parts: int | None = None
    classes: Sequence[str] | None = None


class ImageSource:
    """Tasks of pictures, each a dataset with the columns `image`, not decoded, `label`, and `row`.

    Where a task has no validation data of its own, a part of its training pictures is held out. These, and the order
    of a split's pictures but for `test`, depend on nothing but their number.

    Args:
        origins: by name.
        held_out: the share of the training pictures that are held out; 0 for none: then test pictures are taken.
        cache: where prepared data is kept.
        token: for private datasets of the Hub.
    """

    def __init__(self, origins: Mapping[str, Origin], held_out: float, cache: Cache, token: str | bool | None) -> None:
        self._origins = origins
        self._cache = cache
        self._held_out = held_out
        self._parts: dict[str, tuple[str, int | None]] = {}
        for name, origin in origins.items():
            for part in [None] if origin.parts is None else range(origin.parts):
                task = name if part is None else f"{name}-{part + 1}"
                if task in self._parts:
                    raise InputError(f"--split_classes: {name}={origin.parts} makes a task {task!r}, which there is.")
                self._parts[task] = (name, part)
        self._repositories = {
            name: Repository(origin.dataset, cache, token, "--dataset_name", files="--train_dir")
            for name, origin in origins.items()
            if origin.dataset not in (None, SAMPLE)
        }
        self._read: dict[tuple[str, str], Dataset] = {}

    def tasks(self, split: str) -> list[str]:
        """The tasks that may have pictures of a split; of a dataset only loading tells."""
        return [task for task, (name, _) in self._parts.items() if self._may_have(name, split)]

    def check(self, task: str, split: str, argument: str) -> None:
        """Refuse a task that there is not, or that has no pictures of a split; `argument` named it."""
        if task not in self._parts:
            raise unknown_name(task, self._parts, argument, kind="task")
        name = self._parts[task][0]
        if not self._may_have(name, split):
            more = (
                " or raise --train_val_split"
                if split == "validation" and "train" in self._origins[name].folders
                else ""
            )
            raise InputError(
                f"Task {task!r} has no {split} pictures. Add `{name}=folder` to --{split}_dir{more}, or leave it out."
            )

    def read(self, task: str, split: str) -> Dataset:
        """All pictures of a task."""
        name, part = self._parts[task]
        dataset = self._of_task(name, part, self._own_split(name, split))
        if split == "test":
            return dataset
        order = np.random.default_rng(_ORDER_SEED).permutation(len(dataset))
        if split == "validation" or not self._holds_out(name):
            first, last = 0, len(order)
        if self._holds_out(name):
            number = min(math.ceil(self._held_out * len(order)), len(order) - 1)
            first, last = (0, number) if split == "validation" else (number, len(order))
        if first == last:
            raise InputError(
                f"There are too few pictures ({len(order)}) to hold any out. Give validation pictures, or more."
            )
        return dataset.select(order[first:last])

    def _may_have(self, name: str, split: str) -> bool:
        origin = self._origins[name]
        if origin.dataset is not None or split in origin.folders:
            return True
        return split == "validation" and ("train" if self._held_out > 0 else "test") in origin.folders

    def _holds_out(self, name: str) -> bool:
        """Whether validation pictures are taken from the training ones."""
        return self._held_out > 0 and not self._has(name, "validation")

    def _has(self, name: str, split: str) -> bool:
        origin = self._origins[name]
        if origin.dataset == SAMPLE:
            return True
        if origin.dataset is None:
            return split in origin.folders
        return not {*SPLIT_NAMES[split]}.isdisjoint(self._repositories[name].load(origin.config).info.splits)

    def _own_split(self, name: str, split: str) -> str:
        if split != "validation" or self._has(name, "validation"):
            return split
        return "train" if self._held_out > 0 else "test"

    def _load(self, name: str, split: str) -> Dataset:
        """All pictures of an origin, in the columns `image`, `label` and `row`."""
        if (name, split) not in self._read:
            origin = self._origins[name]
            if origin.dataset == SAMPLE:
                dataset = draw_sample(name, split)
            elif origin.dataset is None:
                dataset = read_image_folder(
                    origin.folders[split], split, self._cache, f"--{split}_dir", split == "test"
                )
            else:
                dataset = self._of_repository(name, split)
            self._read[name, split] = dataset.add_column(ROW, range(len(dataset)))
        return self._read[name, split]

    def _of_repository(self, name: str, split: str) -> Dataset:
        origin, repository = self._origins[name], self._repositories[name]
        builder = repository.load(origin.config)
        found = [own for own in SPLIT_NAMES[split] if own in builder.info.splits]
        dataset = repository.take_split(builder, found[0] if found else split)
        image, label = _image_column(dataset, origin.image), _label_column(dataset, origin.label, split == "test")
        dataset = dataset.select_columns([image, *([label] if label else [])])
        dataset = dataset.rename_columns({image: IMAGE} | ({label: LABEL} if label else {}))
        return dataset.cast_column(IMAGE, Image(decode=False))

    def _of_task(self, name: str, part: int | None, split: str) -> Dataset:
        """Those pictures of an origin whose classes are the task's."""
        origin, dataset = self._origins[name], self._load(name, split)
        if part is None and origin.classes is None:
            return dataset
        if LABEL not in dataset.column_names:
            raise InputError(f"Without classes, which the {split} pictures lack, they cannot be dealt to tasks.")
        every = class_names(self._load(name, "train")) if self._has(name, "train") else class_names(dataset)
        if origin.classes is not None:
            for chosen in origin.classes:
                if chosen not in every:
                    raise unknown_name(chosen, every, "--classes", kind="class")
            own: Collection[str] = origin.classes
        else:
            assert part is not None and origin.parts is not None
            if others := [other for other in class_names(dataset) if other not in every]:
                raise InputError(f"The training pictures have no class {others[0]!r}, only {', '.join(every)}.")
            own = [every[i] for i in np.array_split(np.arange(len(every)), origin.parts)[part]]
        return _of_classes(dataset, own)


def class_names(dataset: Dataset) -> list[str]:
    """The names of the classes: those that the column knows, else its distinct values, sorted."""
    feature = dataset.features[LABEL]
    if isinstance(feature, ClassLabel):
        return list(feature.names)
    return sorted(str(value) for value in dataset.unique(LABEL) if value is not None)


def _of_classes(dataset: Dataset, names: Collection[str]) -> Dataset:
    """The pictures of these classes, which the column of classes then knows alone."""
    feature, own = dataset.features[LABEL], list(names)
    every = feature.names if isinstance(feature, ClassLabel) else None
    number = {name: i for i, name in enumerate(own)}
    labels = [
        number.get(str(value) if every is None else every[value], -1) if value is not None and value != -1 else -1
        for value in dataset[LABEL][:]
    ]
    kept = [row for row, label in enumerate(labels) if label >= 0]
    # Before rows are selected, after which a new column would copy all pictures.
    dataset = dataset.remove_columns(LABEL).add_column(LABEL, labels, feature=ClassLabel(names=own))
    return dataset.select(kept)


def _image_column(dataset: Dataset, given: str | None) -> str:
    found = [name for name, feature in dataset.features.items() if isinstance(feature, Image)]
    wanted = given or (IMAGE if IMAGE in found else found[0] if len(found) == 1 else None)
    if wanted is None or wanted not in found:
        named = f"--image_column_name {given} is none of them" if given else "which one is meant cannot be told"
        raise InputError(
            f"The columns of pictures are {', '.join(found) or 'none'}, and {named}. Name one with "
            f"--image_column_name (all columns: {', '.join(dataset.column_names)})."
        )
    return wanted


def _label_column(dataset: Dataset, given: str | None, may_lack: bool) -> str | None:
    named = [name for name, feature in dataset.features.items() if isinstance(feature, ClassLabel)]
    wanted = given or (LABEL if LABEL in dataset.column_names else named[0] if len(named) == 1 else None)
    if wanted not in dataset.column_names:
        if may_lack:
            return None
        raise InputError(
            f"Which column holds the classes cannot be told: there {'is none' if wanted else 'are'} "
            f"{wanted or ', '.join(named) or 'none with names of classes'}. Name one with --label_column_name (all "
            f"columns: {', '.join(dataset.column_names)})."
        )
    feature = dataset.features[wanted]
    if not isinstance(feature, Value | ClassLabel):
        raise InputError(f"--label_column_name: column {wanted!r} holds {feature}; it must hold one class a row.")
    return wanted


def sample_tasks() -> list[str]:
    """The tasks of the bundled sample."""
    return list(CLASSES)
