"""Several tasks' datasets as one, whose batches each hold one task's examples."""

from collections.abc import Callable, Mapping, Sequence, Sized
from functools import cached_property
from typing import Any

import datasets
import pyarrow.compute as pc
import torch
from torch.utils.data import Dataset

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
        InputError: no task, a task without examples or without a length, or a name that the metrics need.
    """

    def __init__(self, tasks: Mapping[str, Dataset]) -> None:
        if not isinstance(tasks, Mapping) or not tasks:
            raise InputError('train_dataset must be a dict with one dataset for each task: {"de": de, "sw": sw}.')
        rows = {name: len(dataset) if isinstance(dataset, Sized) else None for name, dataset in tasks.items()}
        for name, number in rows.items():
            if name in RESERVED_NAMES:
                raise InputError(f"A task cannot be called {name!r}: that name is the average's. Rename it.")
            if number is None:
                raise InputError(f"The dataset of task {name!r} has no length; load it without streaming.")
            if number == 0:
                raise InputError(f"Task {name!r} has no training examples; remove the task or add examples.")
        self.datasets = dict(tasks)
        self.rows = {name: number for name, number in rows.items() if number}
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

    def __getitems__(self, keys: Sequence[tuple[str, int]]) -> list[tuple[str, Any]]:
        task, dataset = keys[0][0], self.datasets[keys[0][0]]
        rows = [row for _, row in keys]
        # One read for the whole batch, where the dataset can.
        examples = dataset.__getitems__(rows) if hasattr(dataset, "__getitems__") else [dataset[row] for row in rows]
        return [(task, example) for example in examples]


class OneTaskCollator:
    """Collates the examples with `collator`, and adds their task's name and the number of their labels."""

    def __init__(self, collator: Callable[[list[Any]], Any]) -> None:
        self.collator = collator

    def __call__(self, examples: list[tuple[str, Any]]) -> Any:
        """The batch of `examples`, as `TaskDatasets` gives them."""
        batch = self.collator([example for _, example in examples])
        batch[LABELS_IN_BATCH] = count_labels(batch)
        batch[TASK_OF_BATCH] = examples[0][0]
        return batch


def count_examples(dataset: Any) -> int:
    """The number of a dataset's examples, each counted once however many windows it was cut into."""
    if isinstance(dataset, datasets.Dataset) and WINDOWS_OF in dataset.column_names:
        table = dataset.select_columns(WINDOWS_OF).with_format("arrow")[:]
        return pc.count_distinct(table[WINDOWS_OF]).as_py()
    return len(dataset)


def count_labels(batch: Mapping[str, Any]) -> int:
    """The number of predictions that a micro-batch's mean loss is taken over."""
    if "labels" in batch:
        return int(torch.as_tensor(batch["labels"]).ne(-100).sum())
    return len(next(iter(batch.values())))


def example_lengths(dataset: Dataset, column: str) -> Sequence[int] | None:
    """Each example's length: `column` if the dataset has it, else its number of `input_ids`, else unknown."""
    if not isinstance(dataset, datasets.Dataset):
        return None
    if column in dataset.column_names:
        return dataset[column][:]
    if "input_ids" in dataset.column_names:
        table = dataset.select_columns("input_ids").with_format("arrow")[:]
        return pc.list_value_length(table["input_ids"]).to_numpy()
    return None
