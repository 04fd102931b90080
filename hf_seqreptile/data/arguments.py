"""Which examples to load: the arguments that every script shares."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from numbers import Integral
from os import PathLike
from typing import Any, ClassVar

from ..errors import InputError
from .build import Cache
from .formats import Reading
from .source import Source


@dataclass
class DataArguments:
    """Where the examples of each task come from, and how many of them to use.

    A problem's own arguments subclass this and say in class attributes what its data looks like. In Python, an
    argument that takes several values also takes one (`train_file="de.conllu"`, `max_train_samples=30`), or a dict by
    task (`max_train_samples={"de": 6000}`).

    Raises:
        InputError: a value of another type.
    """

    problem: ClassVar[str] = ""
    """Which bundled sample `--dataset_name sample` means: `ner`, `qa` or `nli`. Default: none."""

    list_columns: ClassVar[tuple[str, ...]] = ()
    """Columns whose values are lists, one item a word; a CSV file writes them as text. Default: none."""

    id_names_task: ClassVar[bool] = False
    """Whether ids such as `swahili-17-2` name each example's task, where nothing else does. Default: no."""

    stock_names: ClassVar[Mapping[str, str]] = {}
    """Arguments of the stock trainer that serve no script, and which of these they mean there. Default: none."""

    files_of_splits: ClassVar[Mapping[str, str]] = {
        "train": "train_file", "validation": "validation_file", "test": "test_file"
    }  # fmt: skip
    """The argument that names the local data of each split."""

    sources_combine: ClassVar[bool] = False
    """Whether some tasks may come from `dataset_name` and others from local data. Default: no."""

    dataset_name: str | None = field(
        default=None,
        metadata={"help": "A dataset of the Hugging Face Hub, a local dataset folder, or `sample` (bundled)."},
    )
    dataset_config_name: str | None = field(
        default=None,
        metadata={"help": "The dataset's configuration. Default: one a language, named as the language."},
    )
    train_file: list[str] | None = field(
        default=None,
        metadata={
            "nargs": "+",
            "help": "Training files, `name=path` each (CoNLL, json, jsonl, csv, parquet), or a folder of them.",
        },
    )
    validation_file: list[str] | None = field(
        default=None, metadata={"nargs": "+", "help": "Validation files, given as `train_file` is."}
    )
    test_file: list[str] | None = field(
        default=None, metadata={"nargs": "+", "help": "Test files, given as `train_file` is."}
    )
    eval_dataset: str | None = field(
        default=None,
        metadata={
            "help": "A dataset of the Hub, a local folder or `sample` to validate and test on, where they lie "
            "elsewhere than the training data, which `dataset_config_name` and `task_column` are about then."
        },
    )
    languages: list[str] | None = field(
        default=None, metadata={"nargs": "+", "help": "Tasks to train on. Default: every task that the data names."}
    )
    eval_languages: list[str] | None = field(
        default=None,
        metadata={
            "nargs": "+",
            "help": "Tasks to evaluate on, zero-shot where not trained on. Default: `languages`; without them, all "
            "tasks of `validation_file` and of `test_file`; with `eval_dataset`, all of its tasks.",
        },
    )
    task_column: str | None = field(
        default=None, metadata={"help": "The column that names each example's task, where one dataset holds them all."}
    )
    num_clusters: int | None = field(
        default=None,
        metadata={
            "help": "Split the one training task into this many tasks by clustering, as the paper does with English "
            "data. Default: do not."
        },
    )
    max_train_samples: list[str] | None = field(
        default=None,
        metadata={"nargs": "+", "help": "Use only the first examples of each task: `6000`, or `de=6000 nl=200`."},
    )
    max_eval_samples: list[str] | None = field(
        default=None, metadata={"nargs": "+", "help": "The same for validation."}
    )
    max_predict_samples: list[str] | None = field(default=None, metadata={"nargs": "+", "help": "The same for test."})
    overwrite_cache: bool = field(default=False, metadata={"help": "Preprocess again, whatever is cached."})
    preprocessing_num_workers: int | None = field(
        default=None, metadata={"help": "Processes that preprocess. Default: one."}
    )

    def __post_init__(self) -> None:
        for one in fields(self):
            if one.metadata.get("nargs") == "+":
                setattr(self, one.name, _items(one.name, getattr(self, one.name)))

    def own_source(self, cache: Cache, token: str | bool | None) -> Source | None:
        """Where the problem's examples come from, if not from what all scripts take. Default: nowhere else."""
        return None

    @property
    def local(self) -> dict[str, list[str] | None]:
        """The local data of each split, as the user named it."""
        return {split: getattr(self, name) for split, name in self.files_of_splits.items()}

    def names_local(self, split: str) -> bool:
        """Whether the local data has examples of a split."""
        return self.local[split] is not None

    def dataset_of(self, task: str | None) -> str | None:
        """What a task's data, or with `None` all of it, is called: as given by the user, `None` for local files."""
        return self.dataset_name

    @property
    def number_of_tasks(self) -> int | None:
        """How many tasks will be trained on, as far as the arguments tell."""
        return self.num_clusters or len(self.languages or ()) or None

    def described(self, split: str) -> list[tuple[str, str]]:
        """For a dry run: where the examples of a split come from, a title and a text each."""
        return [(split, f"{self._source_in_words(split)}: {self._tasks_in_words(split)}")]

    def _source_in_words(self, split: str) -> str:
        if split != "train" and self.eval_dataset:
            return self.eval_dataset
        if self.dataset_name is None:
            return " ".join(self.local[split] or ["no file"])
        config = self.dataset_config_name
        return self.dataset_name + (f" ({config})" if config else "")

    def _tasks_in_words(self, split: str) -> str:
        every = "every task that it names"
        if split == "train":
            clusters = f" in {self.num_clusters} clusters" if self.num_clusters is not None else ""
            return ", ".join(self.languages or [every]) + clusters
        if self.eval_languages or self.eval_dataset:
            return ", ".join(self.eval_languages or [every])
        return ", ".join(self.languages or [every if self.local[split] else "the tasks of the training data"])

    @property
    def reading(self) -> Reading:
        """What files are to be read as."""
        return Reading(self.list_columns, columns=self.columns_read)

    @property
    def columns_read(self) -> frozenset[str] | None:
        """The columns that may be read, whatever else there is. Default: `None`, all may."""
        return None


def _items(name: str, value: Any) -> list[str] | None:
    """The items of an argument as the command line gives them."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        return [f"{task}={item}" for task, own in value.items() for item in _items(name, own) or ()]
    if isinstance(value, str | PathLike) or (isinstance(value, Integral) and not isinstance(value, bool)):
        return [str(value)]
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        return [item for one in value for item in _items(name, one) or ()]
    raise InputError(f"{name} is {value!r}; give a text, a list of them, or a dict by task.")
