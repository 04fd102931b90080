"""Natural language inference: does the premise entail the hypothesis, contradict it, or neither?"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from datasets import Dataset

from ..errors import InputError
from .label_map import LabelArguments
from .problem import Splits
from .text_arguments import TextClassificationModelArguments
from .text_classification import TextClassification
from .text_columns import LABEL, TextColumns
from .text_labels import NUMBER

NLI_LABELS = ["entailment", "neutral", "contradiction"]
"""The meaning of 0, 1 and 2 in MNLI and XNLI."""
XNLI = "facebook/xnli"
_PAIRS = (("premise", "hypothesis"), ("sentence1", "sentence2"), ("premise", "hypo"))
"""What the Hub's datasets, the files of XNLI and MNLI, and XNLI's translations call the two texts."""
_LABELS = (LABEL, "gold_label")


@dataclass
class SequenceClassificationModelArguments(TextClassificationModelArguments):
    """Model arguments of `run_xnli.py`."""

    do_lower_case: bool | None = field(
        default=None, metadata={"help": "Whether the tokenizer turns text into lower case. Default: as it was saved."}
    )

    def tokenizer_options(self) -> dict[str, Any]:
        """As in the parent."""
        return {} if self.do_lower_case is None else {"do_lower_case": self.do_lower_case}


@dataclass
class SequenceClassificationArguments(LabelArguments):
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

    @property
    def columns_read(self) -> frozenset[str]:
        """As in the parent."""
        return frozenset({*(column for pair in _PAIRS for column in pair), *_LABELS, self.task_column or LABEL})

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


class SequenceClassification(TextClassification):
    """Turns raw pairs of premise and hypothesis into features, and predictions back into labels.

    Args:
        tasks: raw datasets by split and task. The training tasks define the labels; without any, all others do.
        args: lengths and padding.

    Raises:
        InputError: missing columns, labels without names, label sets that do not fit together, or names that differ in
            case or surrounding spaces alone.
    """

    arguments = SequenceClassificationArguments
    model_arguments = SequenceClassificationModelArguments
    # XNLI's translations say "contradictory".
    meanings: ClassVar[Mapping[str, str]] = {
        **{str(i): label for i, label in enumerate(NLI_LABELS)},
        "contradictory": "contradiction",
    }
    known_labels = NLI_LABELS

    def predictions_file(self, folder: Path, suffix: str) -> Path:
        """As in the parent, but named as by Hugging Face's script for inference."""
        return folder / f"predictions{suffix}.txt"

    def _find_columns(self, task: str, dataset: Dataset) -> TextColumns:
        names = dataset.column_names
        texts = next((pair for pair in _PAIRS if {*pair} <= {*names}), _PAIRS[0])
        label = self._label_column(task, dataset, self.args)
        for column in texts:
            if column not in names:
                raise InputError(
                    f"The data of task {task!r} has no column {column!r}, only {names}. It needs premise, hypothesis "
                    f"and label; rename its columns."
                )
        return TextColumns(texts, label)

    def _columns_of(self, task: str, dataset: Dataset) -> TextColumns:
        """XNLI's files name their columns otherwise for training than for evaluation."""
        return self._find_columns(task, dataset)

    @classmethod
    def heads(cls, tasks: Splits, args: Any) -> dict[str, str]:
        """As in the parent: all tasks share one."""
        names = list(dict.fromkeys(task for of_split in tasks.values() for task in of_split))
        return dict.fromkeys(names, names[0])

    @property
    def _glue_head(self) -> None:
        return None

    @classmethod
    def _label_column(cls, task: str, dataset: Dataset, args: Any) -> str:
        return next((name for name in _LABELS if name in dataset.column_names), LABEL)

    def _notes(self, labels: str) -> list[str]:
        return []

    def _are_numbers(self, tasks: Splits) -> bool:
        return False

    def _names_in(self, task: str, dataset: Dataset) -> list[str]:
        names = super()._names_in(task, dataset)
        if unknown := [name for name in names if NUMBER.fullmatch(name)]:
            meaning = ", ".join(f"{i} {name}" for i, name in enumerate(NLI_LABELS))
            raise InputError(
                f"Task {task!r} has the label {unknown[0]}, a number without a name. Numbers mean {meaning}; write "
                f"other labels out."
            )
        return names
