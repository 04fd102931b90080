"""Named entity recognition: words with one tag each, scored by entity."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import ClassLabel, Dataset, List
from seqeval.metrics import accuracy_score, classification_report
from transformers import EvalPrediction, PreTrainedTokenizerBase
from transformers.trainer_utils import PredictionOutput

from ..data.arguments import DataArguments
from ..errors import InputError

IGNORED = -100
Tasks = Mapping[str, Dataset]


@dataclass
class TokenClassificationArguments(DataArguments):
    """Data arguments of `run_ner.py`."""

    task_name: str = field(default="ner", metadata={"help": "Names the label column: `ner` reads `ner_tags`."})
    text_column_name: str | None = field(
        default=None, metadata={"help": "The column of words. Default: `tokens`, else the first column."}
    )
    label_column_name: str | None = field(
        default=None, metadata={"help": "The column of tags. Default: `{task_name}_tags`, else the second column."}
    )
    max_seq_length: int | None = field(
        default=None, metadata={"help": "Subwords after which a sentence is cut. Default: what the model takes."}
    )
    pad_to_max_length: bool = field(
        default=False, metadata={"help": "Pad every sentence to the maximum, not to the longest of its batch."}
    )
    label_all_tokens: bool = field(
        default=False, metadata={"help": "Give a word's tag to all of its subwords, not to the first alone."}
    )
    return_entity_level_metrics: bool = field(
        default=False, metadata={"help": "Report the scores of each entity type beside the overall ones."}
    )


class TokenClassification:
    """Turns raw tasks into features, and predictions back into tags.

    Args:
        tasks: raw datasets by split and task. The training tasks define the labels; without any, all others do.
        args: column names and options.

    Raises:
        InputError: missing columns, tags without names, or label sets that do not fit together.
    """

    def __init__(self, tasks: Mapping[str, Tasks], args: TokenClassificationArguments) -> None:
        self.args = args
        splits = [tasks["train"]] if "train" in tasks else list(tasks.values())
        self.labels = common_labels(
            {task: self._tag_names(task, dataset) for split in splits for task, dataset in split.items()}
        )

    @property
    def label2id(self) -> dict[str, int]:
        """The label ids, as the model's configuration wants them."""
        return {label: i for i, label in enumerate(self.labels)}

    def words(self, tasks: Mapping[str, Tasks]) -> set[str]:
        """All distinct words of all splits and tasks."""
        datasets = [dataset for split in tasks.values() for dataset in split.values()]
        return {word for dataset in datasets for word in _distinct(dataset, self._columns(dataset)[0])}

    def encode(self, tasks: Tasks, tokenizer: PreTrainedTokenizerBase, split: str) -> dict[str, Dataset]:
        """Features of each task: `input_ids`, `attention_mask` and `labels` (-100 where no tag is predicted).

        Training sentences in which the tokenizer finds nothing to tag are left out.

        Raises:
            InputError: an unknown tag, or words and tags of unequal number; names task, split and row.
        """
        max_length = self.args.max_seq_length or min(tokenizer.model_max_length, 512)
        # The tokenizer's first call with new settings changes its state, and with it the cache's key.
        tokenizer(["a"], truncation=True, max_length=max_length, padding=self._padding, is_split_into_words=True)
        encoded = {}
        for task, dataset in tasks.items():
            text, tags = self._columns(dataset)
            feature = dataset.features[tags]
            encoded[task] = dataset.map(
                _encode_rows,
                batched=True,
                with_indices=True,
                fn_kwargs={
                    "tokenizer": tokenizer,
                    "columns": (text, tags),
                    "names": feature.feature.names if isinstance(feature.feature, ClassLabel) else None,
                    "label2id": self.label2id,
                    "where": f"task {task!r}, {split} split",
                    "max_length": max_length,
                    "padding": self._padding,
                    "all_subwords": self.args.label_all_tokens,
                    "drop_empty": split == "train",
                },
                remove_columns=dataset.column_names,
                num_proc=self.args.preprocessing_num_workers,
                load_from_cache_file=not self.args.overwrite_cache,
                desc=f"Tokenizing {task} ({split})",
            )
        return encoded

    def compute_metrics(self, prediction: EvalPrediction) -> dict[str, float]:
        """Precision, recall and F1 of whole entities (seqeval's default mode), and accuracy of tags."""
        predicted, true = self.tags(prediction.predictions, prediction.label_ids)
        report = classification_report(true, predicted, output_dict=True, zero_division=0)
        overall = report.pop("micro avg", {"precision": 0.0, "recall": 0.0, "f1-score": 0.0})
        metrics = {
            "precision": overall["precision"],
            "recall": overall["recall"],
            "f1": overall["f1-score"],
            "accuracy": accuracy_score(true, predicted),
        }
        if self.args.return_entity_level_metrics:
            for entity in [name for name in report if not name.endswith(" avg")]:
                of_entity = report[entity]
                metrics |= {
                    f"{entity}_precision": of_entity["precision"],
                    f"{entity}_recall": of_entity["recall"],
                    f"{entity}_f1": of_entity["f1-score"],
                    f"{entity}_number": of_entity["support"],
                }
        return {name: float(value) for name, value in metrics.items()}

    def tags(self, predictions: Any, label_ids: Any) -> tuple[list[list[str]], list[list[str]]]:
        """Predicted and true tags of each sentence, from arrays of label ids, (sentences, subwords)."""
        names = np.array(self.labels, dtype=object)
        kept = label_ids != IGNORED
        predicted = [names[row[mask]].tolist() for row, mask in zip(predictions, kept, strict=True)]
        true = [names[row[mask]].tolist() for row, mask in zip(label_ids, kept, strict=True)]
        return predicted, true

    def write_predictions(self, folder: Path, suffix: str, prediction: PredictionOutput) -> None:
        """Write `predictions{suffix}.txt`: a line of tags for each sentence, as Hugging Face's script does."""
        predicted, _ = self.tags(prediction.predictions, prediction.label_ids)
        lines = "".join(" ".join(tags) + "\n" for tags in predicted)
        (folder / f"predictions{suffix}.txt").write_text(lines, encoding="utf-8")

    @property
    def _padding(self) -> str | bool:
        return "max_length" if self.args.pad_to_max_length else False

    def _columns(self, dataset: Dataset) -> tuple[str, str]:
        return find_columns(dataset.column_names, self.args)

    def _tag_names(self, task: str, dataset: Dataset) -> list[str]:
        _, column = self._columns(dataset)
        feature = dataset.features[column]
        if isinstance(feature, List) and isinstance(feature.feature, ClassLabel):
            return feature.feature.names
        if isinstance(feature, List) and feature.feature.dtype == "string":
            return _distinct(dataset, column)
        raise InputError(
            f"Column {column!r} of task {task!r} holds {feature}; it must hold a list of tags for each sentence, "
            f"as strings (B-PER, I-PER, O) or as a ClassLabel with names."
        )


