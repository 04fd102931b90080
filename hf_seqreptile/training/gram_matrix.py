"""The products of several tasks' gradients."""

from collections.abc import Sequence

import torch

CHUNK = 1 << 18
"""Numbers of each gradient that are multiplied at a time: few enough to stay in a processor's cache."""


def products(gradients: Sequence[torch.Tensor]) -> torch.Tensor:
    """g_i · g_j of n gradients of one parameter, shape (n, n), summed in float32."""
    flat = [gradient.reshape(-1) for gradient in gradients]
    total = torch.zeros(len(flat), len(flat), device=flat[0].device)
    for start in range(0, flat[0].numel(), CHUNK):
        chunk = torch.stack([gradient[start : start + CHUNK] for gradient in flat]).float()
        total.addmm_(chunk, chunk.T)
    return total
