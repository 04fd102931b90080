"""Named entity recognition: words with one tag each, scored by entity."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from datasets import ClassLabel, Dataset, LargeList, List
from transformers import (
    AutoModelForTokenClassification,
    DataCollatorForTokenClassification,
    EvalPrediction,
    PreTrainedTokenizerBase,
)
from transformers.trainer_utils import PredictionOutput

from ..data.arguments import DataArguments
from ..errors import InputError
from ..models.loading import ModelArguments
from ..models.word_tokens import takes_words
from ..scores import Metric
from .labels import labels_by_task, predicted_labels, task_with_all_labels
from .problem import IS_CUT, Problem, Splits, Tasks, distinct
from .tag_features import IGNORED, LOST_ENTITIES, TAG_PLACES, encode_rows


@dataclass
class TokenClassificationModelArguments(ModelArguments):
    """Model arguments of `run_ner.py`."""

    takes_words: ClassVar[bool] = True


@dataclass
class TokenClassificationArguments(DataArguments):
    """Data arguments of `run_ner.py`."""

    problem: ClassVar[str] = "ner"
    list_columns: ClassVar[tuple[str, ...]] = ("tokens", "ner_tags")

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


class TokenClassification(Problem):
    """Turns raw tasks into features, and predictions back into tags.

    Args:
        tasks: raw datasets by split and task. The training tasks define the labels; without any, all others do.
        args: column names and options.

    Raises:
        InputError: missing columns, tags without names, or label sets that do not fit together.
    """

    arguments = TokenClassificationArguments
    model_arguments = TokenClassificationModelArguments
    auto_model = AutoModelForTokenClassification
    pipeline_tag = "token-classification"
    metric = Metric("f1")
    labels: Sequence[str]

    def __init__(self, tasks: Splits, args: TokenClassificationArguments) -> None:
        super().__init__(tasks, args)
        self.labels = common_labels(labels_by_task(tasks, self._tag_names))

    @property
    def label2id(self) -> dict[str, int]:
        """The label ids, as the model's configuration wants them."""
        return {label: i for i, label in enumerate(self.labels)}

    def labels_beside(self, labels: Sequence[str]) -> list[str]:
        """Tags of entity types of which the model has another one, such as `I-LOC` where it has `B-LOC`."""
        types = {label[2:] for label in labels if label.startswith(("B-", "I-"))}
        return [tag for tag in self.labels if tag not in labels and tag[2:] in types and tag.startswith(("B-", "I-"))]

    def text_columns(self, task: str, dataset: Dataset) -> tuple[str, ...]:
        """The column of words."""
        return self._columns(task, dataset)[:1]

    def encode(self, tasks: Tasks, tokenizer: PreTrainedTokenizerBase, split: str) -> dict[str, Dataset]:
        """Features of each task: `input_ids`, `attention_mask` and `labels` (-100 where no tag is predicted).

        Training sentences in which the tokenizer finds nothing to tag are left out. The other splits have `tag_places`
        too, from which a word's tag is read: its label's place among those of the sentence, -1 where it has none. A
        warning tells how many sentences are cut.

        Raises:
            InputError: an unknown tag, words and tags of unequal number, or an empty value; names task, split and row.
                Or a tokenizer that glues words together.
        """
        if not takes_words(tokenizer):
            raise InputError(
                "The tokenizer cuts words into other tokens than the sentence they make. Load it with load_model, or "
                "with add_prefix_space=True."
            )
        max_length = self.max_length(tokenizer, tokenizer.num_special_tokens_to_add(), "words", "sentence")
        # The tokenizer's first call with new settings changes its state, and with it the cache's key.
        tokenizer(["a"], truncation=True, max_length=max_length, padding=self._padding, is_split_into_words=True)
        is_train = split == "train"
        encoded = {}
        for task, dataset in tasks.items():
            text, tags = self._columns(task, dataset)
            feature = dataset.features[tags]
            encoded[task] = self.map_rows(
                dataset,
                encode_rows,
                desc=f"Tokenizing {task} ({split})",
                fn_kwargs={
                    "tokenizer": tokenizer,
                    "columns": (text, tags),
                    "names": feature.feature.names if isinstance(feature.feature, ClassLabel) else None,
                    "label2id": self.label2id,
                    "where": f"task {task!r}, {split} split",
                    "max_length": max_length,
                    "padding": self._padding,
                    "all_subwords": self.args.label_all_tokens,
                    "for_training": is_train,
                },
            )
        # A task of which no sentence is left has no columns.
        left = {task: dataset for task, dataset in encoded.items() if len(dataset)}
        lost = sum(sum(dataset[LOST_ENTITIES][:]) for dataset in left.values())
        lost_where = f"; entities behind the cut, which are not {'trained on' if is_train else 'scored'}: {lost}"
        self.warn_of_cuts(left, split, max_length, tokenizer, "sentences", lost_where)
        for task, dataset in left.items():
            helpers = [IS_CUT, LOST_ENTITIES, *([TAG_PLACES] if is_train else [])]
            inputs = [name for name in dataset.column_names if name not in (*helpers, TAG_PLACES)]
            # The places are hidden: with --remove_unused_columns False the trainer would put them into batches.
            encoded[task] = dataset.remove_columns(helpers).with_format(columns=inputs)
        return encoded

    def compute_metrics(self, prediction: EvalPrediction) -> dict[str, float]:
        """Precision, recall and F1 of whole entities (seqeval's default mode), and accuracy of tags."""
        # Imported when they are needed: with them comes scikit-learn, which takes a second.
        from seqeval.metrics import accuracy_score, classification_report

        predicted, true = self.tags(prediction.predictions, prediction.label_ids)
        with warnings.catch_warnings():
            # Without any entity seqeval averages over no types.
            warnings.simplefilter("ignore", RuntimeWarning)
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

    def collator(self, tokenizer: PreTrainedTokenizerBase) -> DataCollatorForTokenClassification:
        """Pads sentences and their labels to the longest of a batch."""
        return DataCollatorForTokenClassification(tokenizer)

    def scoring(self) -> dict[str, Callable]:
        """The trainer's `compute_metrics`, and `preprocess_logits_for_metrics`, which saves memory."""
        return {"compute_metrics": self.compute_metrics, "preprocess_logits_for_metrics": predicted_labels}

    def write_predictions(
        self, folder: Path, stage: str, suffix: str, prediction: PredictionOutput, features: Dataset
    ) -> None:
        """Write the test split's `predictions{suffix}.txt`: a line for each sentence, with a tag for each word.

        The tag is that of the word's first subword; `O` where the model saw none, behind the cut for instance.
        """
        if stage != "predict":
            return
        predicted, _ = self.tags(prediction.predictions, prediction.label_ids)
        lines = "".join(
            " ".join("O" if place < 0 else tags[place] for place in places) + "\n"
            for tags, places in zip(predicted, features.with_format(None)[TAG_PLACES], strict=True)
        )
        (folder / f"predictions{suffix}.txt").write_text(lines, encoding="utf-8")

    @property
    def _padding(self) -> str | bool:
        return "max_length" if self.args.pad_to_max_length else False

    def _columns(self, task: str, dataset: Dataset) -> tuple[str, str]:
        """The columns of words and of tags, after checking that they hold such."""
        text, tags = find_columns(task, dataset.column_names, self.args)
        if not _holds_strings(dataset.features[text]):
            raise InputError(
                f"Column {text!r} of task {task!r} holds {dataset.features[text]}; it must hold a list of words for "
                f"each sentence, as strings."
            )
        if not (_holds_strings(dataset.features[tags]) or _holds_class_labels(dataset.features[tags])):
            raise InputError(
                f"Column {tags!r} of task {task!r} holds {dataset.features[tags]}; it must hold a list of tags for "
                f"each sentence, as strings (B-PER, I-PER, O) or as a ClassLabel with names."
            )
        return text, tags

    def _tag_names(self, task: str, dataset: Dataset) -> list[str]:
        _, tags = self._columns(task, dataset)
        feature = dataset.features[tags]
        return feature.feature.names if _holds_class_labels(feature) else distinct(dataset, tags)


