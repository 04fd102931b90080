"""Mining of parallel sentences, as in BUCC: which of two languages' sentences translate each other?

Candidates are scored by the ratio margin (Artetxe and Schwenk, 2019): the cosine over the mean cosine of both with
their nearest neighbours, so that a sentence that is close to everything counts for less.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .nearest_neighbours import nearest_neighbours
from .pairs import Pair
from .sentence_vectors import SentenceVectors

NEIGHBOURS = 4
"""The paper's k."""


@dataclass(frozen=True)
class Mined:
    """Candidates for translations, each sentence in one of them at most, the best first.

    Args:
        sentences: the source's and the target's.
        margins: of the candidates, descending.
        is_right: whether each is in the gold.
        gold: how many there are to find.
    """

    sentences: list[tuple[str, str]]
    margins: NDArray[np.float64]
    is_right: NDArray[np.bool_]
    gold: int


@dataclass(frozen=True)
class MiningScore:
    """What the candidates with a margin of at least `threshold` are worth, from 0 to 1.

    Args:
        threshold: of the margin.
        mined: candidates above it.
        precision: the share of them that is right.
        recall: the share of the gold that is among them.
        f1: of both.
    """

    threshold: float
    mined: int
    precision: float
    recall: float
    f1: float


def mine(
    vectors: SentenceVectors, pair: Pair, layer: int, progress: Callable[[int], object] = lambda queries: None
) -> Mined:
    """The candidates of a pair; a sentence that occurs several times counts once.

    Args:
        vectors: with those of the pair's sentences.
        pair: both languages' sentences.
        layer: whose vectors to take.
        progress: told how many sentences have been searched for, both languages' in all.
    """
    sides = [list(dict.fromkeys(side)) for side in (pair.source, pair.target)]
    source, target = (vectors.of(side, layer) for side in sides)
    there, to_target = nearest_neighbours(source, target, NEIGHBOURS, progress)
    back, to_source = nearest_neighbours(target, source, NEIGHBOURS, progress)
    means = there.mean(axis=1, dtype=np.float64), back.mean(axis=1, dtype=np.float64)
    forward = there / ((means[0][:, None] + means[1][to_target]) / 2)
    backward = back / ((means[1][:, None] + means[0][to_source]) / 2)
    places = np.concatenate(
        [
            np.stack([np.arange(len(source)), _best(forward, to_target)], axis=1),
            np.stack([_best(backward, to_source), np.arange(len(target))], axis=1),
        ]
    )
    margins = np.concatenate([forward.max(axis=1), backward.max(axis=1)])
    chosen = _without_repetition(places, margins)
    gold = _gold_of_distinct(pair, sides)
    kept = [(int(i), int(j)) for i, j in places[chosen]]
    return Mined(
        [(sides[0][i], sides[1][j]) for i, j in kept],
        margins[chosen],
        np.array([place in gold for place in kept]),
        len(gold),
    )


def best_threshold(mined: Mined) -> float:
    """The margin with the highest F1, halfway between two candidates, the highest such; 0 where all are best taken.

    Infinite where none is right.
    """
    right = mined.is_right.cumsum()
    # 2 · right / (mined + gold) is F1; candidates of one margin stay together.
    f1 = 2 * right / (np.arange(1, len(right) + 1) + mined.gold)
    following = np.append(mined.margins[1:], -np.inf)
    f1[mined.margins == following] = 0.0
    best = int(f1.argmax())
    if f1[best] == 0:
        return np.inf
    return 0.0 if best == len(f1) - 1 else float(mined.margins[best] + following[best]) / 2


def score(mined: Mined, threshold: float) -> MiningScore:
    """Precision, recall and F1 of the candidates with a margin of at least `threshold`."""
    count = int((mined.margins >= threshold).sum())
    right = int(mined.is_right[:count].sum())
    return MiningScore(
        threshold, count, right / count if count else 0.0, right / mined.gold, 2 * right / (count + mined.gold)
    )


def _best(margins: NDArray[np.float64], places: NDArray[np.int64]) -> NDArray[np.int64]:
    return places[np.arange(len(places)), margins.argmax(axis=1)]


def _without_repetition(places: NDArray[np.int64], margins: NDArray[np.float64]) -> list[int]:
    """The candidates, the best first, without those of which a sentence is in a better one."""
    seen: tuple[set[int], set[int]] = set(), set()
    chosen = []
    for candidate in np.argsort(-margins, kind="stable"):
        source, target = places[candidate].tolist()
        if source not in seen[0] and target not in seen[1]:
            seen[0].add(source)
            seen[1].add(target)
            chosen.append(int(candidate))
    return chosen


def _gold_of_distinct(pair: Pair, sides: list[list[str]]) -> set[tuple[int, int]]:
    """The gold by the places of distinct sentences."""
    place = [{sentence: i for i, sentence in enumerate(side)} for side in sides]
    gold = pair.gold or {(i, i) for i in range(len(pair.source))}
    return {(place[0][pair.source[i]], place[1][pair.target[j]]) for i, j in gold}
