"""How well predicted numbers go with the true ones."""

import logging

import numpy as np

logger = logging.getLogger(__name__)


def correlations(predicted: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """`pearson`, of the numbers, and `spearmanr`, of their ranks, from -1 to 1.

    Both are 0 where all predictions are equal. Where all true numbers are, nothing can go with them: both are 0, and a
    warning tells.

    Args:
        predicted: by a model, (examples,).
        true: as many.
    """
    if (true == true[0]).all():
        logger.warning("All numbers to predict are %g: no correlation with them is defined. It counts as 0.", true[0])
    return {
        "pearson": pearson(predicted, true),
        "spearmanr": pearson(ranks(predicted), ranks(true)),
    }


def pearson(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's correlation, from -1 to 1; 0 where all numbers of one side are equal."""
    one, other = one.astype(float), other.astype(float)
    if (one == one[0]).all() or (other == other[0]).all():
        return 0.0
    one, other = one - one.mean(), other - other.mean()
    return float(np.sum(one * other) / np.sqrt(np.sum(one**2) * np.sum(other**2)))


def ranks(values: np.ndarray) -> np.ndarray:
    """The rank of each value from 1; equal ones share the mean of theirs."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[places]
