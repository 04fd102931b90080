"""What belongs to each task: its head, its collator, its metrics and its loss."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from torch import nn
from transformers import Trainer
from transformers.trainer_utils import unwrap_peft_model
from transformers.utils.generic import find_labels

from ..errors import InputError
from ..models.multi_head import MultiHeadModel, multi_head

HEAD = "head"
"""The keyword by which a [`MultiHeadModel`] is told whose loss to compute."""
OF_TASK = (
    "data_collator", "compute_metrics", "preprocess_logits_for_metrics", "compute_dataset_metrics",
    "compute_batch_loss",
)  # fmt: skip
"""The trainer's arguments that may be a dict by task."""


class HeadCollator:
    """Collates with `collator`, and adds the head that the batch is for."""

    def __init__(self, collator: Callable[[list[Any]], Any], head: str) -> None:
        self.collator = collator
        self.head = head

    def __call__(self, examples: list[Any]) -> Any:
        """The batch of `examples`."""
        batch = self.collator(examples)
        batch[HEAD] = self.head
        return batch


class TaskPartsMixin(Trainer):
    """Serves each task with what is its own.

    Args:
        task_heads: for a [`MultiHeadModel`], the head of each task. Default: the one that is called as the task.
        processing_class: one for all, or for a [`MultiHeadModel`] a dict by head, whose tokenizers are saved with the
            heads.
        Of `data_collator`, `compute_metrics`, `preprocess_logits_for_metrics`, `compute_dataset_metrics` and
        `compute_batch_loss` each may be one for all tasks, or a dict by task. Everything else is as in
        `transformers.Trainer`.

    Raises:
        InputError: a task without a head, or without an entry in one of the dicts.
    """

    compute_dataset_metrics: Any = None
    compute_batch_loss: Any = None
    _signature_columns: list[str] | None  # type: ignore[assignment]

    def __init__(
        self,
        *args: Any,
        task_heads: Mapping[str, str] | None = None,
        processing_class: Any = None,
        **kwargs: Any,
    ) -> None:
        self.task_heads = task_heads
        self.head_processing_classes = processing_class if isinstance(processing_class, Mapping) else {}
        if self.head_processing_classes:
            processing_class = next(iter(self.head_processing_classes.values()))
        self._served: str | None = None
        self._searched: tuple[Any, MultiHeadModel | None] = (None, None)
        super().__init__(*args, **kwargs, processing_class=processing_class)  # type: ignore[misc]

    @property
    def several_heads(self) -> MultiHeadModel | None:
        """The model that has several heads, under an adapter's wrapper too; `None` where it has one."""
        # Kept, since a look through all modules takes as long as a part of a step.
        if self._searched[0] is not self.model:
            self._searched = (self.model, multi_head(self.model))
        return self._searched[1]

    @property
    def shared_parameters(self) -> dict[str, nn.Parameter]:
        """The trainable parameters that all tasks have: the encoder's where there are several heads, else all."""
        assert self.model is not None
        model = self.several_heads
        trainable = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        if model is None:
            return trainable
        of_heads = set(model.heads.parameters())
        return {name: p for name, p in trainable.items() if p not in of_heads}

    def head_of(self, task: str | None) -> str | None:
        """The head of a task; `None` where the model has but one.

        Args:
            task: `None` for data without a name.

        Raises:
            InputError: none is known.
        """
        model = self.several_heads
        if model is None:
            return None
        if task is None:
            raise InputError(
                f"The model has several heads ({', '.join(model.head_names)}): say which task the data is of, "
                f"predict(dataset, task=...) or evaluate({{task: dataset}})."
            )
        head = (self.task_heads or {}).get(task, task)
        if head not in model.head_names:
            raise InputError(
                f"Task {task!r} has no head: the model has {', '.join(model.head_names)}. Name it in task_heads."
            )
        return head

    def check_task_parts(self, tasks: Iterable[str]) -> None:
        """Refuse tasks of which something is missing, and tokenizers that are not those of the heads.

        Raises:
            InputError: as said.
        """
        given, model = self.head_processing_classes, self.several_heads
        if given and (model is None or set(given) != set(model.head_names)):
            known = ", ".join(model.head_names) if model else "one, without a name; give its own alone"
            raise InputError(
                f"processing_class is a dict by head, with entries for {', '.join(given)}, but the model's heads are "
                f"{known}."
            )
        for task in tasks:
            self.head_of(task)
            for name in OF_TASK:
                self._own(name, task)

    @contextmanager
    def serving(self, task: str | None) -> Iterator[None]:
        """Within, collator, metrics, loss, and the names of columns and labels are the task's own."""
        head = self.head_of(task)
        if head is None and not any(isinstance(getattr(self, name), Mapping) for name in OF_TASK):
            yield
            return
        own = {name: self._own(name, task) for name in OF_TASK}
        if head is not None:
            assert self.several_heads is not None
            labels = self.args.label_names or _labels_of(type(self.several_heads.head(head)))
            own |= {"_served": head, "_signature_columns": None, "label_names": labels}
            own["data_collator"] = HeadCollator(own["data_collator"], head)
        with changed(self, **own):
            yield

    def _own(self, name: str, task: str | None) -> Any:
        given = getattr(self, name)
        if not isinstance(given, Mapping):
            return given
        if task not in given:
            raise InputError(f"{name} is a dict by task without an entry for {task!r}: it has {', '.join(given)}.")
        return given[task]

    @property
    def _inspected(self) -> Any:
        """The module whose `forward` the data is for."""
        model = self.several_heads
        return unwrap_peft_model(self.model) if model is None or self._served is None else model.head(self._served)

    def parameters_of_forward(self) -> Iterable[inspect.Parameter]:
        """Those of the model, or of the head that is served."""
        return inspect.signature(self._inspected.forward).parameters.values()

    def _set_signature_columns_if_needed(self) -> None:
        if self._served is None or self._signature_columns is not None:
            super()._set_signature_columns_if_needed()
            return
        names = [parameter.name for parameter in self.parameters_of_forward()]
        self._signature_columns = list(dict.fromkeys([*names, "label", "label_ids", *self.label_names]))


_labels_of: Callable[[type], list[str]] = cache(find_labels)
"""The names of a head's labels, which are asked for in every step."""


@contextmanager
def changed(thing: Any, **values: Any) -> Iterator[None]:
    """Within, the attributes have these values."""
    before = {name: getattr(thing, name) for name in values}
    try:
        for name, value in values.items():
            setattr(thing, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(thing, name, value)
