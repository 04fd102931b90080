"""One text or a pair, with one class of several or a number to predict."""

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from datasets import Dataset
from transformers import (
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    EvalPrediction,
    PreTrainedTokenizerBase,
)
from transformers.trainer_utils import PredictionOutput

from ..data.arguments import DataArguments
from ..data.glue import HEADS
from ..data.text import shown
from ..errors import InputError
from ..metrics.classes import accuracy, f1, matthews_correlation
from ..metrics.correlations import correlations, ranks
from ..metrics.example_sums import ExampleSums, of_class_f1, of_correlation, of_means
from ..models.loading import ModelArguments
from ..scores import Metric
from .label_map import LabelMap, lacking_labels
from .labels import (
    defining_splits,
    labels_by_task,
    predicted_labels,
    task_with_all_labels,
    warn_of_missing_labels,
)
from .problem import IS_CUT, Problem, Splits, Tasks
from .several_heads import several_heads
from .text_arguments import TextClassificationArguments, TextClassificationModelArguments
from .text_columns import TextColumns, check_tasks_named, find_columns, label_column
from .text_features import LABEL_IDS, encode_rows
from .text_heads import heads_by_labels
from .text_labels import (
    NO_LABEL,
    NO_MEANINGS,
    Classes,
    Targets,
    check_spelling,
    class_label_names,
    holds_numbers,
    names_in,
)

logger = logging.getLogger(__name__)

_SCORES = {
    "cola": ("matthews_correlation", "acceptable"),
    "mrpc": ("f1", "equivalent"),
    "qqp": ("f1", "duplicate"),
}
"""What GLUE reports of a task beside accuracy, and of which class."""


