"""GradVac: tasks' gradients brought to the similarity that they had on average (Wang et al. 2021, Algorithm 1)."""

import math
from collections.abc import Sequence
from typing import Any

import torch

from ..training.method import COMPARED_IN_THE_PAPER
from .task_gradients import TaskGradientMixin, layers

MOST_SIMILAR = 1 - 1e-6
"""Bound of a target's absolute value, so that √(1 − φ̂²) is not zero."""

CANCELLED = 1e-3
"""Where an altered gradient is shorter than this share of the original, its direction is rounding error."""


class SimilarityTargets:
    """φ̂ of one group of parameters: for each ordered pair of tasks the moving average of their gradients' cosine.

    Args:
        beta: β, the rate at which a target follows the observed cosine.
    """

    def __init__(self, beta: float) -> None:
        self.beta = beta
        self.targets: dict[str, dict[str, float]] = {}

    def weights(self, gram: torch.Tensor, tasks: Sequence[str], orders: Sequence[Sequence[int]]) -> torch.Tensor:
        """The weights of the mean of the altered gradients; the targets are moved on the way.

        For each i: g'_i = g_i; then for j in the i-th order, with φ = cos(g'_i, g_j): if φ < φ̂_ij,
        g'_i += ‖g'_i‖ (φ̂√(1 − φ²) − φ√(1 − φ̂²)) / (‖g_j‖√(1 − φ̂²)) g_j; then φ̂_ij ← (1 − β)φ̂_ij + βφ. The paper
        sums g'_i over i; their mean equals MTL's gradient where nothing is altered. Pairs in which g_j or g'_i is zero
        are left out.

        Args:
            gram: g_i · g_j, shape (T, T).
            tasks: the T tasks' names.
            orders: for each i the other tasks in the order in which they are visited.

        Returns:
            w with Σ_i w_i g_i = (1/T) Σ_i g'_i, shape (T,), float64 on the CPU.
        """
        gram = gram.double().cpu()
        norms = gram.diagonal().sqrt().tolist()
        # Row i holds g'_i as a combination of the original gradients.
        altered = torch.eye(len(gram), dtype=gram.dtype)
        for i, others in enumerate(orders):
            targets = self.targets.setdefault(tasks[i], {})
            for j in others:
                norm = math.sqrt(max(0.0, float(altered[i] @ gram @ altered[i])))
                if norm <= CANCELLED * norms[i] or not norms[j]:
                    continue
                cosine = max(-1.0, min(1.0, float(altered[i] @ gram[j]) / (norm * norms[j])))
                target = targets.get(tasks[j], 0.0)
                if cosine < target:
                    root = math.sqrt(1 - target**2)
                    altered[i, j] += norm * (target * math.sqrt(1 - cosine**2) - cosine * root) / (norms[j] * root)
                moved = (1 - self.beta) * target + self.beta * cosine
                targets[tasks[j]] = max(-MOST_SIMILAR, min(MOST_SIMILAR, moved))
        return altered.mean(dim=0)


class GradVacMixin(TaskGradientMixin):
    """Each task's gradient is moved towards every other one that it is less similar to than the pair was on average.

    The step's gradient is their mean; see [`SimilarityTargets.weights`]. Gradients are compared layer by layer, as in
    the paper's best setting, or over the whole model, and the others are visited in random order.
    """

    method = "gradvac"
    title = "GradVac (gradient vaccine)"
    citation = COMPARED_IN_THE_PAPER

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._targets: dict[str, SimilarityTargets] = {}

    def parameter_groups(self, names: Sequence[str]) -> dict[str, list[str]]:
        """As in the parent; by layer unless `gradvac_granularity` is `model`."""
        return layers(names) if self.run_args.gradvac_granularity == "layer" else super().parameter_groups(names)

    def task_weights(self, gram: torch.Tensor, tasks: Sequence[str], group: str) -> torch.Tensor:
        """As in the parent."""
        return self._targets_of(group).weights(gram, tasks, self.random_orders(len(tasks)))

    def _targets_of(self, group: str) -> SimilarityTargets:
        return self._targets.setdefault(group, SimilarityTargets(self.run_args.gradvac_beta))

    def multitask_state(self) -> dict[str, Any]:
        """As in the parent, with the targets."""
        targets = {group: of_group.targets for group, of_group in self._targets.items()}
        return super().multitask_state() | {"gradvac_targets": targets}

    def restore_multitask_state(self, saved: dict[str, Any] | None) -> None:
        """As in the parent."""
        super().restore_multitask_state(saved)
        self._targets = {}
        for group, targets in (saved["gradvac_targets"] if saved else {}).items():
            self._targets_of(group).targets = targets


class GradVacTrainer(GradVacMixin):
    """GradVac over `transformers.Trainer`. See [`GradVacMixin`] and, for the arguments, its parent."""
