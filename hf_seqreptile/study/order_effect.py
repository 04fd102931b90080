"""Whether the order of tasks matters beyond what seeds do: two deviations, and a permutation test."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

EXACT = 10_000
"""Up to so many permutations all are taken; of more, so many are drawn."""


@dataclass(frozen=True)
class OrderEffect:
    """What orders do beside seeds.

    Args:
        orders: how many.
        seeds: how many, of each order.
        over_orders: the deviation of scores over orders, within a seed.
        over_seeds: the deviation of scores over seeds, within an order; NaN of one seed.
        p_value: how likely orders' means vary so much where order has no effect; NaN of one seed.
        permutations: that were counted for it.
    """

    orders: int
    seeds: int
    over_orders: float
    over_seeds: float
    p_value: float
    permutations: int


def order_effect(scores: NDArray[np.float64], seed: int = 0) -> OrderEffect:
    """Compare the variance over orders with the one over seeds.

    Where order has no effect, the scores of one seed could as well be those of its orders in any other arrangement.
    So the variance of the orders' means is compared with that of all arrangements within seeds; the first seed may
    keep its own, since moving all seeds alike changes nothing.

    Args:
        scores: shape (orders, seeds), of at least two orders.
        seed: of drawn permutations.
    """
    orders, seeds = scores.shape
    over_orders = math.sqrt(scores.var(axis=0, ddof=1).mean())
    if seeds == 1:
        return OrderEffect(orders, seeds, over_orders, math.nan, math.nan, 0)
    over_seeds = math.sqrt(scores.var(axis=1, ddof=1).mean())
    observed = scores.mean(axis=1).var()
    # As many as are equal but for rounding are counted.
    slack = 1e-9 * observed + 1e-18
    every = math.factorial(orders) ** (seeds - 1)
    arranged = _all(scores) if every <= EXACT else _drawn(scores, seed)
    found = np.array([one.mean(axis=1).var() for one in arranged])
    reached, number = int((found >= observed - slack).sum()), len(found)
    # Of drawn ones, what was observed is one more.
    p_value = reached / number if every <= EXACT else (reached + 1) / (number + 1)
    return OrderEffect(orders, seeds, over_orders, over_seeds, p_value, number)


def _all(scores: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    orders, seeds = scores.shape
    for chosen in product(list(permutations(range(orders))), repeat=seeds - 1):
        rest = [scores[list(order), place] for place, order in enumerate(chosen, start=1)]
        yield np.column_stack([scores[:, 0], *rest])


def _drawn(scores: NDArray[np.float64], seed: int) -> Iterator[NDArray[np.float64]]:
    draws = np.random.default_rng(seed)
    for _ in range(EXACT):
        yield draws.permuted(scores, axis=0)