class TextClassification(Problem):
    """Turns texts or pairs of them into features, and what the model predicts back into labels.

    All tasks share one head: for classes, or for one number.

    Args:
        tasks: raw datasets by split and task. The training tasks define the labels; without any, all others do.
        args: columns, lengths and padding.

    Raises:
        InputError: columns that are missing or cannot be told; label sets that do not fit together, or names that
            differ in case or surrounding spaces alone; classes beside numbers.
    """

    arguments: ClassVar[type[DataArguments]] = TextClassificationArguments
    model_arguments: ClassVar[type[ModelArguments]] = TextClassificationModelArguments
    auto_model = AutoModelForSequenceClassification
    pipeline_tag = "text-classification"
    metric = Metric("accuracy")
    meanings: ClassVar[Mapping[str, str]] = NO_MEANINGS
    """Names of classes for what labels are written as. Default: each is the name of its own class."""
    known_labels: ClassVar[Sequence[str]] = ()
    """Names of classes that others must be spelled as, and their order where the data has no others."""

    def __init__(self, tasks: Splits, args: Any, args_of_tasks: Mapping[str, Any] | None = None) -> None:
        super().__init__(tasks, args, args_of_tasks)
        self._columns: dict[str, TextColumns] = {}
        self._map = LabelMap.of_tasks(
            args, self.args_of_tasks, list(dict.fromkeys(task for _, task, _ in _each(tasks)))
        )
        for split, task, dataset in _each(tasks):
            if task not in self._columns:
                self._columns[task] = self._find_columns(task, dataset)
            self._columns_of(task, dataset).check(task, dataset, needs_label=split != "test")
        self.problem_type = "regression" if self._are_numbers(tasks) else "single_label_classification"
        if self.is_regression:
            self.metric = Metric("pearson")
            self.without_effect = {"label_smoothing_factor": "the labels are numbers"}
            self.notes = self._notes("Numbers to predict")
            return
        found = labels_by_task(tasks, self._names_in)
        defining = [
            (f"task {task!r}, {split} split", dataset, self._columns_of(task, dataset).label, self._meanings_of(task))
            for split, task, dataset in _each(defining_splits(tasks))
            if self._has_labels(task, dataset)
        ]
        check_spelling(defining, self.known_labels)
        self.labels = common_labels(found, self.known_labels, args.unite_labels or "train" not in tasks)
        if "train" in tasks and len(self.labels) < 2:
            raise InputError(
                f"All training labels are {', '.join(self.labels) or 'missing'}: there is nothing to tell apart. Give "
                f"rows with other labels too."
            )
        self.card_notes = [*self._notes_on_map(tasks), *self._notes_on_union(found)]
        self.notes = [*self._notes(f"{len(self.labels)} classes: {shown(', '.join(self.labels))}"), *self.card_notes]

    @property
    def tasks_are_languages(self) -> bool:  # type: ignore[override]
        """As in the parent."""
        return self._glue_head is None

    @property
    def is_regression(self) -> bool:
        """Whether numbers are predicted, not classes."""
        return self.problem_type == "regression"

    @property
    def metric_names(self) -> Collection[str]:
        """As in the parent."""
        if self.is_regression:
            return {"pearson", "spearmanr"}
        return {"accuracy"} | ({_SCORES[self._glue_head][0]} if self._glue_head in _SCORES else set())

    @classmethod
    def made_of(cls, rows: Splits, args: Any) -> Problem:
        """As in the parent: a problem for each of [`heads`]."""
        heads = cls.heads(rows, args)
        cls.check_labels(rows, args)
        return several_heads(cls, rows, args, heads) if len(set(heads.values())) > 1 else cls(rows, args)

    @classmethod
    def heads(cls, tasks: Splits, args: Any) -> dict[str, str]:
        """The name of the head of each task, of all splits; an instance of the class serves the tasks of one head.

        Each task of GLUE has one of its own, but `mnli-mm` has that of `mnli`. Others share one where their labels fit
        together, as `heads_by_labels` says.

        Raises:
            InputError: a task whose head cannot be told, or a column that is named for a task that there is not.
        """
        names = {task for _, task, _ in _each(tasks)}
        check_tasks_named(args.text_column_names, names, "text_column_names")
        check_tasks_named(args.label_column_name, names, "label_column_name")
        if args.task_names:
            return {task: HEADS.get(task, task) for _, task, _ in _each(tasks)}
        renamed = LabelMap.read(args.label_map, names)
        return heads_by_labels(tasks, args.label_column_name, args.do_regression, renamed, args.unite_labels)

    @classmethod
    def check_labels(cls, tasks: Splits, args: Any, args_of_tasks: Mapping[str, Any] | None = None) -> None:
        """As in the parent."""
        own = args_of_tasks or {}
        if names := LabelMap.of_tasks(args, own, list(dict.fromkeys(task for _, task, _ in _each(tasks)))):
            names.check(cls._count_labels(tasks, args, own))

    @classmethod
    def _count_labels(cls, tasks: Splits, args: Any, args_of_tasks: Mapping[str, Any]) -> dict[str, dict[str, int]]:
        """How many rows of all splits have each label, by task and by its name before it is mapped."""
        counts: dict[str, dict[str, int]] = {}
        for _, task, dataset in _each(tasks):
            column = cls._label_column(task, dataset, args_of_tasks.get(task, args))
            if column in dataset.column_names:
                named, own = class_label_names(dataset, column), counts.setdefault(task, {})
                classes = Classes(named, cls.meanings)
                own |= {name: own.get(name, 0) for name in named or ()}
                for value, number in Counter(dataset[column][:]).items():
                    if (name := classes.name(value)) is not None:
                        own[name] = own.get(name, 0) + number
        return counts

    @classmethod
    def _label_column(cls, task: str, dataset: Dataset, args: Any) -> str:
        return label_column(task, args.label_column_name)

    def text_columns(self, task: str, dataset: Dataset) -> tuple[str, ...]:
        """The column of the one text, or the two of a pair."""
        return self._columns_of(task, dataset).texts

    def encode(self, tasks: Tasks, tokenizer: PreTrainedTokenizerBase, split: str) -> dict[str, Dataset]:
        """Features of each task: `input_ids`, `attention_mask` and `labels`; warnings tell how many are cut.

        Rows whose label is missing (null, empty or `-`, on which annotators did not agree) are told of. They are left
        out; in the test split, which has predictions for all, their label is -100, and without any label that column
        is missing. Where numbers are predicted, one missing is enough for the test split not to be scored.

        Raises:
            InputError: an unknown label, no label at all, or an empty value; names task, split and row.
        """
        is_test = split == "test"
        columns = {task: self._columns_of(task, dataset) for task, dataset in tasks.items()}
        max_length = self._max_length(tokenizer, columns.values())
        padding = "max_length" if self.args.pad_to_max_length else False
        # The tokenizer's first call with new settings changes its state, and with it the cache's key.
        tokenizer(["a"], ["b"], truncation=True, max_length=max_length, padding=padding)
        encoded, unlabelled = {}, {}
        for task, dataset in tasks.items():
            columns[task].check(task, dataset, needs_label=not is_test)
            labels = self._reader(task, dataset, columns[task].label, split)
            rows: Sequence[int] = _labelled_rows(dataset, columns[task].label, labels)
            unlabelled[task] = len(dataset) - len(rows)
            if not rows and not is_test:
                raise InputError(
                    f"Task {task!r}, {split} split: no {columns[task].example} has a label. Fill in the column "
                    f"{columns[task].label!r}."
                )
            if is_test or not unlabelled[task]:
                rows = range(len(dataset))
            encoded[task] = self.map_rows(
                dataset.select(rows),
                encode_rows,
                desc=f"Tokenizing {task} ({split})",
                fn_kwargs={
                    "tokenizer": tokenizer,
                    "columns": columns[task],
                    "labels": labels,
                    "rows_in_data": rows,
                    "where": f"task {task!r}, {split} split",
                    "max_length": max_length,
                    "padding": padding,
                },
            )
        kinds = {one.example for one in columns.values()}
        examples = f"{kinds.pop()}s" if len(kinds) == 1 else "examples"
        self.warn_of_cuts(encoded, split, max_length, tokenizer, examples)
        others = "; nor are the others of these tasks" if self.is_regression else ""
        warn_of_missing_labels(unlabelled, split, sum(map(len, tasks.values())), examples, others)
        if split == "train":
            self._warn_of_few_labels(encoded, examples.removesuffix("s"))
        lacks_some = {task for task, number in unlabelled.items() if number and self.is_regression and is_test}
        lacks_all = {task for task, number in unlabelled.items() if number == len(tasks[task])}
        return {
            task: dataset.remove_columns([IS_CUT, *([LABEL_IDS] if task in lacks_some | lacks_all else [])])
            for task, dataset in encoded.items()
        }

    def collator(self, tokenizer: PreTrainedTokenizerBase) -> DataCollatorWithPadding:
        """Pads examples to the longest of a batch."""
        return DataCollatorWithPadding(tokenizer)

    def scoring(self) -> dict[str, Callable]:
        """The trainer's `compute_metrics`, and `preprocess_logits_for_metrics`, which keeps what is predicted."""
        keep = _predicted_numbers if self.is_regression else predicted_labels
        return {"compute_metrics": self.compute_metrics, "preprocess_logits_for_metrics": keep}

    def compute_metrics(self, prediction: EvalPrediction) -> dict[str, float]:
        """Accuracy, over the examples that have a label; of numbers, Pearson's and Spearman's correlation.

        GLUE's have what GLUE reports beside it: CoLA Matthews' correlation, MRPC and QQP F1.
        """
        predicted, true = np.asarray(prediction.predictions), np.asarray(prediction.label_ids)
        if self.is_regression:
            return correlations(predicted, true)
        scored = true != NO_LABEL
        predicted, true = predicted[scored], true[scored]
        scores = {"accuracy": accuracy(predicted, true)}
        if self.labels is not None and self._glue_head in _SCORES:
            name, positive = _SCORES[self._glue_head]
            score = f1 if name == "f1" else matthews_correlation
            scores[name] = score(predicted, true, list(self.labels).index(positive))
        return scores

    def example_sums(self, prediction: PredictionOutput, features: Dataset) -> ExampleSums | None:
        """As in the parent, of every metric that it has."""
        if prediction.label_ids is None:
            return None
        predicted, true = np.asarray(prediction.predictions), np.asarray(prediction.label_ids)
        if self.is_regression:
            pair = (predicted, true) if self.metric.name == "pearson" else (ranks(predicted), ranks(true))
            return of_correlation(*pair, self.metric.name)
        scored = true != NO_LABEL
        predicted, true = predicted[scored], true[scored]
        if not len(true):
            return None
        if self.metric.name == "accuracy" or self.labels is None:
            return of_means(predicted == true, "accuracy")
        positive = list(self.labels).index(_SCORES[str(self._glue_head)][1])
        if self.metric.name == "f1":
            return of_class_f1(predicted, true, positive)
        return of_correlation(predicted == positive, true == positive, self.metric.name)

    def write_predictions(
        self, folder: Path, stage: str, suffix: str, prediction: PredictionOutput, features: Dataset
    ) -> None:
        """Write the test split's `predict_results{suffix}.txt` as Hugging Face's script does: `index TAB label` lines.

        Numbers have three decimals.
        """
        if stage != "predict":
            return
        values = np.asarray(prediction.predictions).tolist()
        shown = [f"{value:.3f}" if self.labels is None else self.labels[value] for value in values]
        lines = ["index\tprediction\n", *(f"{i}\t{text}\n" for i, text in enumerate(shown))]
        self.predictions_file(folder, suffix).write_text("".join(lines), encoding="utf-8")

    def predictions_file(self, folder: Path, suffix: str) -> Path:
        """Where the test split's predictions are written."""
        return folder / f"predict_results{suffix or (f'_{self._glue_head}' if self._glue_head else '')}.txt"

    @property
    def _glue_head(self) -> str | None:
        """The task of GLUE whose head this is."""
        return HEADS.get(next(iter(self._columns))) if self.args.task_names else None

    def _find_columns(self, task: str, dataset: Dataset) -> TextColumns:
        args = self.args_of(task)
        return find_columns(task, dataset, args.text_column_names, args.label_column_name, [args.task_column])

    def _notes_on_map(self, tasks: Splits) -> list[str]:
        if not self._map:
            return []
        return [self._map.described(self._count_labels(tasks, self.args, self.args_of_tasks), "rows:")]

    def _notes_on_union(self, found: Mapping[str, Sequence[str]]) -> list[str]:
        lacking = lacking_labels(found) if self.args.unite_labels else ""
        return [lacking] if lacking else []

    def _meanings_of(self, task: str) -> Mapping[str, str]:
        return self._map.meanings(task, self.meanings)

    def _notes(self, labels: str) -> list[str]:
        """What was found: a line on labels, and on the columns of texts."""
        by_columns: dict[str, list[str]] = {}
        for task, columns in self._columns.items():
            by_columns.setdefault(" and ".join(columns.texts), []).append(task)
        texts = [f"{columns} ({', '.join(tasks)})" for columns, tasks in by_columns.items()]
        return [f"{labels}. Texts: {'; '.join(texts)}."]

    def _columns_of(self, task: str, dataset: Dataset) -> TextColumns:
        if task in self._columns:
            return self._columns[task]
        # A cluster has the columns of the task that it is a part of.
        known = set(self._columns.values())
        return known.pop() if len(known) == 1 else self._find_columns(task, dataset)

    def _has_labels(self, task: str, dataset: Dataset) -> bool:
        return self._columns_of(task, dataset).label in dataset.column_names

    def _are_numbers(self, tasks: Splits) -> bool:
        """Whether the labels of all tasks are numbers to predict."""
        wanted: bool | None = self.args.do_regression
        if wanted is not None:
            for _, task, dataset in _each(tasks):
                if wanted and class_label_names(dataset, self._columns_of(task, dataset).label):
                    raise InputError(
                        f"Task {task!r} has classes with names, which are no numbers to predict. Leave "
                        f"--do_regression out."
                    )
            return wanted
        kinds = {
            task: holds_numbers(dataset, self._columns_of(task, dataset).label)
            for _, task, dataset in _each(defining_splits(tasks))
            if self._has_labels(task, dataset)
        }
        if len(set(kinds.values())) > 1:
            numbers, classes = (
                next(task for task, is_number in kinds.items() if is_number is of) for of in (True, False)
            )
            raise InputError(
                f"The labels of task {numbers!r} are numbers to predict, those of task {classes!r} are classes: one "
                f"head cannot serve both. Train them apart, or say which they are with --do_regression."
            )
        return any(kinds.values())

    def _names_in(self, task: str, dataset: Dataset) -> list[str]:
        if not self._has_labels(task, dataset):
            return []
        return names_in(dataset, self._columns_of(task, dataset).label, self._meanings_of(task))

    def _reader(self, task: str, dataset: Dataset, column: str, split: str) -> Classes | Targets:
        if self.labels is None:
            return Targets()
        ids = {label: i for i, label in enumerate(self.labels)}
        return Classes(class_label_names(dataset, column), self._meanings_of(task), ids, split == "train")

    def _max_length(self, tokenizer: PreTrainedTokenizerBase, columns: Collection[TextColumns]) -> int:
        # Each text needs a token.
        most = max(len(one.texts) for one in columns)
        taken = tokenizer.num_special_tokens_to_add(pair=most == 2)
        content, example = ("two texts", "pair") if most == 2 else ("a text", "text")
        return self.max_length(tokenizer, taken, content, example, least=most)

    def _warn_of_few_labels(self, encoded: Tasks, example: str) -> None:
        found = {task: set(dataset.unique(LABEL_IDS)) for task, dataset in encoded.items()}
        names = self.labels
        if alike := [f"{task} ({min(ids) if names is None else names[min(ids)]})"
                     for task, ids in found.items() if len(ids) == 1]:  # fmt: skip
            logger.warning(
                "All training %ss of a task have one label, and teach the model nothing else: %s. Where a file is "
                "sorted by label, shuffle it, or take all of it.", example, ", ".join(alike),
            )  # fmt: skip
        if never := [label for i, label in enumerate(names or ()) if not any(i in ids for ids in found.values())]:
            logger.warning("The model has labels that no training %s has: %s.", example, ", ".join(never))


