"""Nearest neighbours: those of the whole matrix of similarities, whatever the blocks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_seqreptile.retrieval import nearest_neighbours as module
from hf_seqreptile.retrieval.nearest_neighbours import nearest_neighbours, normalized


@settings(max_examples=60)
@given(
    sizes=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    k=st.integers(1, 6),
    blocks=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    seed=st.integers(0, 100),
)
def test_blocks_change_nothing(sizes: tuple[int, int], k: int, blocks: tuple[int, int], seed: int) -> None:
    random = np.random.default_rng(seed)
    queries, candidates = (normalized(random.normal(size=(size, 5)).astype(np.float32)) for size in sizes)
    told: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "QUERIES_AT_ONCE", blocks[0])
        patch.setattr(module, "CANDIDATES_AT_ONCE", blocks[1])
        values, places = nearest_neighbours(queries, candidates, k, told.append)
    similarities = queries @ candidates.T
    expected = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
    assert places.tolist() == expected.tolist()
    np.testing.assert_allclose(values, np.take_along_axis(similarities, expected, axis=1), atol=1e-6)
    assert sum(told) == len(queries) and max(told) <= blocks[0]


@pytest.mark.parametrize("block", [1, 2, 3, 50])
def test_of_equal_candidates_the_first_is_the_nearest(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CANDIDATES_AT_ONCE", block)
    candidates = np.array([[0, 1], [1, 0], [0, 1], [1, 0], [1, 0]], dtype=np.float32)
    assert nearest_neighbours(candidates, candidates)[1][:, 0].tolist() == [0, 1, 0, 1, 1]


def test_vectors_have_length_1_but_for_those_of_zeros() -> None:
    found = normalized(np.array([[3, 4], [0, 0], [1e-3, 0]], dtype=np.float32))
    np.testing.assert_allclose(found, [[0.6, 0.8], [0, 0], [1, 0]], rtol=1e-6)
