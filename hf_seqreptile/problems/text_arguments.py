"""The arguments of `run_glue.py`: tasks of GLUE, or of texts whose columns the user may name."""

from dataclasses import dataclass, field
from typing import ClassVar

from ..data.build import Cache
from ..data.glue import GLUE, HEADS, MISMATCHED, TASKS, GlueSource
from ..data.names import check_distinct, unknown_name
from ..data.source import Source
from ..errors import InputError
from ..models.loading import ModelArguments
from .label_map import LabelArguments
from .text_columns import columns_that_may_be_read

_TASKS = ", ".join(task for task in TASKS if task != MISMATCHED)


@dataclass
class TextClassificationModelArguments(ModelArguments):
    """Model arguments of `run_glue.py`."""

    use_fast_tokenizer: bool = field(
        default=True, metadata={"help": "Without effect: transformers 5 has fast tokenizers only."}
    )


@dataclass
class TextClassificationArguments(LabelArguments):
    """Data arguments of `run_glue.py`."""

    problem: ClassVar[str] = "glue"

    task_name: str | None = field(
        default=None, metadata={"help": f"A task of GLUE (Hugging Face's name for one of `task_names`): {_TASKS}."}
    )
    task_names: list[str] | None = field(
        default=None,
        metadata={"nargs": "+", "help": "Tasks of GLUE, with a head each. `mnli` is evaluated as `mnli-mm` too."},
    )
    glue_dir: str | None = field(
        default=None,
        metadata={"help": "The folder of GLUE's files as distributed, `CoLA/train.tsv`. Default: GLUE on the Hub."},
    )
    text_column_names: list[str] | None = field(
        default=None,
        metadata={
            "nargs": "+",
            "help": "The column of texts, or the two of a pair: `text`, or one a task (`mood=text topic=title,body`). "
            "Default: those of a usual name, or where there are no others.",
        },
    )
    label_column_name: list[str] | None = field(
        default=None,
        metadata={
            "nargs": "+",
            "help": "The column of labels: one for all tasks, or one a task (`mood=stars`). Default: `label`.",
        },
    )
    do_regression: bool | None = field(
        default=None,
        metadata={
            "help": "Whether labels are numbers to predict, not classes. Default: those with a decimal point are."
        },
    )
    max_seq_length: int | None = field(
        default=128, metadata={"help": "Subwords after which the longer of the two texts is cut."}
    )
    pad_to_max_length: bool = field(
        default=False, metadata={"help": "Pad every example to the maximum, not to the longest of its batch."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dataset_name == GLUE and not (self.task_name or self.task_names):
            # As other datasets of the Hub are named.
            self.task_names = self.languages or ([self.dataset_config_name] if self.dataset_config_name else None)
            self.languages = self.dataset_config_name = None
        self.task_names = [*([self.task_name] if self.task_name else []), *(self.task_names or [])] or None
        if self.task_names or self.glue_dir or self.dataset_name == GLUE:
            self._use_glue()

    def _use_glue(self) -> None:
        argument = "--task_name" if self.task_name else "--task_names"
        if not self.task_names:
            given = "glue_dir" if self.glue_dir else "dataset_name"
            raise InputError(f"--{given} needs --task_names: {_TASKS}.")
        check_distinct(self.task_names, argument)
        for task in self.task_names:
            if task not in TASKS or task == MISMATCHED:
                raise unknown_name(task, TASKS.keys() - {MISMATCHED}, argument, kind="task of GLUE")
        for other in ("train_file", "validation_file", "test_file", "languages", "task_column", "dataset_config_name"):
            if getattr(self, other):
                raise InputError(f"{argument} names GLUE's tasks, and --{other} others. Leave one of them out.")
        for other in ("label_map", "unite_labels"):
            if getattr(self, other):
                raise InputError(f"{argument}: GLUE's tasks have labels of their own; leave --{other} out.")
        if self.dataset_name not in (None, GLUE):
            raise InputError(f"{argument} names GLUE's tasks, and --dataset_name others. Leave one of them out.")
        self.dataset_name, self.languages = GLUE, self.task_names
        if not (self.eval_languages or self.eval_dataset):
            self.eval_languages = [task for name in self.task_names for task in TASKS if HEADS[task] == name]

    @property
    def columns_read(self) -> frozenset[str]:
        """As in the parent."""
        return columns_that_may_be_read(self.text_column_names, self.label_column_name, [self.task_column])

    def own_source(self, cache: Cache, token: str | bool | None) -> Source | None:
        """GLUE, where its tasks are named."""
        return GlueSource(self.task_names, self.glue_dir, cache, token) if self.task_names else None

    def _source_in_words(self, split: str) -> str:
        is_elsewhere = split != "train" and self.eval_dataset
        return f"GLUE in {self.glue_dir}" if self.glue_dir and not is_elsewhere else super()._source_in_words(split)
