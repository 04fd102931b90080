"""Sums of examples give the score that the metric gives, of the examples as they are and of any resample."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_seqreptile.metrics.classes import f1, matthews_correlation
from hf_seqreptile.metrics.correlations import pearson, ranks
from hf_seqreptile.metrics.example_sums import (
    ExampleSums,
    of_class_f1,
    of_correlation,
    of_entities,
    of_macro_f1,
    of_means,
    of_tag_accuracy,
    read_example_sums,
)
from hf_seqreptile.metrics.tags import entity_scores, tag_accuracy, tag_scores

TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
PAIRS = st.lists(
    st.integers(1, 6).flatmap(lambda n: st.tuples(*[st.lists(st.sampled_from(TAGS), min_size=n, max_size=n)] * 2)),
    min_size=1, max_size=6,
)  # fmt: skip
KINDS = {
    "entities": (of_entities, lambda predicted, true: entity_scores(predicted, true)["f1"]),
    "accuracy": (of_tag_accuracy, tag_accuracy),
    "macro F1": (of_macro_f1, lambda predicted, true: tag_scores(predicted, true)["macro_f1"]),
}


@pytest.mark.parametrize("kind", KINDS)
@given(pairs=PAIRS, data=st.data())
def test_of_tags(kind: str, pairs: list, data: st.DataObject) -> None:
    make, score = KINDS[kind]
    predicted, true = ([side[i] for side in pairs] for i in (0, 1))
    sums = make(predicted, true)
    assert sums.score == pytest.approx(score(predicted, true))
    counts = data.draw(st.lists(st.integers(0, 3), min_size=len(pairs), max_size=len(pairs)))
    drawn = [i for i, number in enumerate(counts) for _ in range(number)]
    if drawn:
        resampled = score([predicted[i] for i in drawn], [true[i] for i in drawn])
        assert sums.scores(np.array([counts]))[0] == pytest.approx(resampled)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=20), st.data())
def test_of_classes(pairs: list, data: st.DataObject) -> None:
    predicted, true = np.array(pairs).T
    counts = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(pairs), max_size=len(pairs))))
    of_f1, of_phi = of_class_f1(predicted, true, 1), of_correlation(predicted == 1, true == 1, "matthews_correlation")
    assert of_f1.score == pytest.approx(f1(predicted, true, 1))
    assert of_phi.score == pytest.approx(matthews_correlation(predicted, true, 1), abs=1e-9)
    if counts.sum():
        drawn = np.repeat(np.arange(len(pairs)), counts)
        assert of_f1.scores(counts[None])[0] == pytest.approx(f1(predicted[drawn], true[drawn], 1))
        expected = matthews_correlation(predicted[drawn], true[drawn], 1)
        assert of_phi.scores(counts[None])[0] == pytest.approx(expected, abs=1e-6)


@given(st.lists(st.tuples(*[st.floats(-1e6, 1e6, width=32)] * 2), min_size=2, max_size=20))
def test_of_numbers(pairs: list) -> None:
    one, other = np.array(pairs).T
    assert of_correlation(ranks(one), ranks(other), "spearmanr").score == pytest.approx(
        pearson(ranks(one), ranks(other)), abs=1e-9
    )


def test_a_file_holds_them(tmp_path) -> None:
    sums = of_means([1, 0, 0.25], "accuracy")
    (tmp_path / "sums.json").write_text(sums.as_json("de"))
    task, read = read_example_sums(tmp_path / "sums.json")
    assert (task, read.kind, read.metric) == ("de", sums.kind, "accuracy")
    np.testing.assert_array_equal(read.values, sums.values)


def test_a_resample_with_nothing_to_score_is_0() -> None:
    assert ExampleSums("ratio", np.zeros((3, 2)), "f1").score == 0
