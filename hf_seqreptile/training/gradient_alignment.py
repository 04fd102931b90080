"""How far the tasks' gradients point the same way, and how far the model has moved, measured while it trains."""

import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import set_seed
from transformers.trainer_utils import TrainOutput

from ..digests import fingerprint
from ..errors import InputError
from ..scores import AVERAGE
from .checkpoints import ResumableMixin
from .evaluation import EvaluationMixin
from .gram_matrix import products
from .sampling import TaskStream
from .task_datasets import TaskDatasets, count_labels
from .training_args import MultiTaskTrainingArguments

PROBE_EXAMPLES = 32
"""Examples of each task that its gradient is taken over: two of the default micro-batches, so that a measurement of
T tasks costs about 2·T forward and backward passes. The same examples each time, so that a curve shows the model's
changes and not the examples'; fewer would hide more of what tasks have in common behind what single examples ask."""

LOSS_SCALE = 1024.0
"""Gradients are computed this many times larger: in fp16 small ones would be zero. Their cosines do not change."""


def gradient_alignment(
    parameters: Sequence[nn.Parameter], losses: Mapping[str, Iterable[torch.Tensor]]
) -> dict[str, float]:
    """The cosine similarity g_A · g_B / (‖g_A‖ ‖g_B‖) of each pair of tasks' gradients, and their mean.

    No `.grad` is read or written. T tasks take the memory of T gradients, and while one is summed up that of two more.

    Args:
        parameters: what the gradients are taken with respect to; one that a task does not touch counts as 0 there.
        losses: for each of two or more tasks scalars that sum to its loss, such as its micro-batches' shares. Each
            graph is freed before the next scalar is asked for, so they should be computed when they are.

    Returns:
        `cosine/A/B` for each pair, A before B in `losses`, and `cosine/avg`; 0 where a gradient is zero.
    """
    gradients = [_gradient(parameters, parts) for parts in losses.values()]
    gram = torch.stack([products(of_parameter) for of_parameter in zip(*gradients, strict=True)]).double().sum(dim=0)
    norms = gram.diagonal().sqrt()
    cosines = (gram / torch.outer(norms, norms).clamp_min(torch.finfo(gram.dtype).tiny)).clamp(-1, 1).tolist()
    pairs = combinations(enumerate(losses), 2)
    by_pair = {f"cosine/{a}/{b}": cosines[i][j] for (i, a), (j, b) in pairs}
    return by_pair | {f"cosine/{AVERAGE}": sum(by_pair.values()) / len(by_pair)}


