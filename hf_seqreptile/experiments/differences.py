"""Differences between methods with their uncertainty: over seeds, and over test examples."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ..metrics.example_sums import ExampleSums

RESAMPLES = 2000
COUNTS_AT_ONCE = 4_000_000
"""How often each example is taken, in so many numbers at once: 32 MB."""
CONFIDENCE = 0.95

TaskSums = Mapping[str, Sequence[ExampleSums]]
"""Of each task the sums of each seed's run, all of the same examples in the same order."""


@dataclass(frozen=True)
class Estimate:
    """A number with its uncertainty.

    Args:
        value: the mean over seeds.
        low: where the 95 % interval begins; NaN where nothing is known of it.
        high: where it ends.
        p_value: two-sided, that the true value is 0.
        counts_seeds: whether the interval has the seeds' part.
        counts_examples: whether it has the test examples' part.
    """

    value: float
    low: float
    high: float
    p_value: float
    counts_seeds: bool
    counts_examples: bool


def estimate(seeds: Sequence[NDArray[np.float64]], variance_over_examples: float | None) -> Estimate:
    """A mean over seeds, or a difference of two, with its interval.

    Two sources of chance are independent of each other: which seed (Welch's variance of a difference, s²/n of each
    side), and which test examples there happen to be (a bootstrap's variance). Their variances add up; the interval is
    Student's, with Satterthwaite's degrees of freedom.

    Args:
        seeds: one side's scores by seed; or two sides', whose difference is taken.
        variance_over_examples: of the mean or the difference, over resamples of the examples; `None` if not known.
    """
    means = [float(side.mean()) for side in seeds]
    value = means[0] - (means[1] if len(means) > 1 else 0.0)
    counts_seeds = all(len(side) > 1 for side in seeds)
    parts = [(float(side.var(ddof=1)) / len(side), len(side) - 1) for side in seeds] if counts_seeds else []
    over_seeds = sum(part for part, _ in parts)
    variance = over_seeds + (variance_over_examples or 0.0)
    known = counts_seeds or variance_over_examples is not None
    if not known:
        return Estimate(value, math.nan, math.nan, math.nan, False, False)
    below = sum(part**2 / freedom for part, freedom in parts)
    freedom = variance**2 / below if below else math.inf
    error = math.sqrt(variance)
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, freedom)) * error
    p_value = 2 * float(stats.t.sf(abs(value) / error, freedom)) if error else float(value == 0)
    return Estimate(value, value - half, value + half, p_value, counts_seeds, variance_over_examples is not None)


def resampled_means(sums: TaskSums, seed: int = 0) -> NDArray[np.float64] | None:
    """The mean over tasks and seeds of a method's scores, on resamples of each task's examples.

    The same resamples for all methods, since the seed and the numbers of examples are the same: so differences of
    these are a paired bootstrap's.

    Args:
        sums: of the tasks to average over.
        seed: of the resamples.

    Returns:
        Shape (RESAMPLES,); `None` where a task has no sums.
    """
    if not sums or not all(sums.values()):
        return None
    of_tasks = []
    for task in sorted(sums):
        examples = len(sums[task][0].values)
        draws = np.random.default_rng([seed, examples, *task.encode()])
        at_once = max(1, COUNTS_AT_ONCE // examples)
        blocks = []
        for begin in range(0, RESAMPLES, at_once):
            size = min(at_once, RESAMPLES - begin)
            counts = draws.multinomial(examples, np.full(examples, 1 / examples), size=size)
            blocks.append(np.mean([one.scores(counts) for one in sums[task]], axis=0))
        of_tasks.append(np.concatenate(blocks))
    return np.mean(of_tasks, axis=0)


def mean_or_difference(seeds: Sequence[NDArray[np.float64]], sums: Sequence[TaskSums]) -> Estimate:
    """A mean over tasks and seeds, or a difference of two, with both sources of chance where they are known.

    Args:
        seeds: one side's means over tasks, by seed; or two sides'.
        sums: of each side the sums of the same tasks' examples.
    """
    resamples = [resampled_means(of_side) for of_side in sums]
    if any(one is None for one in resamples):
        return estimate(seeds, None)
    of_one = resamples[0] - (resamples[1] if len(resamples) > 1 else 0.0)  # type: ignore[operator]
    return estimate(seeds, float(np.var(of_one, ddof=1)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction: how likely it is that the smallest of several p-values is so small by chance, and so on."""
    order = np.argsort(p_values)
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected
