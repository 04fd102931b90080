"""Scores of classes, one an example."""

import numpy as np

from .correlations import pearson


def accuracy(predicted: np.ndarray, true: np.ndarray) -> float:
    """The share of examples whose class is right."""
    return float(np.mean(predicted == true))


def f1(predicted: np.ndarray, true: np.ndarray, positive: int) -> float:
    """F1 of the class `positive`, 0 where it is neither predicted nor right."""
    right = np.sum((predicted == positive) & (true == positive))
    either = np.sum(predicted == positive) + np.sum(true == positive)
    return float(2 * right / either) if either else 0.0


def matthews_correlation(predicted: np.ndarray, true: np.ndarray, positive: int) -> float:
    """Matthews' correlation coefficient of the class `positive` against all others, from -1 to 1.

    It is Pearson's correlation of who has the class: 0 where all examples have it, or all are given it, or none.
    """
    return pearson(predicted == positive, true == positive)
