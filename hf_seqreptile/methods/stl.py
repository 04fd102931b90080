"""STL: single-task learning, one model a task (the first row of the paper's Tables 1 and 2)."""

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.utils.data import Dataset

from ..errors import InputError
from ..trainer import MultiTaskMixin
from ..training_args import MultiTaskTrainingArguments


class STLTrainer(MultiTaskMixin):
    """MTL on a single task, which every step draws. The scripts train one such model for each language."""

    method = "stl"
    title = "STL (single-task learning)"
    default_tasks_per_step = 1

    def __init__(
        self,
        model: nn.Module | None = None,
        args: MultiTaskTrainingArguments | None = None,
        data_collator: Any = None,
        train_dataset: Mapping[str, Dataset] | None = None,
        **kwargs: Any,
    ) -> None:
        if train_dataset is not None and len(train_dataset) != 1:
            raise InputError(
                f"--method stl trains one model on one task; got {len(train_dataset)} tasks. Make one STLTrainer for "
                f"each, or use --method mtl to train them together."
            )
        super().__init__(model, args, data_collator, train_dataset=train_dataset, **kwargs)
