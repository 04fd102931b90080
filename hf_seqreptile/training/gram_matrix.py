"""The products of several tasks' gradients."""

from collections.abc import Sequence

import torch

CHUNK = 1 << 16
"""Numbers of each gradient that are multiplied at a time: few enough to stay in a processor's cache."""
CHUNK_OF_ACCELERATORS = 1 << 18
"""The same where each call takes longer to start than to work on fewer."""


@torch.no_grad()
def products(gradients: Sequence[torch.Tensor]) -> torch.Tensor:
    """g_i · g_j of n gradients of one parameter, shape (n, n), summed in float32."""
    flat = [gradient.reshape(-1) for gradient in gradients]
    numbers, device = flat[0].numel(), flat[0].device
    size = CHUNK if device.type == "cpu" else CHUNK_OF_ACCELERATORS
    total = torch.zeros(len(flat), len(flat), device=device)
    # One place for all chunks: memory that is new each time would not be in the cache.
    rows = torch.empty(len(flat), min(size, numbers), device=device)
    for start in range(0, numbers, size):
        chunk = rows[:, : numbers - start]
        torch.stack([gradient[start : start + size] for gradient in flat], out=chunk)
        total.addmm_(chunk, chunk.T)
    return total
