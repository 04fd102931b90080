"""Multiple choice: which of a row's two or more texts ends or answers it?"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import AutoModelForMultipleChoice, EvalPrediction, PreTrainedTokenizerBase
from transformers.trainer_utils import PredictionOutput

from ..data.arguments import DataArguments
from ..errors import InputError
from ..metrics.classes import accuracy
from ..metrics.example_sums import ExampleSums, of_means
from ..scores import Metric
from .choice_features import NUM_CHOICES, ChoiceCollator, choice_loss, encode_choices
from .choice_rows import ChoiceColumns, choice_columns_that_may_be_read, find_choice_columns, is_unlabelled, read_row
from .labels import warn_of_missing_labels
from .problem import IS_CUT, Problem, Splits, Tasks
from .text_features import LABEL_IDS
from .text_labels import NO_LABEL


@dataclass
class MultipleChoiceArguments(DataArguments):
    """Data arguments of multiple choice."""

    context_column_name: str | None = field(
        default=None,
        metadata={"help": "The column of contexts. Default: `context`, `premise`, `ctx` or `sent1`, if there is one."},
    )
    question_column_name: str | None = field(
        default=None, metadata={"help": "The column of questions. Default: `question` or `sent2`, if there is one."}
    )
    choices_column_names: list[str] | None = field(
        default=None,
        metadata={
            "nargs": "+",
            "help": "The column of lists of choices, or several columns of one choice each. Default: `choices`, "
            "`endings` or `options`, or numbered ones such as `choice1 choice2`.",
        },
    )
    label_column_name: str | None = field(
        default=None, metadata={"help": "The column of labels. Default: `label` or `answerKey`."}
    )
    max_seq_length: int | None = field(
        default=None,
        metadata={"help": "Subwords after which a context with a choice is cut. Default: what the model takes."},
    )
    pad_to_max_length: bool = field(
        default=False, metadata={"help": "Pad every choice to the maximum, not to the longest of its batch."}
    )

    @property
    def columns_read(self) -> frozenset[str]:
        """As in the parent."""
        names = (self.context_column_name, self.question_column_name, self.choices_column_names)
        found = choice_columns_that_may_be_read(*names, self.label_column_name)
        return found | ({self.task_column} if self.task_column else set())


class MultipleChoice(Problem):
    """Turns rows of two or more choices into features, and what the model predicts into the numbers of choices.

    Rows may have different numbers of choices. A batch is as large as all of its choices: memory grows with their
    number.

    Args:
        tasks: raw datasets by split and task.
        args: columns, lengths and padding.

    Raises:
        InputError: columns that are missing or cannot be told.
    """

    arguments = MultipleChoiceArguments
    auto_model = AutoModelForMultipleChoice
    pipeline_tag = "multiple-choice"
    metric = Metric("accuracy")
    without_effect: Mapping[str, str] = {"label_smoothing_factor": "the loss over the choices smooths no labels"}

    def __init__(
        self,
        tasks: Splits,
        args: MultipleChoiceArguments,
        args_of_tasks: Mapping[str, MultipleChoiceArguments] | None = None,
    ) -> None:
        super().__init__(tasks, args, args_of_tasks)
        for split, of_split in tasks.items():
            for task, dataset in of_split.items():
                self._columns(task, dataset, needs_label=split != "test")

    @property
    def metric_names(self) -> Collection[str]:
        """As in the parent."""
        return {"accuracy"}

    def text_columns(self, task: str, dataset: Dataset) -> tuple[str, ...]:
        """The columns of contexts, questions and choices."""
        columns = self._columns(task, dataset)
        return tuple(name for name in (columns.context, columns.question, *columns.choices) if name is not None)

    def texts(self, tasks: Splits) -> set[str]:
        """As in the parent; what is written out, and each choice with its question, as the model reads them."""
        return {
            text
            for split, of_split in tasks.items()
            for task, dataset in of_split.items()
            for number, row in enumerate(dataset, 1)
            for text in read_row(row, self._columns(task, dataset), f"{_where(task, split)}, row {number}").texts
        }

    def encode(self, tasks: Tasks, tokenizer: PreTrainedTokenizerBase, split: str) -> dict[str, Dataset]:
        """Features of each task: the inputs of all choices, `labels` and `num_choices`; a warning tells of cuts.

        Rows whose label is missing (null, empty, `-` or -1) are told of. They are left out; in the test split, which
        has predictions for all, their label is -100, and without any label that column is missing.

        Raises:
            InputError: a row without a list of at least two choices, an empty text, or a label that means none of
                them; names task, split and row.
        """
        taken = tokenizer.num_special_tokens_to_add(pair=True)
        max_length = self.max_length(tokenizer, taken, "a context and a choice", "choice", least=2)
        padding = "max_length" if self.args.pad_to_max_length else False
        # The tokenizer's first call with new settings changes its state, and with it the cache's key.
        tokenizer(["a"], ["b"], truncation=True, max_length=max_length, padding=padding)
        encoded, unlabelled = {}, {}
        for task, dataset in tasks.items():
            columns = self._columns(task, dataset, needs_label=split != "test")
            labels = dataset[columns.label][:] if columns.label in dataset.column_names else ()
            labelled = [i for i, label in enumerate(labels) if not is_unlabelled(label)]
            unlabelled[task] = len(dataset) - len(labelled)
            if not labelled and split != "test":
                raise InputError(
                    f"Task {task!r}, {split} split: no row has a label. Fill in the column {columns.label!r}."
                )
            kept = range(len(dataset)) if split == "test" else labelled
            encoded[task] = self.map_rows(
                dataset.select(kept),
                encode_choices,
                desc=f"Tokenizing {task} ({split})",
                fn_kwargs={
                    "tokenizer": tokenizer,
                    "columns": columns,
                    "rows_in_data": kept,
                    "where": _where(task, split),
                    "max_length": max_length,
                    "padding": padding,
                },
            )
        self.warn_of_cuts(encoded, split, max_length, tokenizer, "rows with choices")
        warn_of_missing_labels(unlabelled, split, sum(map(len, tasks.values())), "rows")
        without = {task: [LABEL_IDS] for task, number in unlabelled.items() if number == len(tasks[task])}
        return {task: dataset.remove_columns([IS_CUT, *without.get(task, ())]) for task, dataset in encoded.items()}

    def collator(self, tokenizer: PreTrainedTokenizerBase) -> ChoiceCollator:
        """Pads choices to the longest of a batch, and rows to the most choices."""
        return ChoiceCollator(tokenizer)

    def scoring(self) -> dict[str, Callable]:
        """The trainer's loss and `compute_dataset_metrics`, which leave out what a batch was filled up with."""
        return {
            "compute_batch_loss": choice_loss,
            "compute_dataset_metrics": self.compute_metrics,
            "preprocess_logits_for_metrics": _logits,
        }

    def compute_metrics(self, prediction: EvalPrediction, dataset: Dataset) -> dict[str, float]:
        """Accuracy, over the rows that have a label; none without any."""
        if prediction.label_ids is None:
            return {}
        true = np.asarray(prediction.label_ids)
        scored = true != NO_LABEL
        return {"accuracy": accuracy(predicted_choices(prediction.predictions, dataset)[scored], true[scored])}

    def example_sums(self, prediction: PredictionOutput, features: Dataset) -> ExampleSums | None:
        """As in the parent."""
        if prediction.label_ids is None:
            return None
        true = np.asarray(prediction.label_ids)
        scored = true != NO_LABEL
        right = predicted_choices(prediction.predictions, features)[scored] == true[scored]
        return of_means(right, "accuracy") if len(right) else None

    def write_predictions(
        self, folder: Path, stage: str, suffix: str, prediction: PredictionOutput, features: Dataset
    ) -> None:
        """Write the test split's `predictions{suffix}.txt`: `index TAB number` lines, choices counted from 0."""
        if stage != "predict":
            return
        lines = [f"{i}\t{choice}\n" for i, choice in enumerate(predicted_choices(prediction.predictions, features))]
        text = "".join(["index\tprediction\n", *lines])
        (folder / f"predictions{suffix}.txt").write_text(text, encoding="utf-8")

    def _columns(self, task: str, dataset: Dataset, needs_label: bool = False) -> ChoiceColumns:
        args = self.args_of(task)
        names = (args.context_column_name, args.question_column_name, args.choices_column_names)
        label = args.label_column_name if needs_label or args.label_column_name in dataset.column_names else None
        columns = find_choice_columns(task, dataset, *names, label)
        if needs_label and columns.label not in dataset.column_names:
            raise InputError(
                f"The data of task {task!r} has no column {columns.label!r}, only {dataset.column_names}. Name the "
                f"column of labels with --label_column_name."
            )
        return columns


def predicted_choices(logits: Any, dataset: Dataset) -> np.ndarray:
    """The number of the likeliest choice of each row, among those that the row has.

    Args:
        logits: (rows, at least as many as the most choices).
        dataset: the features, with `num_choices`.
    """
    logits = np.asarray(logits)
    exists = np.arange(logits.shape[1]) < np.asarray(dataset[NUM_CHOICES][:])[:, None]
    return np.where(exists, logits, -np.inf).argmax(axis=1)


def _where(task: str, split: str) -> str:
    return f"task {task!r}, {split} split"


def _logits(logits: Any, labels: torch.Tensor) -> torch.Tensor:
    """Of the choices, without the model's other outputs."""
    return logits[0] if isinstance(logits, tuple) else logits
