"""The training arguments: `transformers.TrainingArguments` plus the method and its settings."""

import json
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

import torch
from transformers import TrainingArguments

from ..errors import InputError
from ..publishing.file_names import TRAINING_ARGUMENTS_FILE
from ..ranges import AT_LEAST_1, FROM_0_TO_1, POSITIVE, Range
from .method_settings import MethodSettings
from .setting import Setting, check_settings
from .stock_arguments import check_as_given, check_with_the_library
from .task_shares import SHARES, as_items, numbers_by_task

PRIVATE_ARGUMENTS = {"output_dir", "hub_token", "hub_model_id", "resume_from_checkpoint", "run_name", "logging_dir"}
CHANGEABLE = ("examples", "examples_per_draw", "inner_steps", "max_steps", "num_train_epochs", "outer_learning_rate")
"""In what a run may differ from the checkpoint that it continues from, where the user says so.

Other changes would have no effect, such as the learning rate's: the checkpoint's optimizer has its own.
"""

BY_TASK = ("task_weights", "task_batch_sizes")
"""Arguments that give a number for each of several tasks."""

_EXPONENT: Range = (FROM_0_TO_1[0], "in [0, 1]: 0 draws every task equally often, 1 in proportion to its size")


@dataclass
class MultiTaskTrainingArguments(MethodSettings, TrainingArguments):
    """Arguments of every method in this package.

    They are those of `transformers.TrainingArguments`, with the paper's batch size (16) and inner learning rate
    (3e-5) as defaults and batches grouped by length within a task, plus the fields below and those of
    [`MethodSettings`]. Bad values raise [`InputError`].
    """

    method: str = field(
        default="seq_reptile",
        metadata={"help": "How the tasks are trained together."},
    )
    tasks_per_step: Annotated[int | None, Setting("drawn tasks of a step", "M", AT_LEAST_1)] = field(
        default=None,
        metadata={"help": "M: tasks drawn for one optimizer step."},
    )
    task_sampling_exponent: Annotated[float, Setting("task sampling exponent", "q", _EXPONENT)] = field(
        default=0.2, metadata={"help": "q: a task of N_t examples is drawn with probability p_t ∝ N_t^q."}
    )
    all_tasks_each_step: bool = field(
        default=False,
        metadata={
            "help": "Take every task once in each optimizer step, as the paper does with its four clusters, in place "
            "of drawing M of them; q has no effect."
        },
    )
    task_weights: list[str] | None = field(
        default=None,
        metadata={"nargs": "+", "help": "p_t in these proportions, `en=1 sw=3`, in place of those by size."},
    )
    max_task_passes: Annotated[float | None, Setting("passes over a task at most", range=POSITIVE)] = field(
        default=None,
        metadata={
            "help": "So many passes over a task's examples at most, in expectation; what a small task loses goes to "
            "the others (UniMax). Default: no cap."
        },
    )
    task_batch_sizes: list[str] | None = field(
        default=None,
        metadata={
            "nargs": "+",
            "help": "Examples of a micro-batch of single tasks, `squad=8`. Default: `per_device_train_batch_size`.",
        },
    )
    max_gradient_computations: Annotated[int | None, Setting("gradient computations at most", range=AT_LEAST_1)] = (
        field(
            default=None,
            metadata={
                "help": "Drawn batches of the run at most, all processes together: the budget by which methods with "
                "different M are compared. It sets `max_steps`; the models of stl share it. Default: no budget."
            },
        )
    )
    log_gradient_alignment: Annotated[int | None, Setting("steps between measurements", range=AT_LEAST_1)] = field(
        default=None,
        metadata={
            "help": "Every so many optimizer steps, log how far the tasks' gradients point the same way and how far "
            "the weights have moved. Default: never."
        },
    )
    allow_changes: list[str] | None = field(
        default=None,
        metadata={
            "help": "In what this run may differ from the checkpoint that it continues from; any other difference is "
            "refused. `examples`: the data of a task; `examples_per_draw`: batch × accumulation × processes.",
            "choices": list(CHANGEABLE),
        },
    )
    learning_rate: float = field(default=3e-5, metadata={"help": "α: the learning rate of (inner) steps."})
    per_device_train_batch_size: int = field(default=16, metadata={"help": "Examples of one micro-batch per device."})
    train_sampling_strategy: str = field(
        default="group_by_length",
        metadata={
            "help": "Order of the examples within a task. Neither choice changes which tasks are drawn. A batch of "
            "similar lengths pads less; where labels are counted in tokens, as tags are, one in a batch of short "
            "sentences then counts more than one in a batch of long ones (docs/choosing.md).",
            "choices": ["group_by_length", "random"],
        },
    )

    def __post_init__(self) -> None:
        if isinstance(self.allow_changes, str):
            self.allow_changes = [self.allow_changes]
        for name in BY_TASK:
            setattr(self, name, as_items(name, getattr(self, name)))
            numbers_by_task(name, getattr(self, name), whole=name == "task_batch_sizes")
        if self.task_batch_sizes and self.auto_find_batch_size:
            raise InputError("--auto_find_batch_size knows one batch size; remove it or --task_batch_sizes.")
        check_settings(self)
        if self.train_sampling_strategy not in ("group_by_length", "random"):
            raise InputError(
                f"--train_sampling_strategy {self.train_sampling_strategy} is not supported: examples are drawn "
                f"task by task; choose group_by_length or random."
            )
        if self.all_tasks_each_step and self.tasks_per_step is not None:
            raise InputError("--all_tasks_each_step makes M the number of tasks; remove --tasks_per_step.")
        if self.max_gradient_computations is not None and self.max_steps > 0:
            raise InputError("--max_gradient_computations sets --max_steps; remove one of them.")
        if self.enable_jit_checkpoint:
            raise InputError(
                "--enable_jit_checkpoint is not supported: it saves in the middle of a step, from where no run can be "
                "continued exactly. Remove it: SIGTERM saves a checkpoint without it."
            )
        if self.deepspeed:
            # Without the package, transformers would fail over its absence.
            raise InputError("DeepSpeed is not supported: use DistributedDataParallel (torchrun, accelerate launch).")
        for name in SHARES:
            if self.all_tasks_each_step and getattr(self, name) is not None:
                raise InputError(f"--all_tasks_each_step draws no tasks: --{name} has no effect; remove one of them.")
        check_as_given(self)
        given = {f.name for f in fields(self) if f.init and not _is_default(getattr(self, f.name), f)}
        try:
            TrainingArguments.__post_init__(self)
        except TypeError as error:  # a JSON object with an unknown name
            raise InputError(str(error)) from error
        check_with_the_library(self)
        # Pinned memory serves copies to an accelerator; without one, torch warns at every loader.
        self.dataloader_pin_memory = self.dataloader_pin_memory and torch.accelerator.is_available()
        self._not_given = {name: value for name, value in self.to_dict().items() if name not in given}

    @property
    def folder(self) -> Path:
        """`output_dir` as a path."""
        return Path(self.output_dir or "")

    def is_given(self, name: str) -> bool:
        """Whether the argument was given or set, rather than left at its default."""
        return self._differs(name, self.to_dict().get(name))

    def take_out(self, name: str) -> Any:
        """The value of an argument, which is `None` from then on, as if it had not been given."""
        value = getattr(self, name)
        setattr(self, name, None)
        self._not_given[name] = None
        return value

    def _differs(self, name: str, value: Any) -> bool:
        return name not in self._not_given or value != self._not_given[name]

    def changed_arguments(self) -> dict[str, Any]:
        """The method and the arguments that were given or set, without tokens or paths of this machine."""
        return {
            name: value
            for name, value in self.to_dict().items()
            if (name == "method" or self._differs(name, value))
            and name not in PRIVATE_ARGUMENTS
            and not name.endswith("_token")
            and not (isinstance(value, str) and Path(value).is_absolute())
        }

    def save(self, folder: Path) -> None:
        """Write [`changed_arguments`] as JSON into `folder`, in place of the stock pickle of all arguments."""
        text = json.dumps(self.changed_arguments(), indent=2, ensure_ascii=False, default=str)
        (folder / TRAINING_ARGUMENTS_FILE).write_text(text + "\n", encoding="utf-8")


def _is_default(value: Any, argument: Field) -> bool:
    default = argument.default if argument.default_factory is MISSING else argument.default_factory()
    # What may be True, False or neither is False where the user says so.
    is_said = value is False and default is None
    return value == default or (not is_said and _says_nothing(value) and _says_nothing(default))


def _says_nothing(value: Any) -> bool:
    # A command line without the argument gives None or False where some of transformers' defaults are "" and "no".
    return value is None or value is False or value in ("", "no")
