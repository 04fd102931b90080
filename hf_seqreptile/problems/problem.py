"""What a script needs to know about a problem, which is a kind of task."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from datasets import Dataset
from transformers import PreTrainedConfig, PreTrainedTokenizerBase
from transformers.trainer_utils import PredictionOutput

from ..data import DataArguments
from ..data.load import check_data_arguments, load_all_rows, take_samples
from ..errors import InputError
from ..metrics.example_sums import ExampleSums
from ..models.class_head import add_unpredicted, label_names
from ..models.loading import ModelArguments, ProblemType, has_head, load_model
from ..scores import Metric

logger = logging.getLogger(__name__)

Tasks = Mapping[str, Dataset]
"""A dataset for each task, by name."""
Splits = Mapping[str, Tasks]
"""The tasks of each split: `train`, `validation`, `test`."""
Counts = Mapping[str, Mapping[str, Mapping[str, int]]]
"""Numbers by split, task and name."""
NO_COUNTS: Counts = {}
IS_CUT = "is_cut"
"""The column of features that tells whether the model sees only a part of an example."""
CUT = "cut_examples"
"""The count of such examples."""


class Problem(ABC):
    """Turns the raw tasks of one problem into features, and what the model predicts into scores and files.

    Args:
        tasks: raw datasets by split and task.
        args: an instance of the class's `arguments`.
        args_of_tasks: a task's own, where its data has other columns or names. Default: `args`.

    Raises:
        InputError: data that does not fit the problem.
    """

    arguments: ClassVar[type[DataArguments]]
    model_arguments: ClassVar[type[ModelArguments]] = ModelArguments
    auto_model: ClassVar[Any]
    """The `AutoModelFor…` that serves it."""
    pipeline_tag: ClassVar[str]
    """The problem, as the Hub names it."""
    metric: Metric
    """The one shown in tables and plots; of the class, what a run had before its scores named theirs."""
    has_evaluation_loss: ClassVar[bool] = True
    """Whether an evaluation reports the loss."""
    without_effect: Mapping[str, str] = {}
    """Arguments of the stock trainer that would have no effect on the problem, and why; of the class, those that have
    none whatever the data is."""

    labels: Sequence[str] | None = None
    """Names of the classes, in the order of their ids; `None` where there are none."""
    task_arguments: Mapping[str, Sequence[str]] = {}
    """Training arguments by task, `en=1`, that the data's own description gives."""
    tasks_are_languages: bool = True
    """Whether a task called `de` is the problem in German; those of a benchmark, `rte`, are not."""
    problem_type: ProblemType | None = None
    """What a model of sequences chooses its loss by, as `load_model` takes it."""
    notes: Sequence[str] = ()
    """What a run says of the data, a line each, such as what was recognised in them."""
    card_notes: Sequence[str] = ()
    """Those that a model card has too: what was done with the data's labels."""
    counts: Counts = NO_COUNTS
    """What was counted when features were made, such as what lies behind cuts, by split, task and name."""

    @abstractmethod
    def __init__(self, tasks: Splits, args: Any, args_of_tasks: Mapping[str, Any] | None = None) -> None:
        self.args = args
        self.args_of_tasks = dict(args_of_tasks or {})

    def args_of(self, task: str) -> Any:
        """The arguments that say where the task's data has what."""
        return self.args_of_tasks.get(task, self.args)

    def count(self, split: str, task: str, name: str, number: int) -> None:
        """Take a count into the results of a task, as `eval_TASK_NAME`, and, unless it is 0, into the model card."""
        of_split = self.counts.get(split, {})
        self.counts = {**self.counts, split: {**of_split, task: {**of_split.get(task, {}), name: number}}}

    @classmethod
    def check(cls, args: Any, splits: Sequence[str]) -> None:
        """Refuse arguments that no data could make sense of; nothing is loaded.

        Args:
            args: an instance of the class's `arguments`.
            splits: which are to be loaded.

        Raises:
            InputError: as said.
        """
        check_data_arguments(args, splits)

    @classmethod
    def read(
        cls, args: Any, splits: Sequence[str], cache_dir: str | None = None, token: str | bool | None = None
    ) -> tuple["Problem", Splits]:
        """The problem and the raw tasks that arguments name.

        Args:
            args: an instance of the class's `arguments`.
            splits: which to load.
            cache_dir: where prepared data is kept. Default: the cache of `datasets`.
            token: for private datasets of the Hub. Default: the one logged in with.

        Raises:
            InputError: data that cannot be read, or does not fit the problem.
        """
        rows = load_all_rows(args, splits, cache_dir=cache_dir, token=token)
        # All rows tell the labels, however few of them are used.
        return cls.made_of(rows, args), take_samples(rows, args)

    @classmethod
    def made_of(cls, rows: Splits, args: Any) -> "Problem":
        """The problem of tasks, whose rows say whether they share one head. Default: they do."""
        return cls(rows, args)

    @classmethod
    def check_labels(cls, tasks: Splits, args: Any, args_of_tasks: Mapping[str, Any] | None = None) -> None:
        """Refuse what the arguments say of labels that no task has. Default: nothing is said.

        Args:
            tasks: all rows, by split and task.
            args: an instance of the class's `arguments`.
            args_of_tasks: a task's own.
        """
        return

    def of_run(self, tasks: Splits) -> "Problem":
        """The problem of a run on some of the tasks."""
        return self

    def of_task(self, task: str) -> "Problem":
        """The problem of one task, by which it is scored and its files are written."""
        return self

    def load_model(
        self, args: ModelArguments, texts: Callable[[], Iterable[str]], will_train: bool = True
    ) -> tuple[Any, Any]:
        """The model with a head for the problem, and its tokenizer; the problem takes up the labels of the model.

        Args:
            args: which model.
            texts: gives the tasks' texts, for `trim_vocabulary`.
            will_train: whether the head can still learn other labels.

        Raises:
            InputError: no such model, or one that does not fit.
        """
        model, tokenizer = load_model(self.auto_model, args, self.labels, texts, will_train, self.problem_type)
        if self.labels is not None:
            if not will_train:
                add_unpredicted(model, self.labels_beside(label_names(model.config)))
            self.use_labels(label_names(model.config))
        return model, tokenizer

    def has_head(self, config: PreTrainedConfig) -> bool:
        """Whether a model of this configuration has a head for the problem, with the same labels."""
        return has_head(config, self.auto_model, self.labels, self.problem_type)

    def for_trainer(self, tokenizer: Any) -> dict[str, Any]:
        """What a trainer is given beside model, arguments and features."""
        return {"processing_class": tokenizer, "data_collator": self.collator(tokenizer), **self.scoring()}

    def head_of(self, task: str) -> str | None:
        """The folder of the model that serves the task, within the output folder; `None` for that folder itself."""
        return None

    @property
    @abstractmethod
    def metric_names(self) -> Collection[str]:
        """Under which names an evaluation may report the scores of a task; the loss is not among them."""

    def use_labels(self, labels: Sequence[str]) -> None:
        """Take the model's labels, which may be in another order, or more."""
        self.labels = labels

    def labels_beside(self, labels: Sequence[str]) -> list[str]:
        """Those that a model with `labels` can be scored on, though it knows none of them. Default: none."""
        return []

    @abstractmethod
    def text_columns(self, task: str, dataset: Dataset) -> tuple[str, ...]:
        """The columns of a task's raw dataset that hold its texts, as strings or as lists of words."""

    def texts(self, tasks: Splits) -> set[str]:
        """All distinct texts, or words, of all splits and tasks."""
        named = [item for split in tasks.values() for item in split.items()]
        return {
            text
            for task, dataset in named
            for column in self.text_columns(task, dataset)
            for text in distinct(dataset, column)
        }

    @abstractmethod
    def encode(self, tasks: Tasks, tokenizer: PreTrainedTokenizerBase, split: str) -> dict[str, Dataset]:
        """The features of each task of a split; what is wrong with a row is an InputError that names it."""

    def max_length(
        self, tokenizer: PreTrainedTokenizerBase, special: int, content: str, example: str, least: int = 1
    ) -> int:
        """Tokens of an example at most: `max_seq_length`, by default 512, or what the model takes if that is less.

        Args:
            tokenizer: knows what the model takes.
            special: tokens that the model adds to an example.
            content: what the others are of, for messages.
            example: what an example is called there.
            least: tokens of content that an example must have room for.

        Raises:
            InputError: there is no such room.
        """
        wanted, possible = self.args.max_seq_length, tokenizer.model_max_length
        if wanted is None:
            return min(possible, 512)
        if wanted < special + least:
            raise InputError(
                f"--max_seq_length {wanted} leaves no room for {content}: this model adds {special} tokens of its own "
                f"to each {example}."
            )
        if wanted > possible:
            logger.warning("--max_seq_length %d is more than the model takes; %d is used.", wanted, possible)
        return min(wanted, possible)

    def warn_of_cuts(
        self,
        encoded: Tasks,
        split: str,
        max_length: int,
        tokenizer: PreTrainedTokenizerBase,
        examples: str,
        lost: str = "",
    ) -> None:
        """Count the examples that the model sees only a part of, and warn once of all of a split, if there are any.

        Args:
            encoded: features with the column `is_cut`.
            split: their split.
            max_length: tokens after which an example is cut.
            tokenizer: knows what the model takes.
            examples: what the examples are called.
            lost: what else to say, such as what was cut off.
        """
        of_tasks = {task: sum(dataset[IS_CUT][:]) for task, dataset in encoded.items()}
        for task, number in of_tasks.items():
            self.count(split, task, CUT, number)
        cut = sum(of_tasks.values())
        if cut:
            limit = "--max_seq_length" if max_length < tokenizer.model_max_length else "all that the model takes"
            every = sum(map(len, encoded.values()))
            logger.warning(
                "%s: %s longer than %d tokens (%s), which are cut: %d of %d%s.",
                split, examples, max_length, limit, cut, every, lost,
            )  # fmt: skip

    def map_rows(self, dataset: Dataset, function: Callable, desc: str, **settings: Any) -> Dataset:
        """`dataset.map` of batches and their rows' numbers to features alone, as the arguments want it."""
        return dataset.map(
            function,
            batched=True,
            with_indices=True,
            remove_columns=dataset.column_names,
            num_proc=self.args.preprocessing_num_workers,
            load_from_cache_file=not self.args.overwrite_cache,
            desc=desc,
            **settings,
        )

    @abstractmethod
    def collator(self, tokenizer: PreTrainedTokenizerBase) -> Callable[[list[Any]], Any]:
        """Makes batches of features, padded to the longest."""

    @abstractmethod
    def scoring(self) -> dict[str, Callable]:
        """The trainer's arguments for metrics and loss: `compute_metrics` and what goes with it."""

    def example_sums(self, prediction: PredictionOutput, features: Dataset) -> ExampleSums | None:
        """What each example of one task adds to its main metric. Default: `None`, it is not known.

        Args:
            prediction: of the task, with labels.
            features: that were predicted.
        """
        return None

    def write_predictions(  # noqa: B027
        self, folder: Path, stage: str, suffix: str, prediction: PredictionOutput, features: Dataset
    ) -> None:
        """Write one task's predictions. Default: no files.

        Args:
            folder: where to.
            stage: `eval` for the validation split, `predict` for the test split.
            suffix: ends the files' names: `_sw`, or empty where there is one task.
            prediction: of the task.
            features: that were predicted.
        """


def distinct(dataset: Dataset, column: str) -> list[str]:
    """The distinct strings in a column of strings, or of lists of them."""
    values = dataset.select_columns(column).with_format("arrow")[:][column].combine_chunks()
    return (values.flatten() if hasattr(values, "flatten") else values).unique().drop_null().to_pylist()
