"""The search for the best spans, beside a slow one that reads like its definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hf_seqreptile.problems import answer_spans
from hf_seqreptile.problems.answer_spans import Spans, best_spans, null_spans

Problem = tuple[NDArray, NDArray, NDArray, NDArray, NDArray]
Row = tuple[int, int, int, float, float]


def rows(spans: Spans) -> list[Row]:
    columns = spans.examples, spans.starts, spans.ends, spans.start_logits, spans.end_logits
    return list(zip(*(column.tolist() for column in columns), strict=True))


def slow_best_spans(
    start_logits: NDArray,
    end_logits: NDArray,
    firsts: NDArray,
    lasts: NDArray,
    examples: NDArray,
    n: int,
    longest: int,
) -> list[Row]:
    """For each feature all pairs of its n best starts and ends, for each example its n best distinct spans."""
    candidates: dict[int, list[Row]] = {example: [] for example in sorted(set(examples.tolist()))}
    for feature, example in enumerate(examples.tolist()):
        context = [token for token in range(firsts.shape[1]) if firsts[feature, token] >= 0]
        starts = sorted(context, key=lambda token: (-start_logits[feature, token], token))[:n]
        ends = sorted(context, key=lambda token: (-end_logits[feature, token], token))[:n]
        pairs = []
        for i in starts:
            for j in ends:
                if i <= j < i + longest and firsts[feature, i] < lasts[feature, j]:
                    score = start_logits[feature, i] + end_logits[feature, j]
                    pairs.append((-score, i, j))
        for _, i, j in sorted(pairs)[:n]:
            row = (example, firsts[feature, i], lasts[feature, j], start_logits[feature, i], end_logits[feature, j])
            candidates[example].append(tuple(number.item() if hasattr(number, "item") else number for number in row))
    found: list[Row] = []
    for own in candidates.values():
        places = set()
        kept = 0
        for row in sorted(own, key=lambda row: (-(row[3] + row[4]), row[1], row[2], -row[3])):
            if row[1:3] not in places and kept < n:
                places.add(row[1:3])
                found.append(row)
                kept += 1
    return found


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Windows of a few contexts; few distinct logits, so that many scores are equal; a few tokens without text."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    features, length = draw(st.integers(1, 7)), draw(st.integers(1, 12))
    logits = random.integers(-3, 4, (2, features, length)).astype(np.float32)
    widths = random.integers(0, 3, (features, length))
    ends = np.cumsum(widths, axis=1) + random.integers(0, 2, (features, 1))
    starts = ends - widths
    begin, stop = np.sort(random.integers(0, length + 1, (2, features, 1)), axis=0)
    starts, ends = starts.astype(np.int32), ends.astype(np.int32)
    outside = (np.arange(length) < begin) | (np.arange(length) >= stop)
    starts[outside] = ends[outside] = -1
    # Neither the question's tokens nor the padding may have a say.
    logits[:, outside] = random.choice([-100.0, 100.0])
    return logits[0], logits[1], starts, ends, random.integers(0, 4, features)


@settings(max_examples=100)
@given(
    problem=problems(), n_best=st.integers(1, 6), longest=st.integers(1, 8), at_once=st.sampled_from([1, 20, 10**6])
)
def test_agrees_with_the_definition(problem: Problem, n_best: int, longest: int, at_once: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answer_spans, "_PAIRS_AT_ONCE", at_once)
        assert rows(best_spans(*problem, n_best, longest)) == slow_best_spans(*problem, n_best, longest)


@settings(max_examples=50)
@given(problem=problems(), seed=st.integers(0, 1000))
def test_the_order_of_features_does_not_matter(problem: Problem, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(problem[-1]))
    starts, ends, firsts, lasts, examples = (array[order] for array in problem)
    shuffled = best_spans(starts, ends, firsts, lasts, examples, 3, 5)
    assert rows(shuffled) == rows(best_spans(*problem, 3, 5))


@settings(max_examples=50)
@given(problem=problems(), seed=st.integers(0, 1000))
def test_no_answer_has_the_lowest_score_of_all_windows(problem: Problem, seed: int) -> None:
    starts, ends, _, _, examples = problem
    positions = np.random.default_rng(seed).integers(0, starts.shape[1], len(examples))
    spans = null_spans(starts, ends, positions, examples)
    assert spans.examples.tolist() == sorted(set(examples.tolist()))
    assert not spans.starts.any() and not spans.ends.any()
    for example, score in zip(spans.examples, spans.scores, strict=True):
        own = [starts[i, p] + ends[i, p] for i, p in enumerate(positions) if examples[i] == example]
        assert score == min(own)


def test_a_model_whose_best_tokens_lie_in_the_question_still_answers() -> None:
    """Taking the best tokens first and dropping those outside the context afterwards would leave none."""
    length, n_best = 50, 20
    logits = np.where(np.arange(length) < 30, 5.0, -5.0).astype(np.float32)[None]
    offsets = np.where(np.arange(length) < 30, -1, np.arange(length))[None]
    spans = best_spans(logits, logits, offsets, np.where(offsets < 0, -1, offsets + 1), np.array([0]), n_best)
    assert len(spans.examples) == n_best


def test_half_precision_does_not_overflow() -> None:
    logits = np.array([[40000.0, 30000.0]], dtype=np.float16)
    spans = best_spans(logits, logits, np.array([[0, 2]]), np.array([[2, 4]]), np.array([0]))
    assert spans.scores.tolist() == [80000.0, 70000.0, 60000.0]
    assert np.isfinite(null_spans(logits, logits, np.array([0]), np.array([0])).scores).all()


def test_nothing_in_nothing_out() -> None:
    none = np.zeros((0, 5), dtype=np.float32)
    assert rows(best_spans(none, none, none.astype(int), none.astype(int), np.zeros(0, dtype=int))) == []
