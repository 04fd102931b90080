"""Scores of classes, beside what their definitions say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_seqreptile.metrics.classes import accuracy, f1, matthews_correlation

PAIRS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=12)


@given(PAIRS)
def test_scores_of_two_classes(pairs: list[tuple[int, int]]) -> None:
    """From the four numbers of right and wrong ones; a score without a denominator is 0."""
    tp, fp, fn, tn = (pairs.count(pair) for pair in ((1, 1), (1, 0), (0, 1), (0, 0)))
    predicted, true = (np.array(values) for values in zip(*pairs, strict=True))
    assert accuracy(predicted, true) == pytest.approx((tp + tn) / len(pairs))
    precision, recall = tp / max(tp + fp, 1), tp / max(tp + fn, 1)
    mean = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    assert f1(predicted, true, positive=1) == pytest.approx(mean)
    product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    expected = (tp * tn - fp * fn) / product**0.5 if product else 0.0
    assert matthews_correlation(predicted, true, positive=1) == pytest.approx(expected)
