"""Pearson's and Spearman's correlation, beside SciPy's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hf_seqreptile.metrics.correlations import correlations

NUMBERS = st.integers(-40, 40).map(lambda i: i / 8)


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=10))
def test_they_are_scipys_but_for_constants(pairs: list[tuple[float, float]]) -> None:
    """Ties share the mean of their ranks."""
    predicted, true = (np.array(values, dtype=np.float32) for values in zip(*pairs, strict=True))
    found = correlations(predicted, true)
    if len(set(predicted)) == 1 or len(set(true)) == 1:
        assert found == {"pearson": 0.0, "spearmanr": 0.0}
    else:
        assert found["pearson"] == pytest.approx(stats.pearsonr(predicted.astype(float), true.astype(float)).statistic)
        assert found["spearmanr"] == pytest.approx(stats.spearmanr(predicted, true).statistic)


def test_constants_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    correlations(np.zeros(2), np.array([1.0, 2.0]))
    assert not caplog.records
    correlations(np.array([1.0, 2.0]), np.array([2.5, 2.5]))
    assert "All numbers to predict are 2.5: no correlation with them is defined. It counts as 0." in caplog.text
