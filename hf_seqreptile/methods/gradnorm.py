"""GradNorm: losses weighted so that tasks train at similar rates (Chen et al. 2018, Algorithm 1)."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import torch
from torch import nn

from ..training.method import COMPARED_IN_THE_PAPER
from ..training.trainer import MultiTaskMixin
from .task_gradients import layers

SMALLEST_WEIGHT = 1e-3
"""Below it a weight is raised to it, so that no task is switched off or its loss turned around."""


@dataclass
class TaskWeight:
    """One task's w, the state of the Adam optimizer that moves it, and the task's first loss.

    Args:
        weight: w.
        initial_loss: L(0); 0 before the task's first draw.
        steps: Adam's steps so far.
        mean: Adam's moving average of the gradient.
        square: Adam's moving average of its square.
    """

    weight: float = 1.0
    initial_loss: float = 0.0
    steps: int = 0
    mean: float = 0.0
    square: float = 0.0

    def step(self, gradient: float, learning_rate: float) -> None:
        """One step of Adam (Kingma and Ba 2015) with the β and ε that they give."""
        self.steps += 1
        self.mean = 0.9 * self.mean + 0.1 * gradient
        self.square = 0.999 * self.square + 0.001 * gradient**2
        mean, square = self.mean / (1 - 0.9**self.steps), self.square / (1 - 0.999**self.steps)
        self.weight -= learning_rate * mean / (math.sqrt(square) + 1e-8)


class LossWeights:
    """w of every task.

    Args:
        tasks: all T tasks; their weights sum to T.
        exponent: a.
        learning_rate: of w.
    """

    def __init__(self, tasks: Iterable[str], exponent: float, learning_rate: float) -> None:
        self.exponent = exponent
        self.learning_rate = learning_rate
        self.of_task = {task: TaskWeight() for task in tasks}

    def update(self, norms: Mapping[str, float], losses: Mapping[str, float]) -> None:
        """Move the weights of a step's tasks, then rescale all; what is not finite moves nothing.

        Args:
            norms: ‖∇_W L_i‖ of the tasks that the step drew.
            losses: L_i of the same tasks.
        """
        states = [self.of_task[task] for task in norms]
        for state, loss in zip(states, losses.values(), strict=True):
            state.initial_loss = state.initial_loss or loss
        gradients = weight_gradients(
            _vector(state.weight for state in states),
            _vector(norms.values()),
            _vector(losses.values()) / _vector(state.initial_loss for state in states),
            self.exponent,
        )
        if not gradients.isfinite().all():
            return
        for state, gradient in zip(states, gradients.tolist(), strict=True):
            state.step(gradient, self.learning_rate)
            state.weight = max(state.weight, SMALLEST_WEIGHT)
        rescaling = len(self.of_task) / sum(state.weight for state in self.of_task.values())
        for state in self.of_task.values():
            state.weight *= rescaling


def weight_gradients(
    weights: torch.Tensor, norms: torch.Tensor, loss_ratios: torch.Tensor, exponent: float
) -> torch.Tensor:
    """∂/∂w_i `Σ_j |G_j − Ḡ r_j^a|` (Eq. 2), the targets Ḡ r_j^a held constant: sign(G_i − Ḡ r_i^a) ‖∇_W L_i‖.

    G_i = ‖∇_W w_i L_i‖ = w_i ‖∇_W L_i‖ is linear in w_i, so the paper's second backward pass is not needed.

    Args:
        weights: w_i, shape (T,).
        norms: ‖∇_W L_i‖, shape (T,).
        loss_ratios: L_i / L_i(0), shape (T,); r_i is their ratio to their mean.
        exponent: a.

    Returns:
        The gradients, shape (T,).
    """
    weighted = weights * norms
    rates = loss_ratios / loss_ratios.mean()
    targets = weighted.mean() * rates**exponent
    return (weighted - targets).sign() * norms


class GradNormMixin(MultiTaskMixin):
    """The step's loss is the mean of w_i L_i over its draws; w follow the objective of [`weight_gradients`] by Adam.

    Ḡ and the mean of the loss ratios are over the tasks that a step drew, a task's norm and loss the means over its
    draws, and Σw = T over all training tasks; in the paper a step has every task once. W is the last numbered layer,
    `bert.encoder.layer.11`, or, without one, all trainable parameters: the head that follows it stands where the paper
    has a tower for each task, although here the tasks share it too.
    """

    method = "gradnorm"
    title = "GradNorm (gradient normalization)"
    citation = COMPARED_IN_THE_PAPER
    could_take_one_task_a_step = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._weights = self._make_weights(self.tasks.sizes if self.tasks is not None else ())
        self._layer: list[nn.Parameter] = []
        self._norms: dict[str, list[float]] = {}
        self._losses: dict[str, list[float]] = {}
        self._accumulated: torch.Tensor | float = 0.0
        self._draw_loss: Any = 0.0

    @property
    def loss_weights(self) -> dict[str, float]:
        """The present w of each training task."""
        return {task: state.weight for task, state in self._weights.of_task.items()}

    def loss_factor(self, task: str) -> float:
        """As in the parent: w of the task."""
        return self._weights.of_task[task].weight

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """As in the parent; in training, noted as a part of the draw's loss."""
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        if self._loss_weight is not None:
            self._draw_loss = self._draw_loss + loss.detach()
        return (loss, outputs) if return_outputs else loss

    def end_draw(self, task: str, is_last_of_step: bool) -> None:
        """As in the parent: the draw's norm and loss are noted; after the last draw w are updated."""
        super().end_draw(task, is_last_of_step)
        # Both are those of w_i L_i / M.
        scale = self._draws_in_step / self.loss_factor(task)
        self._norms.setdefault(task, []).append(self._take_norm(is_last_of_step) * scale)
        self._losses.setdefault(task, []).append(self._take_loss() * scale)
        if is_last_of_step:
            self._weights.update(_means(self._norms), _means(self._losses))
            self._begin_step()

    def _begin_step(self) -> None:
        self._norms, self._losses = {}, {}
        self._accumulated, self._draw_loss = 0.0, 0.0

    def _take_norm(self, is_last_of_step: bool) -> float:
        """The norm of what the draw added to the gradient of W, which stays as it is."""
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self._layer]
        accumulated = torch.cat([gradient.flatten().float() for gradient in gradients])
        if not is_last_of_step:
            # After the step's last micro-batch, all that was accumulated is averaged already.
            accumulated = self.accelerator.reduce(accumulated, reduction="mean")
        norm = (accumulated - self._accumulated).norm().item()
        self._accumulated = accumulated
        scaler = self.accelerator.scaler
        return norm / scaler.get_scale() if scaler is not None else norm

    def _take_loss(self) -> float:
        loss, self._draw_loss = self._draw_loss, 0.0
        return self.accelerator.reduce(loss, reduction="mean").item()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As in the parent; training losses come with w of each task, `weight/TASK`."""
        if "loss" in logs:
            logs |= {f"weight/{task}": weight for task, weight in self.loss_weights.items()}
        super().log(logs, start_time)

    # w begin with a run, or where its checkpoint left them.

    def _prepare_for_training(self, *args: Any, **kwargs: Any) -> Any:
        prepared = super()._prepare_for_training(*args, **kwargs)
        self._layer = last_layer(self.shared_parameters)
        self._begin_step()
        return prepared

    def _make_weights(self, tasks: Iterable[str]) -> LossWeights:
        return LossWeights(tasks, self.run_args.gradnorm_exponent, self.run_args.gradnorm_learning_rate)

    def multitask_state(self) -> dict[str, Any]:
        """As in the parent, with w and what moves them."""
        weights = {task: asdict(state) for task, state in self._weights.of_task.items()}
        return super().multitask_state() | {"gradnorm_weights": weights}

    def restore_multitask_state(self, saved: dict[str, Any] | None) -> None:
        """As in the parent."""
        super().restore_multitask_state(saved)
        self._weights = self._make_weights(self._training_tasks.sizes)
        for task, state in (saved["gradnorm_weights"] if saved else {}).items():
            self._weights.of_task[task] = TaskWeight(**state)


class GradNormTrainer(GradNormMixin):
    """GradNorm over `transformers.Trainer`. See [`GradNormMixin`] and, for the arguments, its parent."""


def last_layer(parameters: Mapping[str, nn.Parameter]) -> list[nn.Parameter]:
    """The parameters of the last layer whose name ends in a number; all, where there is none."""
    numbered = [names for layer, names in layers(list(parameters)).items() if layer.rpartition(".")[2].isdecimal()]
    return [parameters[name] for name in (numbered[-1] if numbered else parameters)]


def _vector(values: Iterable[float]) -> torch.Tensor:
    return torch.tensor(list(values), dtype=torch.float64)


def _means(values: Mapping[str, list[float]]) -> dict[str, float]:
    return {task: fmean(of_task) for task, of_task in values.items()}
