"""The loss of a draw and of a step, whatever micro-batches and processes they are computed on, and each task's log."""

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from ..errors import InputError
from .process_average import average_over_processes, average_statistics
from .task_datasets import LABELS_IN_BATCH, TASK_OF_BATCH
from .task_parts import TaskPartsMixin

logger = logging.getLogger(__name__)

BatchLoss = Callable[[Any, dict[str, Any]], torch.Tensor]
Weight = float | torch.Tensor
"""A factor of a micro-batch's loss: a tensor where processes had to tell each other, so that none waits for it."""


class NotFiniteLossError(InputError):
    """A training loss that is infinite or no number, as after too large a learning rate."""


class DrawLossMixin(TaskPartsMixin):
    """A draw's loss is the mean over the labels of all its micro-batches; a step's is the mean over its draws.

    A micro-batch's own mean counts by its share of the draw's labels, on all processes. One without labels adds 0,
    and so does a draw without any, of which a warning tells once.

    Args:
        compute_batch_loss: the mean loss of a batch from the model's outputs and inputs, in place of the model's own;
            a dict by task may have `None` where the model's own is meant.
        Everything else is as in [`TaskPartsMixin`] and `transformers.Trainer`.
    """

    loss_is_scaled_for_ga = True

    def __init__(
        self,
        *args: Any,
        compute_batch_loss: BatchLoss | Mapping[str, BatchLoss | None] | None = None,
        **kwargs: Any,
    ) -> None:
        self.compute_batch_loss = compute_batch_loss
        super().__init__(*args, **kwargs)
        # Model heads differ in what they do with a label count. Without one, all return the mean over the labels of
        # the micro-batch, which `compute_loss` turns into that micro-batch's share of its draw's loss.
        self.model_accepts_loss_kwargs = False
        losses = compute_batch_loss.values() if isinstance(compute_batch_loss, Mapping) else [compute_batch_loss]
        if any(loss is not None for loss in losses) and self.args.label_smoothing_factor:
            raise InputError(
                "--label_smoothing_factor has no effect on a loss of one's own, compute_batch_loss; remove it, and "
                "smooth the labels there."
            )
        self._micro_batches_per_draw = self.args.gradient_accumulation_steps
        self._draws_in_step = 1
        self._forget_losses()

    def _forget_losses(self) -> None:
        self._window: Iterator[tuple[int, str, int, Weight]] = iter(())
        self._loss_weight: Weight | None = None
        self._has_labels = True
        self._task_losses: dict[str, tuple[Weight, float]] = {}
        self._empty_draws: Weight = 0
        self._told_of_empty_draws = False

    @property
    def processes_share_draws(self) -> bool:
        """Whether all processes work on one draw; otherwise each has its own."""
        return True

    @property
    def trainer_averages_gradients(self) -> bool:
        """Whether the stock trainer averages the processes' gradients; otherwise we do, or nobody.

        It averages in a step's last micro-batch, and of what has no part in that, such as another task's head, leaves
        out what was accumulated before.
        """
        return self.processes_share_draws and self.several_heads is None

    @property
    def weight_in_log(self) -> float:
        """What this process's loss counts in the logged mean over the processes; 0 where it repeats another's draw."""
        return 1.0

    def loss_factor(self, task: str) -> float:
        """What the method multiplies the task's loss with before the backward pass; logged losses are without it."""
        return 1.0

    def end_draw(self, task: str, is_last_of_step: bool) -> None:
        """Called after the backward pass of a draw's last micro-batch, before gradients are clipped."""
        if is_last_of_step and self.processes_share_draws and not self.trainer_averages_gradients:
            average_over_processes(self.accumulated_parameters())
            if self.args.ddp_broadcast_buffers is not False:
                assert self.model is not None
                average_statistics(self.model)

    def accumulated_parameters(self) -> list[nn.Parameter]:
        """The parameters whose gradients simply add up over a step's draws."""
        assert self.model is not None
        return [p for p in self.model.parameters() if p.requires_grad]

    def get_batch_samples(
        self, epoch_iterator: Iterator, num_batches: int, device: torch.device
    ) -> tuple[list, torch.Tensor | None]:
        """The window's micro-batches; the weight of each in the step's loss is kept for `compute_loss`."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        tasks = [batch.pop(TASK_OF_BATCH) for batch in batches]
        labels = [batch.pop(LABELS_IN_BATCH) for batch in batches]
        self._draws_in_step = len(batches) // self._micro_batches_per_draw
        weights = self._shares(labels, device)
        self._window = iter([(i, *one) for i, one in enumerate(zip(tasks, labels, weights, strict=True))])
        return batches, None

    def _shares(self, labels: list[int], device: torch.device) -> list[Weight]:
        """The share of each micro-batch of the window in the step's loss, from the numbers of their labels."""
        size = self._micro_batches_per_draw
        of_draws = [sum(labels[i : i + size]) for i in range(0, len(labels), size)]
        if not self.processes_share_draws or self.accelerator.num_processes == 1:
            self._empty_draws += of_draws.count(0)
            return [n / (max(of_draws[i // size], 1) * self._draws_in_step) for i, n in enumerate(labels)]
        counts = self.accelerator.reduce(torch.tensor(of_draws, device=device), reduction="sum")
        self._empty_draws = self._empty_draws + (counts == 0).sum()
        # The processes' gradients are averaged, hence the factor of their number.
        shares = torch.tensor(labels, device=device).view(-1, size) * self.accelerator.num_processes
        return list((shares / (counts.clamp_min(1)[:, None] * self._draws_in_step)).flatten().unbind())

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """Forward and backward pass of one micro-batch; returns its share of the step's loss."""
        number, task, labels, share = next(self._window)
        factor = self.loss_factor(task)
        self._loss_weight, self._has_labels = share * factor, labels > 0
        averaging = nullcontext() if self.trainer_averages_gradients else self.accelerator.no_sync(model)
        try:
            with averaging, self.serving(task):
                loss = super().training_step(model, inputs, num_items_in_batch)
        finally:
            self._loss_weight, self._has_labels = None, True
        if factor != 1:
            loss = loss / factor
        if self.args.logging_nan_inf_filter:
            # The stock loop asks the same of the loss now; without the filter, nothing waits for it before the log.
            self._refuse_not_finite(task, loss.item(), self.state.global_step + 1)
        weight = self.weight_in_log
        if weight:
            total, draws = self._task_losses.get(task, (0.0, 0.0))
            draws += 1 / self._micro_batches_per_draw
            self._task_losses[task] = (total + _times(loss, self._draws_in_step), draws)
        draw, last = divmod(number + 1, self._micro_batches_per_draw)
        if not last:
            self.end_draw(task, is_last_of_step=draw == self._draws_in_step)
        return _times(loss, weight)

    def _refuse_not_finite(self, task: str, value: float, step: int) -> None:
        if not math.isfinite(value):
            raise NotFiniteLossError(
                f"The loss of task {task!r} is {value} at step {step}. Lower --learning_rate, "
                f"or look for broken examples in that task. Checkpoints already written are untouched."
            )

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The stock loss; in training, weighted by the micro-batch's share of the labels of its draw."""
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True)
        if self.compute_batch_loss is not None:
            loss = self.compute_batch_loss(outputs, inputs)
        if not self._has_labels:
            loss = _nothing(outputs, loss)
        elif self._loss_weight is not None:
            loss = _times(loss, self._loss_weight)
        return (loss, outputs) if return_outputs else loss

    def _logs_of_losses(self, tasks: list[str]) -> dict[str, float]:
        """`loss/TASK` of each task that was drawn since the last log: the mean over its draws on all processes."""
        of_tasks = [self._task_losses.get(task, (0.0, 0.0)) for task in tasks]
        sums = torch.zeros(len(tasks), 2, device=self.args.device)
        for row, values in zip(sums, of_tasks, strict=True):
            for place, value in enumerate(values):
                row[place] = value
        totals = self.accelerator.reduce(sums, reduction="sum").tolist()
        self._task_losses = {}
        self._tell_of_empty_draws()
        losses = {task: total / draws for task, (total, draws) in zip(tasks, totals, strict=True) if draws}
        for task, loss in losses.items():
            self._refuse_not_finite(task, loss, self.state.global_step)
        return {f"loss/{task}": loss for task, loss in losses.items()}

    def _tell_of_empty_draws(self) -> None:
        if not self._told_of_empty_draws and (number := int(self._empty_draws)):
            self._told_of_empty_draws = True
            logger.warning(
                "No example of %d drawn batches so far has a label: they add nothing to the training. Look for tasks "
                "whose labels are all missing.",
                number,
            )


def _times(loss: torch.Tensor, weight: Weight) -> torch.Tensor:
    """Their product; no operation on a weight that is 1, since each takes a part of a small model's step."""
    return loss if not isinstance(weight, torch.Tensor) and weight == 1 else loss * weight


def _nothing(outputs: Any, loss: torch.Tensor) -> torch.Tensor:
    """A loss of 0 with a gradient of 0 for all that the model computed; the mean over no labels has neither."""
    values = outputs.values() if isinstance(outputs, dict) else outputs
    computed = [value for value in values if isinstance(value, torch.Tensor) and value.requires_grad]
    others = [value for value in computed if value.dim()]
    return sum((value.float().sum() * 0.0 for value in others or computed), start=loss.new_zeros(()))
