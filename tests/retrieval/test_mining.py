"""Mining: the ratio margin, the choice of the threshold and the scores against their plain definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_seqreptile.retrieval.mining import NEIGHBOURS, Mined, best_threshold, mine, score
from hf_seqreptile.retrieval.nearest_neighbours import normalized
from hf_seqreptile.retrieval.pairs import Pair
from hf_seqreptile.retrieval.sentence_vectors import SentenceVectors


def made(sizes: tuple[int, int], gold: int, seed: int) -> tuple[Pair, SentenceVectors]:
    """Random vectors, of which the first `gold` of both languages lie near each other."""
    random = np.random.default_rng(seed)
    source, target = (random.normal(size=(size, 6)).astype(np.float32) for size in sizes)
    target[:gold] = source[:gold] + 0.5 * random.normal(size=(gold, 6)).astype(np.float32)
    sides = [f"s{i}" for i in range(sizes[0])], [f"t{i}" for i in range(sizes[1])]
    rows = {sentence: row for row, sentence in enumerate((*sides[0], *sides[1]))}
    pair = Pair(*sides, frozenset((i, i) for i in range(gold)))
    return pair, SentenceVectors(np.concatenate([source, target]), rows, [12])


def as_defined(x: np.ndarray, y: np.ndarray) -> dict[tuple[int, int], float]:
    """The margin of each candidate that is a best one of either side, one by one, then greedily without repetition."""
    k = [min(NEIGHBOURS, len(side)) for side in (y, x)]
    cosines = x.astype(np.float64) @ y.T.astype(np.float64)
    near_x = [np.sort(row)[::-1][: k[0]].mean() for row in cosines]
    near_y = [np.sort(column)[::-1][: k[1]].mean() for column in cosines.T]
    margin = lambda i, j: cosines[i, j] / (near_x[i] / 2 + near_y[j] / 2)  # noqa: E731
    best: dict[tuple[int, int], float] = {}
    for i in range(len(x)):
        j = max(np.argsort(-cosines[i])[: k[0]], key=lambda j: margin(i, j))
        best[i, int(j)] = margin(i, j)
    for j in range(len(y)):
        i = max(np.argsort(-cosines[:, j])[: k[1]], key=lambda i: margin(i, j))
        best[int(i), j] = margin(i, j)
    kept: dict[tuple[int, int], float] = {}
    for (i, j), value in sorted(best.items(), key=lambda item: -item[1]):
        if all(i != one and j != two for one, two in kept):
            kept[i, j] = value
    return kept


@settings(max_examples=30, deadline=None)
@given(sizes=st.tuples(st.integers(2, 25), st.integers(2, 25)), seed=st.integers(0, 1000))
def test_candidates_are_those_of_the_definition(sizes: tuple[int, int], seed: int) -> None:
    pair, vectors = made(sizes, min(sizes) // 2 + 1, seed)
    x, y = normalized(vectors.array[: sizes[0]]), normalized(vectors.array[sizes[0] :])
    expected = as_defined(x, y)
    found = mine(vectors, pair, 12)
    places = [(int(source[1:]), int(target[1:])) for source, target in found.sentences]
    assert places == list(expected)
    np.testing.assert_allclose(found.margins, list(expected.values()), rtol=1e-3, atol=1e-5)
    assert found.is_right.tolist() == [i == j and i < found.gold for i, j in places]


@settings(max_examples=60)
@given(
    margins=st.lists(st.sampled_from([0.5, 0.9, 1.0, 1.1, 1.3, 2.0]), min_size=1, max_size=12),
    right=st.lists(st.booleans(), min_size=12, max_size=12),
    missed=st.integers(0, 3),
)
def test_no_threshold_has_a_higher_f1_than_the_best(margins: list[float], right: list[bool], missed: int) -> None:
    is_right = np.array(right[: len(margins)])
    mined = Mined([("", "")] * len(margins), -np.sort(-np.array(margins)), is_right, int(is_right.sum()) + missed or 1)
    best = score(mined, best_threshold(mined)).f1
    every = [score(mined, threshold).f1 for threshold in (0.0, *(m + d for m in margins for d in (-0.01, 0.01)))]
    assert best == pytest.approx(max(every))


def test_scores_are_what_their_definitions_say() -> None:
    mined = Mined([("", "")] * 4, np.array([3.0, 2.0, 1.0, 0.5]), np.array([True, False, True, True]), 5)
    found = score(mined, 1.0)
    assert (found.mined, found.precision, found.recall) == (3, 2 / 3, 2 / 5)
    assert found.f1 == pytest.approx(2 * (2 / 3 * 2 / 5) / (2 / 3 + 2 / 5))
    assert best_threshold(mined) == 0.0
    nothing = Mined([("", "")] * 2, np.array([3.0, 2.0]), np.array([False, False]), 5)
    assert best_threshold(nothing) == np.inf
    assert (score(nothing, np.inf).mined, score(nothing, np.inf).f1) == (0, 0)


def test_a_sentence_that_occurs_twice_counts_once() -> None:
    _, vectors = made((3, 3), 3, seed=0)
    pair = Pair(["s0", "s1", "s0"], ["t0", "t1", "t0"])
    found = mine(vectors, pair, 12)
    assert found.gold == 2 and len(found.sentences) <= 2


def test_the_threshold_of_one_set_serves_another() -> None:
    """Among distractors: with a threshold precision is higher than without."""
    development, of_development = made((60, 70), 30, seed=1)
    test, of_test = made((60, 70), 30, seed=2)
    mined = mine(of_test, test, 12)
    threshold = best_threshold(mine(of_development, development, 12))
    assert 0 < threshold < np.inf
    assert score(mined, threshold).precision > score(mined, 0.0).precision
    assert score(mined, threshold).f1 > score(mined, 0.0).f1