def find_columns(names: Sequence[str], args: TokenClassificationArguments) -> tuple[str, str]:
    """The columns of words and of tags, as Hugging Face's script finds them.

    Raises:
        InputError: a column that was named does not exist, or there are fewer than two.
    """
    if len(names) < 2:
        raise InputError(f"The data has the columns {list(names)}; it needs one of words and one of tags.")
    tags = f"{args.task_name}_tags"
    text = args.text_column_name or ("tokens" if "tokens" in names else names[0])
    label = args.label_column_name or (tags if tags in names else names[1])
    for argument, column in (("text_column_name", text), ("label_column_name", label)):
        if column not in names:
            raise InputError(f"--{argument} {column} is not a column of the data, which has {list(names)}.")
    return text, label


def common_labels(tags_by_task: Mapping[str, Sequence[str]]) -> list[str]:
    """One label list for all tasks: `O`, then `B-` and `I-` of every entity type.

    A small task may lack a type, but one task must have them all; otherwise the tasks spell their labels differently.

    Raises:
        InputError: two tasks each have an entity type that the other lacks.
    """
    types = {task: {tag.partition("-")[2] or tag for tag in tags if tag != "O"} for task, tags in tags_by_task.items()}
    largest = max(types, key=lambda task: len(types[task]))
    for task, own in types.items():
        if extra := own - types[largest]:
            raise InputError(
                f"The label sets differ: task {task!r} has {sorted(extra)}, which task {largest!r} lacks; that one "
                f"has {sorted(types[largest])}. Give both the same labels."
            )
    prefixed = any(tag.startswith(("B-", "I-")) for tags in tags_by_task.values() for tag in tags)
    if not prefixed:
        return ["O", *sorted(types[largest])]
    return ["O", *(f"{prefix}-{name}" for name in sorted(types[largest]) for prefix in "BI")]


def predicted_labels(logits: Any, labels: torch.Tensor) -> torch.Tensor:
    """Label ids of the highest logits; kept in place of the logits, they take a fraction of the memory."""
    return (logits[0] if isinstance(logits, tuple) else logits).argmax(dim=-1)


def _distinct(dataset: Dataset, column: str) -> list[str]:
    """The distinct strings in a column of lists."""
    lists = dataset.select_columns(column).with_format("arrow")[:][column]
    return lists.combine_chunks().flatten().unique().to_pylist()


def _encode_rows(
    rows: dict[str, list],
    indices: list[int],
    tokenizer: PreTrainedTokenizerBase,
    columns: tuple[str, str],
    names: list[str] | None,
    label2id: dict[str, int],
    where: str,
    max_length: int,
    padding: str | bool,
    all_subwords: bool,
    drop_empty: bool,
) -> dict[str, list]:
    text, tags = rows[columns[0]], rows[columns[1]]
    features = tokenizer(text, truncation=True, max_length=max_length, padding=padding, is_split_into_words=True)
    labels = []
    for i, (words, row_tags) in enumerate(zip(text, tags, strict=True)):
        row = f"{where}, row {indices[i] + 1}"
        if len(words) != len(row_tags):
            raise InputError(f"{row}: {len(words)} words but {len(row_tags)} tags; give each word one tag.")
        spelled = [names[tag] for tag in row_tags] if names else row_tags
        if unknown := [tag for tag in spelled if tag not in label2id]:
            raise InputError(
                f"{row}: unknown label {unknown[0]!r}; the training data has {', '.join(label2id)}. Mend the row or "
                f"add training examples with that label."
            )
        first = [label2id[tag] for tag in spelled]
        further = [label2id[f"I{tag[1:]}" if tag.startswith("B-") else tag] for tag in spelled]
        before: int | None = None
        row_labels = []
        for word in features.word_ids(i):
            if word is None:
                row_labels.append(IGNORED)
            elif word != before:
                row_labels.append(first[word])
            else:
                row_labels.append(further[word] if all_subwords else IGNORED)
            before = word
        labels.append(row_labels)
    features = {name: list(values) for name, values in features.items()} | {"labels": labels}
    if not drop_empty:
        return features
    kept = [i for i, row in enumerate(labels) if any(label != IGNORED for label in row)]
    return {name: [values[i] for i in kept] for name, values in features.items()}
