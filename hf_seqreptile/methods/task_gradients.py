"""What PCGrad, GradVac and TorchJD's weightings share: a gradient for each drawn task, their products, their sum.

A step's gradients g_1, …, g_T, one for each task that it drew, are kept until all are there. A method sees their
T×T Gram matrix alone and answers with T weights; the step's gradient is Σ_i w_i g_i.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import DataLoader

from ..errors import InputError
from ..training.gram_matrix import products
from ..training.plan import TrainingPlan
from ..training.process_average import average_over_processes
from ..training.trainer import MultiTaskMixin

Weighting = Callable[[torch.Tensor], torch.Tensor]
"""From a Gram matrix, shape (T, T), to weights, shape (T,)."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""The types in which gradients may wait, by the names that the setting has for them."""


class TaskGradients:
    """One optimizer step's gradients by task, and their Gram matrices.

    The gradient tensors that a backward pass leaves in `.grad` are kept as they are, so that with T tasks the memory
    is that of T gradients, one of which plain training has as well. A parameter that a task does not touch has no
    gradient there; where no task touches it, its `.grad` stays `None`.

    Args:
        parameters: the trainable parameters by name.
        groups: by name, the parameters whose gradients are compared together; every parameter is in one group.
        device: where gradients wait; `None` keeps each beside its parameter.
        dtype: the type in which they wait.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        groups: Mapping[str, Sequence[str]],
        device: str | torch.device | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._groups = {name: [parameters[member] for member in group] for name, group in groups.items()}
        self._parameters = [p for group in self._groups.values() for p in group]
        self._device = device
        self._dtype = dtype
        self._kept: dict[str, dict[nn.Parameter, torch.Tensor]] = {}

    @property
    def tasks(self) -> list[str]:
        """The tasks whose gradients are kept, in the order of their first draw."""
        return list(self._kept)

    @property
    def groups(self) -> list[str]:
        """The names of the groups of parameters."""
        return list(self._groups)

    @property
    def memory(self) -> int:
        """Bytes that the kept gradients take."""
        return sum(g.numel() * g.element_size() for kept in self._kept.values() for g in kept.values())

    @torch.no_grad()
    def take(self, task: str) -> None:
        """Move the parameters' gradients, averaged over the processes, to `task`; added to those that it has."""
        average_over_processes(self._parameters)
        kept = self._kept.setdefault(task, {})
        for parameter in self._parameters:
            gradient, parameter.grad = parameter.grad, None
            if gradient is None:
                continue
            if parameter in kept:
                kept[parameter] += gradient.to(kept[parameter])
            else:
                kept[parameter] = gradient.to(device=self._device or gradient.device, dtype=self._dtype)

    @torch.no_grad()
    def grams(self) -> torch.Tensor:
        """Products g_i · g_j within each group, shape (groups, T, T), in float32."""
        tasks = list(self._kept.values())
        place = self._device or self._parameters[0].device
        grams = torch.zeros(len(self._groups), len(tasks), len(tasks), device=place)
        for gram, group in zip(grams, self._groups.values(), strict=True):
            for parameter in group:
                rows = [i for i, kept in enumerate(tasks) if parameter in kept]
                if rows:
                    index = torch.tensor(rows, device=place)
                    gram[index[:, None], index] += products([tasks[i][parameter] for i in rows]).to(place)
        return grams

    @torch.no_grad()
    def combine(self, weights: torch.Tensor) -> None:
        """Write Σ_i w_i g_i to the parameters' `.grad` and forget the gradients. `weights`: shape (groups, T)."""
        tasks = list(self._kept.values())
        for of_group, group in zip(weights.tolist(), self._groups.values(), strict=True):
            for parameter in group:
                combined = None
                for weight, kept in zip(of_group, tasks, strict=True):
                    gradient = kept.pop(parameter, None)
                    if gradient is None:
                        continue
                    if combined is None:
                        combined = gradient.float().mul_(weight)
                    else:
                        combined.add_(gradient, alpha=weight)
                if combined is not None:
                    parameter.grad = combined.to(device=parameter.device, dtype=parameter.dtype)
        self._kept = {}


