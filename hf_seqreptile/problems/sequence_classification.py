"""Natural language inference: does the premise entail the hypothesis, contradict it, or neither?"""

import logging
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from datasets import ClassLabel, Dataset, Value
from transformers import (
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    EvalPrediction,
    PreTrainedTokenizerBase,
)
from transformers.trainer_utils import PredictionOutput

from ..data.arguments import DataArguments
from ..data.text import shown
from ..errors import InputError
from ..models.loading import ModelArguments
from ..scores import Metric
from .labels import (
    defining_splits,
    labels_by_task,
    mend_of_unknown,
    misspelled,
    predicted_labels,
    same_but_for_case,
    task_with_all_labels,
)
from .problem import IS_CUT, Problem, Splits, Tasks

TEXTS = ("premise", "hypothesis")
LABEL = "label"
LABEL_IDS = "labels"
"""The column of features, as models call it."""
NO_LABEL = -100
NLI_LABELS = ["entailment", "neutral", "contradiction"]
"""The meaning of 0, 1 and 2 in MNLI and XNLI."""
XNLI = "facebook/xnli"

logger = logging.getLogger(__name__)

_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_MEANINGS = {float(number): name for number, name in enumerate(NLI_LABELS)}


@dataclass
class SequenceClassificationModelArguments(ModelArguments):
    """Model arguments of `run_xnli.py`."""

    do_lower_case: bool | None = field(
        default=None, metadata={"help": "Whether the tokenizer turns text into lower case. Default: as it was saved."}
    )
    use_fast_tokenizer: bool = field(
        default=True, metadata={"help": "Without effect: transformers 5 has fast tokenizers only."}
    )

    def tokenizer_options(self) -> dict[str, Any]:
        """As in the parent."""
        return {} if self.do_lower_case is None else {"do_lower_case": self.do_lower_case}


