"""The arguments of `run_image_classification.py`: datasets and folders of pictures, several of them by name."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from ..data.arguments import DataArguments
from ..data.build import Cache
from ..data.files import ONE_TASK
from ..data.images import SAMPLE, ImageSource, Origin, sample_tasks
from ..data.names import check_task_name, split_item, unknown_name
from ..errors import InputError
from ..models.loading import ModelArguments
from ..ranges import Range, check_ranges

_BELOW_1: Range = (lambda x: 0 <= x < 1, "in [0, 1)")


@dataclass
class ImageModelArguments(ModelArguments):
    """Model arguments of `run_image_classification.py`."""

    model_name_or_path: str | None = field(
        default="google/vit-base-patch16-224-in21k",
        metadata={"help": "A model of the Hub, or a local folder; the default is that of Hugging Face's script."},
    )
    image_processor_name: str | None = field(
        default=None, metadata={"help": "Its image processor, if it lies elsewhere."}
    )
    model_type: str | None = field(
        default=None, metadata={"help": "Without effect, as in Hugging Face's script: the model's folder tells it."}
    )
    freeze_batch_norm: bool = field(
        default=False,
        metadata={
            "help": "Normalise by the running statistics that BatchNorm layers were loaded with, while training too."
        },
    )

    # What models of pictures have no use for.
    tokenizer_name: None = field(default=None, init=False)
    trim_vocabulary: bool = field(default=False, init=False)


@dataclass
class ImageArguments(DataArguments):
    """Data arguments of `run_image_classification.py`."""

    problem: ClassVar[str] = "image"
    files_of_splits: ClassVar = {"train": "train_dir", "validation": "validation_dir", "test": "test_dir"}
    sources_combine: ClassVar[bool] = True

    dataset_name: list[str] | None = field(  # type: ignore[assignment]
        default=None,
        metadata={
            "nargs": "+",
            "help": "Datasets of the Hub or local dataset folders, `name=dataset` each where there are several, or "
            "`sample`.",
        },
    )
    dataset_config_name: list[str] | None = field(  # type: ignore[assignment]
        default=None,
        metadata={"nargs": "+", "help": "Their configurations: one for all, or one a task (`svhn=cropped_digits`)."},
    )
    train_dir: list[str] | None = field(
        default=None,
        metadata={
            "nargs": "+",
            "help": "Folders with one folder a class, `name=folder` each where there are several.",
        },
    )
    validation_dir: list[str] | None = field(
        default=None, metadata={"nargs": "+", "help": "Validation pictures, given as `train_dir` is."}
    )
    test_dir: list[str] | None = field(
        default=None,
        metadata={"nargs": "+", "help": "Test pictures, given as `train_dir` is; they may lack folders of classes."},
    )
    train_val_split: float | None = field(
        default=0.15,
        metadata={
            "help": "The share of a task's training pictures to validate on, where it has no others; 0: "
            "its test pictures."
        },
    )
    image_column_name: list[str] | None = field(
        default=None,
        metadata={
            "nargs": "+",
            "help": "The column of pictures of datasets: one for all, or one a task (`cifar=img`). Default: `image`, "
            "or the only one of pictures.",
        },
    )
    label_column_name: list[str] | None = field(
        default=None,
        metadata={
            "nargs": "+",
            "help": "The column of classes of datasets, likewise. Default: `label`, or the only one with names of "
            "classes.",
        },
    )
    split_classes: list[str] | None = field(
        default=None,
        metadata={
            "nargs": "+",
            "help": "Deal a dataset's classes, in their order, to several tasks: `tin=2` makes `tin-1` and `tin-2`.",
        },
    )
    classes: list[str] | None = field(
        default=None,
        metadata={"nargs": "+", "help": "Keep a task's pictures of these classes alone: `animals=cat,dog`."},
    )
    augment: bool = field(
        default=True,
        metadata={"help": "Crop and flip training pictures at random, as Hugging Face's script does."},
    )
    skip_broken_images: bool = field(
        default=False, metadata={"help": "Leave out pictures that cannot be read, and say how many."}
    )

    # What pictures have no use for.
    train_file: None = field(default=None, init=False)
    validation_file: None = field(default=None, init=False)
    test_file: None = field(default=None, init=False)
    eval_dataset: None = field(default=None, init=False)
    task_column: None = field(default=None, init=False)
    num_clusters: None = field(default=None, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(self, [("train_val_split", "", _BELOW_1)])

    @property
    def origins(self) -> dict[str, Origin]:
        """Where each task's pictures come from, before datasets are cut into several.

        Raises:
            InputError: a name that occurs twice or fits no data, or an impossible division.
        """
        datasets = self._datasets()
        folders = {split: self._folders(split) for split in self.files_of_splits}
        names = list(dict.fromkeys([*datasets, *(name for own in folders.values() for name in own)]))
        for name in datasets:
            if any(name in own for own in folders.values()):
                raise InputError(f"--dataset_name and a folder both give the task {name!r}. Give one another name.")
        configs, images, labels, kept, parts = (
            self._by_task(argument, names)
            for argument in (
                "dataset_config_name",
                "image_column_name",
                "label_column_name",
                "classes",
                "split_classes",
            )
        )
        origins = {}
        for name in names:
            origins[name] = Origin(
                dataset=datasets.get(name),
                config=configs.get(name),
                folders={split: own[name] for split, own in folders.items() if name in own},
                image=images.get(name),
                label=labels.get(name),
                parts=_number_of_parts(name, parts.get(name)),
                classes=kept[name].split(",") if name in kept else None,
            )
            if origins[name].parts and origins[name].classes:
                raise InputError(f"--split_classes and --classes both name {name!r}. Leave one of them out.")
        return origins

    def own_source(self, cache: Cache, token: str | bool | None) -> ImageSource:
        """The folders and datasets.

        Raises:
            InputError: there is no such folder.
        """
        for split, name in self.files_of_splits.items():
            for path in self._folders(split).values():
                if not path.is_dir():
                    raise InputError(f"--{name}: `{path}` is no folder. Give one that holds a folder of each class.")
        return ImageSource(self.origins, self.train_val_split or 0, cache, token)

    def names_local(self, split: str) -> bool:
        """As in the parent; validation pictures may be held out of the training ones."""
        return super().names_local(split) or (
            split == "validation" and bool(self.train_dir if self.train_val_split else self.test_dir)
        )

    def dataset_of(self, task: str | None) -> str | None:
        """As in the parent; the parts of a dataset are of that dataset."""
        datasets = self._datasets()
        if task is None or len(datasets) == 1:
            return next(iter(datasets.values())) if len(set(datasets.values())) == 1 else None
        return datasets.get(task, datasets.get(task.rpartition("-")[0]))

    @property
    def number_of_tasks(self) -> int | None:
        """As in the parent: those that are named, with the parts that datasets are cut into."""
        return len(self.languages or ()) or sum(origin.parts or 1 for origin in self.origins.values()) or None

    def _source_in_words(self, split: str) -> str:
        own = [*(self.dataset_name or ()), *(self.local[split] or ())]
        if split == "validation" and not self.validation_dir:
            share = f"{self.train_val_split or 0:.0%}"
            own += (
                [f"{share} of {item}" for item in self.train_dir or ()]
                if self.train_val_split
                else self.test_dir or []
            )
        return " ".join(own) or "no folder"

    def _datasets(self) -> dict[str, str]:
        """The datasets by their tasks' names."""
        found: dict[str, str] = {}
        for item in self.dataset_name or ():
            name, dataset = split_item(item)
            if dataset == SAMPLE and name is not None and name not in sample_tasks():
                raise unknown_name(name, sample_tasks(), "--dataset_name", kind="task of the sample")
            own = sample_tasks() if dataset == SAMPLE and name is None else [name or Path(dataset).name]
            for task in own:
                _add(found, check_task_name(task, f"--dataset_name {item}"), dataset, "--dataset_name")
        return found

    def _folders(self, split: str) -> dict[str, Path]:
        """The folders of a split by their tasks' names."""
        items, argument = self.local[split] or [], f"--{self.files_of_splits[split]}"
        found: dict[str, Path] = {}
        for item in items:
            name, typed = split_item(item)
            path = Path(typed).expanduser()
            task = name if name is not None else ONE_TASK if self._is_one_task else path.resolve().name
            _add(found, check_task_name(task, f"{argument} {item}"), path, argument)
        return found

    @property
    def _is_one_task(self) -> bool:
        """Whether each split is one folder without a name, so that they belong together whatever they are called."""
        return all(len(items or ()) <= 1 for items in self.local.values()) and not self.dataset_name

    def _by_task(self, argument: str, names: Collection[str]) -> dict[str, str]:
        """What an argument gives each task: what is its own, else what has no name."""
        given: Sequence[str] = getattr(self, argument) or ()
        pairs = [item.partition("=") for item in given]
        own = {name: value for name, separator, value in pairs if separator}
        for name in own:
            if name not in names:
                raise unknown_name(name, names, f"--{argument}", kind="task")
        common = [name for name, separator, _ in pairs if not separator]
        if len(own) + len(common) < len(given) or len(common) > 1 or (common and argument in _NEEDS_NAME):
            form = "name=value" if argument in _NEEDS_NAME else "one for all tasks, or name=value"
            raise InputError(f"--{argument} {' '.join(given)}: give {form}, each name once.")
        return {name: own.get(name, common[0] if common else "") for name in names if name in own or common}


_NEEDS_NAME = ("split_classes", "classes")


def _number_of_parts(name: str, given: str | None) -> int | None:
    if given is None:
        return None
    if not given.isdecimal() or not 2 <= int(given) <= 1000:
        raise InputError(f"--split_classes {name}={given}: give a whole number of tasks from 2 on.")
    return int(given)


def _add(found: dict, task: str, value: object, argument: str) -> None:
    if task in found:
        raise InputError(f"{argument}: the task {task!r} occurs twice. Give each a name of its own, `name=…`.")
    found[task] = value
