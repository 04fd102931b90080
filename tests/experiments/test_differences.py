"""Intervals and p-values, against scipy's and against known variances."""

import numpy as np
import pytest
from scipy import stats

from hf_seqreptile.experiments.differences import RESAMPLES, estimate, holm, resampled_means
from hf_seqreptile.metrics.example_sums import of_means

ONE, OTHER = np.array([0.71, 0.75, 0.74]), np.array([0.70, 0.69, 0.73])


def test_a_difference_over_seeds_is_welchs() -> None:
    found, expected = estimate([ONE, OTHER], None), stats.ttest_ind(ONE, OTHER, equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.counts_seeds and not found.counts_examples


def test_a_mean_over_seeds_is_students() -> None:
    found = estimate([ONE], None)
    expected = stats.ttest_1samp(ONE, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_examples_alone_are_normal() -> None:
    found = estimate([np.array([0.5])], 0.01)
    assert (found.low, found.high) == pytest.approx((0.5 - 1.959964 * 0.1, 0.5 + 1.959964 * 0.1))
    assert found.counts_examples and not found.counts_seeds


def test_both_kinds_of_chance_add_up() -> None:
    apart, both = estimate([ONE, OTHER], None), estimate([ONE, OTHER], 0.0004)
    assert both.high - both.low > 2 * 1.96 * 0.02
    assert both.value == apart.value


def test_one_seed_without_examples_has_no_interval() -> None:
    found = estimate([ONE[:1], OTHER[:1]], None)
    assert np.isnan(found.low) and np.isnan(found.p_value) and found.value == pytest.approx(0.01)


def test_resamples_have_the_variance_of_a_mean() -> None:
    right = np.random.default_rng(0).random(400) < 0.7
    found = resampled_means({"de": [of_means(right, "accuracy")]})
    assert found is not None and len(found) == RESAMPLES
    expected = right.mean() * (1 - right.mean()) / 400
    assert np.var(found) == pytest.approx(expected, rel=0.15)
    assert np.mean(found) == pytest.approx(right.mean(), abs=0.003)


def test_methods_share_their_resamples() -> None:
    """So a method that is right on one example more, always the same, has a difference of little variance."""
    right = np.random.default_rng(0).random(400) < 0.7
    better = right.copy()
    better[np.flatnonzero(~right)[0]] = True
    one, other = (resampled_means({"de": [of_means(side, "accuracy")]}) for side in (right, better))
    assert one is not None and other is not None
    assert np.var(other - one) == pytest.approx(1 / 400**2, rel=0.3)


def test_a_task_without_sums_has_no_resamples() -> None:
    assert resampled_means({"de": [of_means([1, 0], "accuracy")], "sw": []}) is None


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
