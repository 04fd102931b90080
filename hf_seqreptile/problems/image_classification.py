"""Image classification: a picture with one class of several. Each task has a classifier of its own."""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from datasets import Dataset
from transformers import AutoModelForImageClassification, EvalPrediction, default_data_collator
from transformers.trainer_utils import PredictionOutput

from ..data.arguments import DataArguments
from ..data.image_folder import IMAGE, LABEL
from ..data.images import ROW
from ..data.pictures import fault
from ..data.text import shown
from ..errors import InputError
from ..metrics.classes import accuracy
from ..metrics.example_sums import ExampleSums, of_means
from ..models.batch_norm import freeze_batch_norm
from ..models.class_head import add_unpredicted, label_names
from ..models.image_model import load_image_model
from ..models.loading import ModelArguments
from ..scores import Metric
from .image_arguments import ImageArguments, ImageModelArguments
from .image_features import Pictures, output_size
from .labels import defining_splits, labels_by_task, predicted_labels, task_with_all_labels, warn_of_missing_labels
from .problem import Problem, Splits, Tasks
from .several_heads import several_heads
from .text_labels import NO_LABEL, NO_MEANINGS, Classes, check_spelling, class_label_names, names_in

logger = logging.getLogger(__name__)


class ImageClassification(Problem):
    """Turns pictures into a model's inputs, and what the model predicts back into classes.

    All tasks share one classifier.

    Args:
        tasks: raw datasets by split and task, with the columns `image` (not decoded) and `label`, which a test split
            may lack, and `row`. The training tasks define the classes; without any, all others do.
        args: whether training pictures are augmented, and what becomes of those that cannot be read.

    Raises:
        InputError: classes that do not fit together, or names that differ in case or surrounding spaces alone.
    """

    arguments: ClassVar[type[DataArguments]] = ImageArguments
    model_arguments: ClassVar[type[ModelArguments]] = ImageModelArguments
    auto_model = AutoModelForImageClassification
    pipeline_tag = "image-classification"
    metric = Metric("accuracy")
    metric_names: Collection[str] = frozenset({"accuracy"})
    tasks_are_languages = False
    without_effect: Mapping[str, str] = {
        "include_num_input_tokens_seen": "pictures have no tokens",
        "neftune_noise_alpha": "its noise is for embeddings of words",
    }
    labels: Sequence[str]

    def __init__(self, tasks: Splits, args: Any) -> None:
        super().__init__(tasks, args)
        # Without the pictures, which would be copied.
        labelled = {
            split: {
                task: data.select_columns([LABEL] if LABEL in data.column_names else []) for task, data in of.items()
            }
            for split, of in tasks.items()
        }
        check_spelling(
            (f"task {task!r}, {split} split", data, LABEL, NO_MEANINGS)
            for split, of_split in defining_splits(labelled).items()
            for task, data in of_split.items()
            if data.column_names
        )
        found = labels_by_task(labelled, lambda _, data: names_in(data, LABEL) if data.column_names else [])
        self.labels = list(dict.fromkeys(found[task_with_all_labels(found)]))
        if "train" in tasks and len(self.labels) < 2:
            raise InputError(
                f"All training pictures of {', '.join(tasks['train'])} are of the class "
                f"{', '.join(self.labels) or '(none)'}: there is nothing to tell apart."
            )
        self.notes = [f"{len(self.labels)} classes: {shown(', '.join(self.labels))}"]

    @classmethod
    def check(cls, args: Any, splits: Sequence[str]) -> None:
        """As in the parent, with the names of tasks."""
        super().check(args, splits)
        _ = args.origins

    @classmethod
    def made_of(cls, rows: Splits, args: Any) -> Problem:
        """As in the parent: each task has a classifier of its own."""
        names = list(dict.fromkeys(task for of_split in rows.values() for task in of_split))
        if len(names) < 2:
            return cls(rows, args)
        if untrained := [task for task in names if task not in rows.get("train", names)]:
            raise InputError(
                f"Task {untrained[0]!r} has no training pictures, and each task has a classifier of its own. Give it "
                f"some, or leave it out with --eval_languages."
            )
        return several_heads(cls, rows, args, dict(zip(names, names, strict=True)))

    def load_model(
        self, args: ModelArguments, texts: Callable[[], Iterable[str]], will_train: bool = True
    ) -> tuple[Any, Any]:
        """As in the parent, with an image processor."""
        name = getattr(args, "image_processor_name", None)
        model, processor = load_image_model(args, name, self.labels, will_train)
        if not will_train:
            add_unpredicted(model, self.labels_beside(label_names(model.config)))
        self.use_labels(label_names(model.config))
        if getattr(args, "freeze_batch_norm", False):
            freeze_batch_norm(model)
        return model, processor

    def text_columns(self, task: str, dataset: Dataset) -> tuple[str, ...]:
        """None: pictures have no texts."""
        return ()

    def encode(self, tasks: Tasks, tokenizer: Any, split: str) -> dict[str, Dataset]:
        """Features of each task: `pixel_values`, made when a row is read, and `labels`.

        All pictures are read once, to find those that cannot be; of this a cache is kept. Rows whose label is missing
        are left out; in the test split their label is -100, and without any label that column is missing.

        Args:
            tasks: raw datasets.
            tokenizer: the model's image processor.
            split: which of them; random crops are for training alone.

        Raises:
            InputError: an unknown class, no label at all, or a picture that cannot be read; names it.
        """
        size = output_size(tokenizer) if split == "train" and self.args.augment else None
        if size is None:
            output_size(tokenizer)
        encoded, unlabelled = {}, {}
        for task, dataset in tasks.items():
            where = f"task {task!r}, {split} split"
            values = dataset[LABEL][:] if LABEL in dataset.column_names else [None] * len(dataset)
            ids = self._label_ids(dataset, values, where, split)
            unlabelled[task] = sum(ids[value] == NO_LABEL for value in values)
            kept = self._readable(dataset, where)
            if split != "test":
                kept = [row for row in kept if ids[values[row]] != NO_LABEL]
            if not kept:
                raise InputError(f"{where}: no picture that can be read has a class.")
            columns = [IMAGE, *([LABEL] if unlabelled[task] < len(dataset) else [])]
            chosen = dataset.select_columns(columns).select(kept)
            encoded[task] = chosen.with_transform(Pictures(tokenizer, ids, size))
        warn_of_missing_labels(unlabelled, split, sum(map(len, tasks.values())), "pictures")
        return encoded

    def collator(self, tokenizer: Any) -> Callable[[list[Any]], Any]:
        """Stacks pictures, which are of one size."""
        return default_data_collator

    def scoring(self) -> dict[str, Callable]:
        """The trainer's `compute_metrics`, and `preprocess_logits_for_metrics`, which keeps what is predicted."""
        return {"compute_metrics": self.compute_metrics, "preprocess_logits_for_metrics": predicted_labels}

    def compute_metrics(self, prediction: EvalPrediction) -> dict[str, float]:
        """Accuracy, over the pictures that have a class."""
        predicted, true = np.asarray(prediction.predictions), np.asarray(prediction.label_ids)
        scored = true != NO_LABEL
        return {"accuracy": accuracy(predicted[scored], true[scored])}

    def example_sums(self, prediction: PredictionOutput, features: Dataset) -> ExampleSums | None:
        """As in the parent."""
        if prediction.label_ids is None:
            return None
        predicted, true = np.asarray(prediction.predictions), np.asarray(prediction.label_ids)
        scored = true != NO_LABEL
        return of_means(predicted[scored] == true[scored], "accuracy") if scored.any() else None

    def write_predictions(
        self, folder: Path, stage: str, suffix: str, prediction: PredictionOutput, features: Dataset
    ) -> None:
        """Write the test split's `predict_results{suffix}.txt`: `index TAB label` lines."""
        if stage == "predict":
            names = [self.labels[label] for label in np.asarray(prediction.predictions).tolist()]
            lines = ["index\tprediction\n", *(f"{i}\t{name}\n" for i, name in enumerate(names))]
            (folder / f"predict_results{suffix}.txt").write_text("".join(lines), encoding="utf-8")

    def _label_ids(self, dataset: Dataset, values: Sequence[Any], where: str, split: str) -> dict[Any, int]:
        """The id of each value in the column of classes."""
        ids = {label: i for i, label in enumerate(self.labels)}
        classes = Classes(class_label_names(dataset, LABEL), label2id=ids, for_training=split == "train")
        found: dict[Any, int] = {}
        for row, value in enumerate(values):
            if value not in found:
                found[value] = classes.feature(value, f"{where}, {_picture_name(dataset, row)}")
        return found

    def _readable(self, dataset: Dataset, where: str) -> list[int]:
        """The rows whose pictures can be read; the others are refused, or left out and counted."""
        found = self.map_rows(dataset.select_columns([IMAGE]), _faults, desc=f"Reading pictures ({where})")["fault"][:]
        broken = [row for row, why in enumerate(found) if why]
        if broken and not self.args.skip_broken_images:
            more = f" So are {len(broken) - 1} more." if len(broken) > 1 else ""
            raise InputError(
                f"{where}: {_picture_name(dataset, broken[0])} cannot be read: {shown(found[broken[0]])}.{more} Mend "
                f"or delete it, or add --skip_broken_images."
            )
        if broken:
            logger.warning(
                "%s: %d of %d pictures cannot be read and are left out, such as %s (%s).",
                where, len(broken), len(dataset), _picture_name(dataset, broken[0]), shown(found[broken[0]]),
            )  # fmt: skip
        return [row for row, why in enumerate(found) if not why]


def _faults(rows: dict[str, list], indices: list[int]) -> dict[str, list[str]]:
    return {"fault": [fault(picture) for picture in rows[IMAGE]]}


def _picture_name(dataset: Dataset, row: int) -> str:
    """A picture's file, or its row where it is none."""
    one = dataset[row]
    picture = one[IMAGE]
    return picture["path"] if picture and picture["bytes"] is None else f"row {one[ROW] + 1}"
