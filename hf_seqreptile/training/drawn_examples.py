"""The examples that training draws, whose random changes follow from the draw."""

import random
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import datasets
import numpy as np
import torch
from torch.utils.data import Dataset

Draw = tuple[str, int, int]
"""A task, one of its rows, and how many of the task's rows were drawn before it in the run."""


class DrawnExamples(Dataset):
    """What a loader reads: micro-batches of draws of one task, as (task, example) each.

    A dataset may change its examples at random, such as by a transform that crops pictures. For each draw the random
    numbers of Python, NumPy and torch are those of its own, which follow from the seed, the task and the number of the
    draw: not from the process or worker that reads it, nor from what was read before.

    Args:
        by_task: the tasks' datasets.
        size: the number of all examples, its length.
        seed: of the draws.
    """

    def __init__(self, by_task: Mapping[str, Dataset], size: int, seed: int) -> None:
        self._by_task = by_task
        self._size = size
        self._seed = seed
        self._may_be_random = {task: may_be_random(dataset) for task, dataset in by_task.items()}

    def __len__(self) -> int:
        return self._size

    def __getitems__(self, draws: Sequence[Draw]) -> list[tuple[str, Any]]:
        task = draws[0][0]
        dataset: Any = self._by_task[task]
        rows = [row for _, row, _ in draws]
        if not self._may_be_random[task]:
            # One read for the whole batch.
            return [(task, example) for example in dataset.__getitems__(rows)]
        examples = []
        with _random_numbers_put_back():
            for row, (_, _, number) in zip(rows, draws, strict=True):
                _seed([self._seed, zlib.crc32(task.encode()), number])
                examples.append((task, dataset[row]))
        return examples


def may_be_random(dataset: Dataset) -> bool:
    """Whether reading a row twice may give two examples: not so of the rows of `datasets` without a transform."""
    return not isinstance(dataset, datasets.Dataset) or has_transform(dataset)


def has_transform(dataset: Any) -> bool:
    """Whether it is a dataset of `datasets` whose rows a function changes when they are read (`set_transform`)."""
    return isinstance(dataset, datasets.Dataset) and dataset.format["type"] == "custom"


def _seed(entropy: list[int]) -> None:
    words = np.random.SeedSequence(entropy).generate_state(4)
    random.seed(int(words[0]))
    np.random.seed(words[1:3])
    torch.default_generator.manual_seed(int(words[3]))


@contextmanager
def _random_numbers_put_back() -> Iterator[None]:
    """Within, the CPU's random numbers may be seeded; afterwards they go on as they would have."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])