def find_columns(task: str, names: Sequence[str], args: TokenClassificationArguments) -> tuple[str, str]:
    """The columns of words and of tags of a task's data, as Hugging Face's script finds them.

    Raises:
        InputError: a column that was named does not exist, or there are fewer than two.
    """
    if len(names) < 2:
        raise InputError(f"The data of task {task!r} has the columns {list(names)}; it needs words and tags.")
    tags = f"{args.task_name.lower()}_tags"
    text = args.text_column_name or ("tokens" if "tokens" in names else names[0])
    label = args.label_column_name or (tags if tags in names else names[1])
    for argument, column in (("text_column_name", text), ("label_column_name", label)):
        if column not in names:
            raise InputError(f"--{argument} {column} is not a column of task {task!r}, which has {list(names)}.")
    return text, label


def common_labels(tags_by_task: Mapping[str, Sequence[str]]) -> list[str]:
    """One label list for all tasks: `O`, then `B-` and `I-` of every entity type.

    A small task may lack a type, but one task must have them all; otherwise the tasks spell their labels differently.

    Raises:
        InputError: two tasks each have an entity type that the other lacks.
    """
    types = {
        task: {tag[2:] if tag.startswith(("B-", "I-")) else tag for tag in tags if tag != "O"}
        for task, tags in tags_by_task.items()
    }
    entities = sorted(types[task_with_all_labels(types)])
    prefixed = any(tag.startswith(("B-", "I-")) for tags in tags_by_task.values() for tag in tags)
    if not prefixed:
        return ["O", *entities]
    return ["O", *(f"{prefix}-{name}" for name in entities for prefix in "BI")]


def _holds_strings(feature: Any) -> bool:
    dtype = getattr(feature.feature, "dtype", None) if isinstance(feature, List | LargeList) else None
    return dtype in ("string", "large_string")


def _holds_class_labels(feature: Any) -> bool:
    return isinstance(feature, List | LargeList) and isinstance(feature.feature, ClassLabel)