@dataclass
class SequenceClassificationArguments(DataArguments):
    """Data arguments of `run_xnli.py`. Without any data named, the dataset is XNLI on the Hub."""

    problem: ClassVar[str] = "nli"

    language: str | None = field(
        default=None,
        metadata={"help": "Language to evaluate on and, without `train_language`, to train on (Hugging Face's name)."},
    )
    train_language: str | None = field(
        default=None, metadata={"help": "Language to train on (Hugging Face's name for one of `languages`)."}
    )
    max_seq_length: int | None = field(
        default=128, metadata={"help": "Subwords after which the longer of the two texts is cut."}
    )
    pad_to_max_length: bool = field(
        default=False, metadata={"help": "Pad every pair to the maximum, not to the longest of its batch."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        train_language = self.train_language or self.language
        if train_language and self.languages:
            given = "train_language" if self.train_language else "language"
            raise InputError(f"--languages and --{given} both name the training languages. Leave one of them out.")
        if self.language and self.eval_languages:
            raise InputError("--eval_languages and --language both name what to evaluate on. Leave one of them out.")
        self.languages = [train_language] if train_language else self.languages
        self.eval_languages = [self.language] if self.language else self.eval_languages
        if not (self.dataset_name or self.train_file or self.validation_file or self.test_file):
            self.dataset_name = XNLI


class SequenceClassification(Problem):
    """Turns raw pairs of texts into features, and predictions back into labels.

    Args:
        tasks: raw datasets by split and task. The training tasks define the labels; without any, all others do.
        args: lengths and padding.

    Raises:
        InputError: missing columns, labels without names, label sets that do not fit together, or names that differ in
            case or surrounding spaces alone.
    """

    arguments = SequenceClassificationArguments
    model_arguments = SequenceClassificationModelArguments
    auto_model = AutoModelForSequenceClassification
    pipeline_tag = "text-classification"
    metric = Metric("accuracy")
    labels: Sequence[str]

    def __init__(self, tasks: Splits, args: SequenceClassificationArguments) -> None:
        super().__init__(tasks, args)
        found = labels_by_task(tasks, _labels_of)
        _check_spelling(defining_splits(tasks))
        self.labels = common_labels(found)

    def text_columns(self, task: str, dataset: Dataset) -> tuple[str, ...]:
        """`premise` and `hypothesis`, after checking that they hold texts."""
        _check_columns(task, dataset)
        return TEXTS

    def encode(self, tasks: Tasks, tokenizer: PreTrainedTokenizerBase, split: str) -> dict[str, Dataset]:
        """Features of each task: `input_ids`, `attention_mask` and `labels`; warnings tell how many pairs are cut.

        Pairs whose label is missing (null, empty or `-`, on which annotators did not agree) are told of. They are left
        out; in the test split, which has predictions for all, their label is -100, and without any label that column
        is missing.

        Raises:
            InputError: an unknown label, no label at all, or an empty value; names task, split and row.
        """
        # Each of the two texts needs a token.
        taken = tokenizer.num_special_tokens_to_add(pair=True)
        max_length = self.max_length(tokenizer, taken, "two texts", "pair", least=2)
        padding = "max_length" if self.args.pad_to_max_length else False
        # The tokenizer's first call with new settings changes its state, and with it the cache's key.
        tokenizer(["a"], ["b"], truncation=True, max_length=max_length, padding=padding)
        encoded, unlabelled = {}, {}
        for task, dataset in tasks.items():
            _check_columns(task, dataset)
            rows: Sequence[int] = _labelled_rows(dataset)
            unlabelled[task] = len(dataset) - len(rows)
            if not rows and split != "test":
                raise InputError(f"Task {task!r}, {split} split: no pair has a label. Fill in the column {LABEL!r}.")
            if split == "test" or not unlabelled[task]:
                rows = range(len(dataset))
            encoded[task] = self.map_rows(
                dataset.select(rows),
                _encode_rows,
                desc=f"Tokenizing {task} ({split})",
                fn_kwargs={
                    "tokenizer": tokenizer,
                    "names": _names(dataset),
                    "rows_in_data": rows,
                    "for_training": split == "train",
                    "label2id": {label: i for i, label in enumerate(self.labels)},
                    "where": f"task {task!r}, {split} split",
                    "max_length": max_length,
                    "padding": padding,
                },
            )
        self.warn_of_cuts(encoded, split, max_length, tokenizer, "pairs")
        _warn_of_missing_labels(unlabelled, split, sum(map(len, tasks.values())))
        if split == "train":
            self._warn_of_few_labels(encoded)
        without = {task: [LABEL_IDS] for task, number in unlabelled.items() if number == len(tasks[task])}
        return {task: dataset.remove_columns([IS_CUT, *without.get(task, ())]) for task, dataset in encoded.items()}

    def collator(self, tokenizer: PreTrainedTokenizerBase) -> DataCollatorWithPadding:
        """Pads pairs to the longest of a batch."""
        return DataCollatorWithPadding(tokenizer)

    def scoring(self) -> dict[str, Callable]:
        """The trainer's `compute_metrics`, and `preprocess_logits_for_metrics`, which keeps the likeliest label."""
        return {"compute_metrics": self.compute_metrics, "preprocess_logits_for_metrics": predicted_labels}

    @property
    def metric_names(self) -> Collection[str]:
        """As in the parent."""
        return {"accuracy"}

    def compute_metrics(self, prediction: EvalPrediction) -> dict[str, float]:
        """Accuracy, over the pairs that have a label."""
        predicted, true = np.asarray(prediction.predictions), np.asarray(prediction.label_ids)
        return {"accuracy": float(np.mean((predicted == true)[true != NO_LABEL]))}

    def write_predictions(
        self, folder: Path, stage: str, suffix: str, prediction: PredictionOutput, features: Dataset
    ) -> None:
        """Write the test split's `predictions{suffix}.txt`: `index TAB label` lines, as Hugging Face's script does."""
        if stage != "predict":
            return
        lines = [f"{i}\t{self.labels[label]}\n" for i, label in enumerate(np.asarray(prediction.predictions))]
        text = "".join(["index\tprediction\n", *lines])
        (folder / f"predictions{suffix}.txt").write_text(text, encoding="utf-8")

    def _warn_of_few_labels(self, encoded: Tasks) -> None:
        found = {task: set(dataset.unique(LABEL_IDS)) for task, dataset in encoded.items()}
        if alike := [f"{task} ({self.labels[min(ids)]})" for task, ids in found.items() if len(ids) == 1]:
            logger.warning(
                "All training pairs of a task have one label, and teach the model nothing else: %s. Where a file is "
                "sorted by label, shuffle it, or take all of it.", ", ".join(alike),
            )  # fmt: skip
        if never := [label for i, label in enumerate(self.labels) if not any(i in ids for ids in found.values())]:
            logger.warning("The model has labels that no training pair has: %s.", ", ".join(never))


def common_labels(labels_by_task: Mapping[str, Sequence[str]]) -> list[str]:
    """One label list for all tasks: XNLI's in its order where it holds them all, else that of the task with most.

    Raises:
        InputError: two tasks each have a label that the other lacks.
    """
    labels = list(dict.fromkeys(labels_by_task[task_with_all_labels(labels_by_task)]))
    return NLI_LABELS if set(labels) <= set(NLI_LABELS) else labels


def _check_columns(task: str, dataset: Dataset) -> None:
    for column in (*TEXTS, LABEL):
        if column not in dataset.column_names:
            raise InputError(
                f"The data of task {task!r} has no column {column!r}, only {dataset.column_names}. It needs premise, "
                f"hypothesis and label; rename its columns."
            )
    for column in TEXTS:
        feature = dataset.features[column]
        if not (isinstance(feature, Value) and feature.dtype in ("string", "large_string")):
            raise InputError(f"Column {column!r} of task {task!r} holds {feature}; it must hold one text a row.")
    if not isinstance(dataset.features[LABEL], Value | ClassLabel):
        raise InputError(
            f"Column {LABEL!r} of task {task!r} holds {dataset.features[LABEL]}; it must hold one label a row."
        )


def _names(dataset: Dataset) -> list[str] | None:
    """The names of the labels that a dataset numbers in its own way."""
    feature = dataset.features[LABEL]
    return feature.names if isinstance(feature, ClassLabel) else None


def _label(value: Any, names: Sequence[str] | None) -> str | None:
    """What a row's label is called: 0, 1 and 2 mean the same as integers, floats and text; `None` if it is missing."""
    if names is not None and value is not None:
        # A ClassLabel's -1 means that the label was left out.
        value = names[value] if value >= 0 else None
    text = str(value)
    if value is None or text.strip() in ("", "-") or (isinstance(value, float) and math.isnan(value)):
        return None
    return _MEANINGS.get(float(text), text) if _NUMBER.fullmatch(text) else text


def _labelled_rows(dataset: Dataset) -> list[int]:
    names = _names(dataset)
    return [row for row, value in enumerate(dataset[LABEL][:]) if _label(value, names) is not None]


def _warn_of_missing_labels(unlabelled: Mapping[str, int], split: str, every: int) -> None:
    if of_tasks := [f"{task} {number:,}" for task, number in unlabelled.items() if number]:
        logger.warning(
            "%s: %s of %s pairs have no label (null, empty or -) and are %s: %s.", split,
            f"{sum(unlabelled.values()):,}", f"{every:,}",
            "predicted, but not scored" if split == "test" else "left out", ", ".join(of_tasks),
        )  # fmt: skip


def _labels_of(task: str, dataset: Dataset) -> list[str]:
    _check_columns(task, dataset)
    names = _names(dataset)
    values = dataset.unique(LABEL) if names is None else range(len(names))
    labels = [label for value in values if (label := _label(value, names)) is not None]
    if unknown := [label for label in labels if _NUMBER.fullmatch(label)]:
        raise InputError(
            f"Task {task!r} has the label {unknown[0]}, a number without a name. Numbers mean {_meaning()}; write "
            f"other labels out."
        )
    return sorted(labels) if names is None else labels


def _check_spelling(tasks: Splits) -> None:
    """Refuse labels of rows that differ from another one, or from XNLI's if some are, in case or spaces alone."""
    places: dict[str, tuple[str, str, Dataset, Any]] = {}
    for split, of_split in tasks.items():
        for task, dataset in of_split.items():
            for value in dataset.unique(LABEL):
                if label := _label(value, _names(dataset)):
                    places.setdefault(label, (split, task, dataset, value))
    known = [*NLI_LABELS] if places.keys() & {*NLI_LABELS} else []
    for label, (split, task, dataset, value) in places.items():
        if other := same_but_for_case(label, known):
            row = dataset[LABEL][:].index(value) + 1
            raise InputError(f"task {task!r}, {split} split, row {row}: {misspelled(label, other)}")
        known.append(label)


def _meaning() -> str:
    return ", ".join(f"{i} {name}" for i, name in enumerate(NLI_LABELS))


def _encode_rows(
    rows: dict[str, list],
    indices: list[int],
    tokenizer: PreTrainedTokenizerBase,
    names: list[str] | None,
    rows_in_data: Sequence[int],
    for_training: bool,
    label2id: dict[str, int],
    where: str,
    max_length: int,
    padding: str | bool,
) -> dict[str, list]:
    labels = []
    for i, (premise, hypothesis, label) in enumerate(zip(*(rows[column] for column in (*TEXTS, LABEL)), strict=True)):
        name = _label(label, names)
        if premise is None or hypothesis is None or not (name is None or name in label2id):
            wrong = _what_is_wrong(premise, hypothesis, name, label2id, for_training)
            raise InputError(f"{where}, row {rows_in_data[indices[i]] + 1}{wrong}")
        labels.append(NO_LABEL if name is None else label2id[name])
    features = tokenizer(rows[TEXTS[0]], rows[TEXTS[1]], truncation=True, max_length=max_length, padding=padding)
    is_cut = [bool(encoding.overflowing) for encoding in features.encodings or ()]
    return dict(features) | {LABEL_IDS: labels, IS_CUT: is_cut}


def _what_is_wrong(
    premise: str | None, hypothesis: str | None, name: str | None, label2id: Mapping[str, int], for_training: bool
) -> str:
    """What follows the place of a row with an empty value or an unknown label."""
    if premise is None or hypothesis is None:
        return ": an empty value (null); fill it in or delete the row."
    what = f"unknown label {name!r}; the model knows {', '.join(label2id)}. {mend_of_unknown(for_training)}"
    if other := same_but_for_case(str(name), label2id):
        what = misspelled(str(name), other)
    return f" ({shown(hypothesis)}): {what}"
