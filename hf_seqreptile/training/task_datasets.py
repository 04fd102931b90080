"""Several tasks' datasets as one, whose batches each hold one task's examples."""

import re
from collections.abc import Callable, Mapping, Sequence, Sized
from functools import cached_property
from typing import Any, cast

import datasets
import pyarrow.compute as pc
import torch
from torch.utils.data import Dataset, IterableDataset
from transformers.trainer_pt_utils import find_batch_size

from ..digests import dataset_digest
from ..errors import InputError
from ..feature_columns import WINDOWS_OF

RESERVED_NAMES = {"avg"}
TASK_OF_BATCH, LABELS_IN_BATCH = "task", "labels_in_batch"
"""What a micro-batch holds beside the model's inputs: its task's name, and the number of labels that its mean loss is
taken over. It is counted where the batch is made, so that no accelerator has to be asked."""


class TaskDatasets(Dataset):
    """The tasks' datasets by name. Indexed by (task, row); its length is the number of all examples.

    `sizes` holds N_t, the number of examples of each task, and `rows` the number of its rows. They differ where long
    examples were cut into several windows and the column `overflow_to_sample_mapping` tells which.

    Raises:
        InputError: no dict, a name that is no text or that the metrics need, or a dataset without examples, without a
            length or without rows by number.
    """

    def __init__(self, tasks: Mapping[str, Dataset]) -> None:
        check_task_names(tasks, "train_dataset")
        for name, dataset in tasks.items():
            if not isinstance(dataset, Sized):
                raise InputError(f"The dataset of task {name!r} has no length; load it without streaming.")
            if not _has_rows(dataset):
                raise InputError(
                    f"The dataset of task {name!r} is a {type(dataset).__name__}, whose examples cannot be drawn by "
                    f"their number; give one that can be indexed, dataset[3]."
                )
            if not len(dataset):
                raise InputError(f"Task {name!r} has no training examples; remove the task or add examples.")
        self.datasets = dict(tasks)
        self.rows = {name: len(cast(Sized, dataset)) for name, dataset in tasks.items()}
        self.sizes = {name: count_examples(tasks[name]) for name in self.rows}

    @cached_property
    def digests(self) -> dict[str, str | None]:
        """A SHA-256 over the rows of each task; `None` for a dataset of another library, whose rows may be random."""
        return {
            name: dataset_digest(dataset) if isinstance(dataset, datasets.Dataset) else None
            for name, dataset in self.datasets.items()
        }

    def __len__(self) -> int:
        return sum(self.sizes.values())

    def __getitem__(self, key: tuple[str, int]) -> tuple[str, Any]:
        task, row = key
        return task, self.datasets[task][row]


class OneTaskCollator:
    """Collates examples with their task's own collator, and adds the task's name and the number of their labels."""

    def __init__(self, collators: Mapping[str, Callable[[list[Any]], Any]]) -> None:
        self.collators = collators

    def __call__(self, examples: list[tuple[str, Any]]) -> Any:
        """The batch of `examples`, as [`DrawnExamples`] gives them."""
        task = examples[0][0]
        batch = self.collators[task]([example for _, example in examples])
        batch[LABELS_IN_BATCH] = count_labels(batch)
        batch[TASK_OF_BATCH] = task
        return batch


def count_examples(dataset: Any) -> int:
    """The number of a dataset's examples, each counted once however many windows it was cut into."""
    if isinstance(dataset, datasets.Dataset) and WINDOWS_OF in dataset.column_names:
        table = dataset.select_columns(WINDOWS_OF).with_format("arrow")[:]
        return pc.count_distinct(table[WINDOWS_OF]).as_py()
    return len(dataset)


def check_task_names(tasks: Any, argument: str) -> None:
    """Refuse what is no dict from the tasks' names to their datasets.

    Args:
        tasks: to check.
        argument: what it was given as.

    Raises:
        InputError: another type, no task, or a name that is no text, is empty, or is the average's.
    """
    if not isinstance(tasks, Mapping) or not tasks:
        raise InputError(f'{argument} must be a dict with one dataset for each task: {{"de": de, "sw": sw}}.')
    for name in tasks:
        if not isinstance(name, str) or not name:
            raise InputError(f'{argument} has a task {name!r}; the name of a task is a text, such as "de".')
        if name in RESERVED_NAMES:
            raise InputError(f"A task cannot be called {name!r}: that name is the average's. Rename it.")


def check_evaluated(dataset: Any) -> None:
    """Refuse what is no single dataset, or one whose examples can be neither numbered nor iterated over.

    Raises:
        InputError: as said.
    """
    if isinstance(dataset, Mapping | str) or dataset is None:
        given = "a dict" if isinstance(dataset, Mapping) else repr(dataset)
        raise InputError(
            f"Predictions are made for one dataset, not for {given}: give the task's dataset, each in its turn."
        )
    if not (_has_rows(dataset) or isinstance(dataset, IterableDataset)):
        raise InputError(
            f"A {type(dataset).__name__} cannot be evaluated: it has no rows by number with a length, and is no "
            f"IterableDataset of torch or datasets."
        )


def _has_rows(dataset: Any) -> bool:
    """Whether examples can be taken by number. A torch dataset may lack a length; one that is iterated has no rows."""
    if isinstance(dataset, Mapping | str | IterableDataset):
        return False
    return isinstance(dataset, Sized) and hasattr(dataset, "__getitem__")


def count_labels(batch: Mapping[str, Any]) -> int:
    """The number of predictions that a micro-batch's mean loss is taken over."""
    if "labels" in batch:
        labels = torch.as_tensor(batch["labels"])
        # A number to predict may be -100.0, and none of them is missing.
        return labels.numel() if labels.is_floating_point() else int(labels.ne(-100).count_nonzero())
    return find_batch_size(batch) or 0


def example_lengths(dataset: Dataset, column: str) -> Sequence[int] | None:
    """Each example's length: `column` if the dataset has it, else its number of `input_ids`, else unknown.

    Raises:
        InputError: the column holds no numbers.
    """
    if not isinstance(dataset, datasets.Dataset):
        return None
    if column in dataset.column_names:
        feature = dataset.features[column]
        if not re.match(r"u?int|float", getattr(feature, "dtype", "")):
            raise InputError(f"--length_column_name {column}: that column holds {feature}, no lengths.")
        return dataset[column][:]
    if "input_ids" in dataset.column_names:
        table = dataset.select_columns("input_ids").with_format("arrow")[:]
        return pc.list_value_length(table["input_ids"]).to_numpy()
    return None