class TaskGradientMixin(MultiTaskMixin):
    """A step's gradient is Σ_i w_i g_i; the weights follow from the Gram matrix of the tasks' gradients g_i.

    g_i are scaled so that their mean is the gradient of MTL: where a step draws every task once, g_i is that of the
    task's loss; a task that is drawn n of M times has one gradient, the mean over its draws, times n·T/M.

    Where the model has several heads, all of this concerns the encoder: a head's gradient is that of MTL, since
    those of other tasks, which are zero there, would make every two tasks look less alike.

    A method says in [`task_weights`] how the weights follow. Its arguments are those of [`MultiTaskMixin`].
    """

    method = "task_gradients"
    title = "a weighting of the tasks' gradients by their Gram matrix"
    could_take_one_task_a_step = False

    _gradients: TaskGradients

    @classmethod
    def lineage(cls) -> set[str]:
        """As in the parent; where and how gradients wait, PCGrad's settings, concerns every rule for their weights."""
        return super().lineage() | {"pcgrad"}

    @property
    def trainer_averages_gradients(self) -> bool:
        """As in the parent: each draw's gradient is averaged over the processes when it is taken."""
        return False

    def task_weights(self, gram: torch.Tensor, tasks: Sequence[str], group: str) -> torch.Tensor:
        """The weights of the tasks' gradients, for one group of parameters.

        Args:
            gram: g_i · g_j over the group's parameters, shape (T, T), float32.
            tasks: the T tasks.
            group: its name, as in [`parameter_groups`].

        Returns:
            w, shape (T,). 1/T each gives MTL.
        """
        raise NotImplementedError

    def accumulated_parameters(self) -> list[nn.Parameter]:
        """As in the parent: those of heads, where there are several, whose gradients are MTL's."""
        shared = set(self.shared_parameters.values())
        return [p for p in super().accumulated_parameters() if p not in shared]

    def parameter_groups(self, names: Sequence[str]) -> dict[str, list[str]]:
        """Which parameters' gradients are compared together; by default all."""
        return {"model": list(names)}

    def random_orders(self, tasks: int) -> list[list[int]]:
        """For each of the step's tasks the others in random order, a function of the seed and the step alone."""
        random = np.random.default_rng([self.run_args.seed, self.state.global_step])
        return [[j for j in random.permutation(tasks).tolist() if j != i] for i in range(tasks)]

    def plan(self, optimizer_steps: int) -> TrainingPlan:
        """As in the parent, with the memory of the gradients."""
        plan = super().plan(optimizer_steps)
        numbers = sum(p.numel() for p in self.shared_parameters.values())
        each = numbers * DTYPES[self.run_args.task_gradients_dtype].itemsize / 2**20
        place = self.run_args.task_gradients_device or str(self.args.device)
        plan.notes.append(
            f"memory: a gradient for each task of a step, up to {min(self.tasks_per_step, len(plan.sizes))} of "
            f"{each:,.0f} MiB on {place}, where plain training has one"
        )
        return plan

    def end_draw(self, task: str, is_last_of_step: bool) -> None:
        """As in the parent: the draw's gradient is kept; the last draw's are combined."""
        super().end_draw(task, is_last_of_step)
        self._gradients.take(task)
        if is_last_of_step:
            tasks = self._gradients.tasks
            # The loss's share of a draw is 1/M of it, and with a loss scale the gradients are that much larger.
            scaler = self.accelerator.scaler
            scale = len(tasks) / (scaler.get_scale() if scaler is not None else 1.0)
            weights = self._weights(self._gradients.grams() * scale**2, tasks)
            self._gradients.combine(weights * len(tasks))

    def _weights(self, grams: torch.Tensor, tasks: Sequence[str]) -> torch.Tensor:
        """[`task_weights`] of each group, shape (groups, T), the same on every process."""
        if grams.isfinite().all():
            by_group = zip(grams, self._gradients.groups, strict=True)
            weights = torch.stack([self.task_weights(gram, tasks, group).to(gram) for gram, group in by_group])
        else:
            # An overflow, which the loss scale's check is to find in the combined gradient.
            weights = torch.full(grams.shape[:2], 1 / len(tasks))
        # Where processes communicate on an accelerator alone, the gradients may still wait on the CPU.
        weights = weights.to(self.args.device)
        if dist.is_initialized():
            # A weighting may draw random numbers, and the processes' generators need not agree.
            dist.broadcast(weights, 0)
        return weights

    def _prepare_for_training(
        self, max_steps: int, train_dataloader: DataLoader, resume_from_checkpoint: str | None
    ) -> tuple[nn.Module, DataLoader]:
        prepared = super()._prepare_for_training(max_steps, train_dataloader, resume_from_checkpoint)
        parameters = self.shared_parameters
        groups = self.parameter_groups(list(parameters))
        dtype = DTYPES[self.run_args.task_gradients_dtype]
        self._gradients = TaskGradients(parameters, groups, self.run_args.task_gradients_device, dtype)
        return prepared


class TaskGradientTrainer(TaskGradientMixin):
    """Any weighting by the Gram matrix, over `transformers.Trainer`.

    Args:
        weighting: from a Gram matrix, shape (T, T), float32, to weights, shape (T,); T is the number of different
            tasks that the step drew. One of TorchJD's will do.
        Everything else is as in [`TaskGradientMixin`].

    Raises:
        InputError: there is no weighting.
    """

    def __init__(self, *args: Any, weighting: Weighting | None = None, **kwargs: Any) -> None:
        if weighting is None:
            raise InputError(
                f"{type(self).__name__} needs a weighting: a function from the tasks' Gram matrix, shape (T, T), to "
                f"T weights, such as weighting=torchjd.aggregation.UPGradWeighting()."
            )
        super().__init__(*args, **kwargs)
        self.weighting = weighting

    def task_weights(self, gram: torch.Tensor, tasks: Sequence[str], group: str) -> torch.Tensor:
        """As in the parent."""
        return weights_by(self.weighting, gram)


def weights_by(weighting: Weighting, gram: torch.Tensor) -> torch.Tensor:
    """`weighting(gram)`, shape (T,).

    Raises:
        InputError: it is something else than a finite number for each task.
    """
    weights = torch.as_tensor(weighting(gram)).detach()
    if weights.shape != gram.shape[:1] or not weights.isfinite().all():
        name = getattr(weighting, "__qualname__", type(weighting).__name__)
        raise InputError(
            f"The weighting {name} returned {weights.tolist()} for {len(gram)} tasks; it must return a finite number "
            f"for each. The tasks' Gram matrix was {gram.tolist()}."
        )
    return weights


def layers(names: Sequence[str]) -> dict[str, list[str]]:
    """The names of parameters by layer.

    A layer is what shares a name up to its first number, `bert.encoder.layer.3`, or, without one, the first two parts
    of its module's name: `bert.embeddings`, `classifier`. The prefix that PEFT gives to every name does not count.
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        own = name.removeprefix("base_model.model.")
        numbered = re.match(r"(.*?\.)?\d+(?=\.)", own)
        layer = numbered[0] if numbered else ".".join(own.split(".")[:-1][:2])
        groups.setdefault(layer, []).append(name)
    return groups