def common_labels(
    labels_by_task: Mapping[str, Sequence[str]], known: Sequence[str] = (), unite: bool = False
) -> list[str]:
    """One label list for all tasks: that of the task with most, or `known` in its order where that holds them all.

    Args:
        labels_by_task: each task's labels.
        known: of a common order.
        unite: take those of all tasks, whatever others lack.

    Raises:
        InputError: two tasks each have a label that the other lacks.
    """
    if unite:
        labels = list(dict.fromkeys(label for own in labels_by_task.values() for label in own))
    else:
        labels = list(dict.fromkeys(labels_by_task[task_with_all_labels(labels_by_task)]))
    return list(known) if set(labels) <= set(known) and known else labels


def _each(tasks: Splits) -> Iterator[tuple[str, str, Dataset]]:
    """Split, task and dataset of each."""
    return ((split, task, dataset) for split, of_split in tasks.items() for task, dataset in of_split.items())


def _labelled_rows(dataset: Dataset, column: str, labels: Classes | Targets) -> list[int]:
    values = dataset[column][:] if column in dataset.column_names else ()
    return [row for row, value in enumerate(values) if labels.is_labelled(value)]


def _predicted_numbers(logits: Any, labels: torch.Tensor) -> torch.Tensor:
    """The one number of each example."""
    return (logits[0] if isinstance(logits, tuple) else logits).squeeze(-1)