def _gradient(parameters: Sequence[nn.Parameter], parts: Iterable[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """The gradient of the parts' sum, times `LOSS_SCALE`."""
    total: tuple[torch.Tensor, ...] | None = None
    for part in parts:
        # Unlike a backward pass, this wakes no hook of DDP's or of an optimizer's.
        gradient = torch.autograd.grad(part * LOSS_SCALE, parameters, materialize_grads=True)
        # Not in place: two parameters' gradients may be one tensor.
        total = gradient if total is None else torch._foreach_add(total, gradient)
    assert total is not None
    return total


@torch.no_grad()
def distance(parameters: Iterable[torch.Tensor], start: Iterable[torch.Tensor]) -> float:
    """‖φ − φ_0‖: the L2 norm over all numbers of `parameters` minus those of `start`, which may be elsewhere."""
    moved = (p.float() - s.to(p.device).float() for p, s in zip(parameters, start, strict=True))
    return math.hypot(*(torch.linalg.vector_norm(difference).item() for difference in moved))


class GradientAlignmentMixin(EvaluationMixin, ResumableMixin):
    """Logs, every `args.log_gradient_alignment` steps, each pair of tasks' gradient alignment, and the distance.

    The first measurement is at step 0 and the last at the end of training. Each takes one gradient a task, of the mean
    loss over the labels of `PROBE_EXAMPLES` training examples that follow from the seed, at φ and with dropout off.
    Logged are `cosine/A/B` for each pair in the tasks' order, their mean `cosine/avg`, and `distance`, the L2 distance
    of the trainable parameters from where training started. With several heads all of it is over what they share.

    Training ends bit for bit where it would end without. On several processes each computes the same, and none waits
    for another. The memory is that of T gradients on the device, and of the start weights on the CPU; a checkpoint
    holds their fingerprint alone, so the run that continues one must be given the same weights again.

    Raises:
        InputError: fewer than two tasks.
    """

    args: MultiTaskTrainingArguments
    tasks: TaskDatasets | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._start: dict[str, torch.Tensor] = {}

    def check_set_up(self) -> None:
        """As in the parent; refuses to compare the gradients of one task."""
        super().check_set_up()
        if self.run_args.log_gradient_alignment and self.tasks is not None and len(self.tasks.sizes) < 2:
            raise InputError(
                f"--log_gradient_alignment compares the tasks' gradients, and --method {self.run_args.method} is "
                f"given one task, {next(iter(self.tasks.sizes))!r}; remove it, or train on two tasks or more."
            )

    def _measure_gradient_alignment(self) -> dict[str, float]:
        """`cosine/A/B` of each pair of training tasks, `cosine/avg` and `distance`, now."""
        assert self.tasks is not None
        parameters = self.shared_parameters
        with _evaluating(self.model), _random_numbers_of(self.run_args.seed):
            # Drawn and collated anew each time, from the same random numbers.
            losses = {task: self._probe_losses(self.tasks, task) for task in self.tasks.sizes}
            measured = gradient_alignment(list(parameters.values()), losses)
        return measured | {"distance": distance(parameters.values(), self._start.values())}

    def _probe_losses(self, tasks: TaskDatasets, task: str) -> Iterator[torch.Tensor]:
        """What each micro-batch of the task's probe examples adds to their mean loss over the labels."""
        assert self.model is not None
        number, size = min(tasks.rows[task], PROBE_EXAMPLES), self.batch_size_of(task)
        rows = TaskStream(task, tasks.rows[task], block=number, seed=self.run_args.seed).draw(0).tolist()
        if (lengths := self._lengths(tasks.datasets[task])) is not None:
            # Padding alone changes.
            rows.sort(key=lambda row: lengths[row])
        examples = [tasks[task, row][1] for row in rows]
        with self.serving(task):
            collate: Callable = self._get_collator_with_removed_columns(self.data_collator, description="training")
            batches = [collate(examples[i : i + size]) for i in range(0, number, size)]
            labels = [count_labels(batch) for batch in batches]
            for batch, share in zip(batches, labels, strict=True):
                inputs = self._prepare_inputs(batch)
                with self.compute_loss_context_manager():
                    loss, _ = self.compute_loss(self.model, inputs, return_outputs=True)
                yield loss * (share / sum(labels))

    def batch_size_of(self, task: str) -> int:
        """Examples of a micro-batch of the task, on one process."""
        return self._train_batch_size

    def _log_gradient_alignment(self) -> None:
        entries = reversed(self.state.log_history)
        if any(entry["step"] == self.state.global_step and f"cosine/{AVERAGE}" in entry for entry in entries):
            return
        # Logging takes back what asks for a log of the training loss.
        due = self.control.should_log
        self.log(self._measure_gradient_alignment())
        self.control.should_log = due

    def _alignment_notes(self) -> list[str]:
        """For the plan: how often is measured, and what that takes."""
        every = self.run_args.log_gradient_alignment
        if not every or self.tasks is None:
            return []
        memory = sum(p.numel() * p.element_size() for p in self.shared_parameters.values()) / 2**20
        tasks = len(self.tasks.sizes)
        return [
            f"gradient alignment every {every:,} steps: {tasks} tasks' gradients over up to {PROBE_EXAMPLES} examples "
            f"each; memory: {tasks} of {memory:,.0f} MiB on {self.args.device}, and the start weights on the CPU"
        ]

    # The seams of the stock loop: where training starts, what each step ends with, and where it ends.

    def multitask_state(self) -> dict[str, Any]:
        """As in the parent, with a fingerprint of the start weights."""
        state = super().multitask_state()
        return state | {"start_weights": fingerprint(self._start)} if self._start else state

    def restore_multitask_state(self, saved: dict[str, Any] | None) -> None:
        """As in the parent; the present weights are where training starts, soon to be replaced by a checkpoint's."""
        super().restore_multitask_state(saved)
        if not self.run_args.log_gradient_alignment:
            return
        self._start = {name: p.detach().to("cpu", copy=True) for name, p in self.shared_parameters.items()}
        if saved is not None and saved.get("start_weights") != fingerprint(self._start):
            raise InputError(
                "--log_gradient_alignment cannot tell the distance from where training started: the run that is to be "
                "continued started from other weights, or did not measure it. Give the model that it started from (in "
                "a script of your own, call transformers.set_seed before making it), or remove the argument."
            )

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        if self.run_args.log_gradient_alignment and self.state.global_step == 0:
            self._log_gradient_alignment()
        super()._run_epoch(*args, **kwargs)

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        # First, so that a checkpoint of this step holds the measurement too.
        every = self.run_args.log_gradient_alignment
        if every and self.state.global_step % every == 0:
            self._log_gradient_alignment()
        super()._maybe_log_save_evaluate(*args, **kwargs)

    def _finalize_training(self, *args: Any, **kwargs: Any) -> TrainOutput:
        if self.run_args.log_gradient_alignment:
            self._log_gradient_alignment()
        return super()._finalize_training(*args, **kwargs)


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    """Within, dropout is off; afterwards every module is in the mode that it was in."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def _random_numbers_of(seed: int) -> Iterator[None]:
    """Within, Python's, NumPy's and torch's random numbers follow from `seed`; afterwards they go on as before."""
    of_python, of_numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            set_seed(seed)
            yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)
