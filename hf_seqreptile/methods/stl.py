"""STL: single-task learning, one model a task (the first row of the paper's Tables 1 and 2)."""

from typing import Any

from transformers import TrainingArguments

from ..errors import InputError
from ..training.method import COMPARED_IN_THE_PAPER
from ..training.task_shares import SHARES
from ..training.trainer import MultiTaskMixin


class STLTrainer(MultiTaskMixin):
    """MTL on a single task, which every step draws. The scripts train one such model for each language."""

    method = "stl"
    title = "STL (single-task learning)"
    citation = COMPARED_IN_THE_PAPER
    is_about_several = False
    default_tasks_per_step = 1

    @classmethod
    def check_arguments(cls, args: TrainingArguments) -> None:
        """As in the parent; refuses what concerns the drawing of several tasks."""
        super().check_arguments(args)
        for name in SHARES:
            if getattr(args, name) is not None:
                raise InputError(f"--{name} has no effect with --method {cls.method}, which has one task; remove it.")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.tasks is not None and len(self.tasks.sizes) != 1:
            raise InputError(
                f"--method stl trains one model on one task; got {len(self.tasks.sizes)} tasks. Make one STLTrainer "
                f"for each, or use --method mtl to train them together."
            )
