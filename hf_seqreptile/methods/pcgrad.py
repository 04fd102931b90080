"""PCGrad: each task's gradient without what conflicts with the others' (Yu et al. 2020, Algorithm 1)."""

from collections.abc import Sequence

import torch

from ..training.method import COMPARED_IN_THE_PAPER
from .task_gradients import TaskGradientMixin


def pcgrad_weights(gram: torch.Tensor, orders: Sequence[Sequence[int]]) -> torch.Tensor:
    """The weights of the mean of the projected gradients.

    For each i: g'_i = g_i; then for j in the i-th order: if g'_i · g_j < 0, g'_i −= (g'_i · g_j / ‖g_j‖²) g_j, with
    the original g_j. The paper sums g'_i over i; their mean equals MTL's gradient where there is no conflict.

    Args:
        gram: g_i · g_j, shape (T, T).
        orders: for each i the other tasks in the order in which they are visited.

    Returns:
        w with Σ_i w_i g_i = (1/T) Σ_i g'_i, shape (T,), float64 on the CPU.
    """
    gram = gram.double().cpu()
    # Row i holds g'_i as a combination of the original gradients.
    projected = torch.eye(len(gram), dtype=gram.dtype)
    for i, others in enumerate(orders):
        for j in others:
            product = projected[i] @ gram[j]
            # In float32 the square of a tiny gradient may be zero where its product with a large one is not.
            if product < 0 < gram[j, j]:
                projected[i, j] -= product / gram[j, j]
    return projected.mean(dim=0)


class PCGradMixin(TaskGradientMixin):
    """Each task's gradient is projected onto the normal plane of every other one that it conflicts with.

    The step's gradient is their mean; see [`pcgrad_weights`]. The gradients compared are the whole model's, and the
    others are visited in random order.
    """

    method = "pcgrad"
    title = "PCGrad (projecting conflicting gradients)"
    citation = COMPARED_IN_THE_PAPER

    def task_weights(self, gram: torch.Tensor, tasks: Sequence[str], group: str) -> torch.Tensor:
        """As in the parent."""
        return pcgrad_weights(gram, self.random_orders(len(tasks)))


class PCGradTrainer(PCGradMixin):
    """PCGrad over `transformers.Trainer`. See [`PCGradMixin`] and, for the arguments, its parent."""
