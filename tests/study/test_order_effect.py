"""Whether order matters: the permutation test beside SciPy's, and what must not change it."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from hf_seqreptile.study.order_effect import EXACT, order_effect

VALUES = st.floats(0, 1).map(lambda value: round(value, 3))


def scores(orders: int, seeds: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(orders, seeds))


@pytest.mark.parametrize(("orders", "seeds"), [(2, 2), (3, 2), (4, 2), (3, 3), (2, 5)])
def test_it_is_scipys_exact_test(orders: int, seeds: int) -> None:
    values = scores(orders, seeds)
    expected = stats.permutation_test(
        tuple(values),
        lambda *data: np.var([one.mean() for one in data]),
        permutation_type="samples",
        alternative="greater",
        n_resamples=np.inf,
    )
    found = order_effect(values)
    assert found.permutations == math.factorial(orders) ** (seeds - 1) <= EXACT
    assert found.p_value == pytest.approx(expected.pvalue)


def test_of_too_many_arrangements_some_are_drawn() -> None:
    values = scores(6, 4)
    found = order_effect(values)
    assert found.permutations == EXACT and found == order_effect(values)
    assert order_effect(values, seed=1).p_value == pytest.approx(found.p_value, abs=0.02)


def test_where_order_is_all_there_is_the_p_value_is_the_smallest() -> None:
    values = np.repeat([[0.1], [0.2], [0.4]], 2, axis=1)
    found = order_effect(values)
    assert found.p_value == pytest.approx(1 / 6) and found.over_seeds == 0
    assert found.over_orders == pytest.approx(np.std([0.1, 0.2, 0.4], ddof=1))


def test_where_nothing_differs_nothing_is_claimed() -> None:
    assert order_effect(np.full((3, 2), 0.7)).p_value == 1


def test_of_one_seed_nothing_is_told() -> None:
    found = order_effect(scores(3, 1))
    assert math.isnan(found.p_value) and math.isnan(found.over_seeds) and found.over_orders > 0


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=2, max_size=4), st.tuples(VALUES, VALUES, VALUES))
def test_good_seeds_change_nothing(rows: list[tuple[float, ...]], better: tuple[float, ...]) -> None:
    values = np.array(rows)
    one, other = order_effect(values), order_effect(values + np.array(better))
    assert one.p_value == pytest.approx(other.p_value)
    assert one.over_orders == pytest.approx(other.over_orders, abs=1e-12)
    assert one.p_value == pytest.approx(order_effect(values[::-1]).p_value)


def test_it_errs_as_often_as_it_says() -> None:
    """Where order does nothing, p ≤ 0.2 in about a fifth of all studies."""
    found = [order_effect(scores(3, 3, seed)).p_value <= 0.2 for seed in range(400)]
    assert 0.12 < np.mean(found) < 0.28
