"""Nearest neighbours among vectors: exact, by blocks."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

QUERIES_AT_ONCE, CANDIDATES_AT_ONCE = 1024, 2048
"""The sides of a block of similarities, 8 MiB: it stays in a processor's cache or nearly."""


def normalized(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors of length 1, so that the product of two is their cosine; one of zeros stays."""
    return torch.nn.functional.normalize(torch.from_numpy(np.ascontiguousarray(vectors)), dim=1).numpy()


def nearest_neighbours(
    queries: NDArray[np.float32],
    candidates: NDArray[np.float32],
    k: int = 1,
    progress: Callable[[int], object] = lambda queries: None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The candidates with the largest products with each query: exact, on the accelerator where there is one.

    Beside the arguments and the result it holds a few blocks, below 64 MiB for k up to 16 however many vectors there
    are; on an accelerator also the candidates.

    Args:
        queries: shape (queries, size); of length 1 for cosines.
        candidates: shape (candidates, size).
        k: neighbours of each query; as many as there are candidates, if these are fewer.
        progress: told the number of queries after each block of them.

    Returns:
        The products and the candidates' places, each of shape (queries, k), the largest first. Of equal candidates the
        first is the nearest; for k above 1 their order is not defined.
    """
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    k = min(k, len(candidates))
    values = np.empty((len(queries), k), dtype=np.float32)
    places = np.empty((len(queries), k), dtype=np.int64)
    others = torch.from_numpy(candidates).to(device)
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        block = torch.from_numpy(queries[start : start + QUERIES_AT_ONCE]).to(device)
        best = torch.full((len(block), k), -torch.inf, device=device)
        where = torch.zeros((len(block), k), dtype=torch.int64, device=device)
        for begin in range(0, len(others), CANDIDATES_AT_ONCE):
            found, at = _largest(block @ others[begin : begin + CANDIDATES_AT_ONCE].T, k)
            # What was found before comes first, so that it stays where the new ones are equal.
            best, order = _largest(torch.cat([best, found], dim=1), k)
            where = torch.cat([where, at + begin], dim=1).gather(1, order)
        values[start : start + len(block)] = best.cpu().numpy()
        places[start : start + len(block)] = where.cpu().numpy()
        progress(len(block))
    return values, places


def _largest(values: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest of each row and their places; of equal ones the first, for a k of 1."""
    largest, places = values.max(dim=1, keepdim=True) if k == 1 else values.topk(min(k, values.shape[1]), dim=1)
    return largest, places
