"""From the logits of every token to the best spans of text: the search that question answering ends in."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Integers = NDArray[np.integer]

# Pairs of a start and an end in memory at once; more would not fit into a processor's cache.
_PAIRS_AT_ONCE = 1 << 17


@dataclass(frozen=True)
class Spans:
    """Candidate answers, one a row; all arrays have the shape (spans,).

    Args:
        examples: the example that each span belongs to, as numbered by the caller.
        starts: the span's first character in the example's context.
        ends: the character after its last one.
        start_logits: the logit of its first token as the start of the answer.
        end_logits: the logit of its last token as the end of the answer.
    """

    examples: Integers
    starts: Integers
    ends: Integers
    start_logits: Floats
    end_logits: Floats

    @property
    def scores(self) -> Floats:
        """The sum of both logits, (spans,)."""
        return self.start_logits + self.end_logits

    def take(self, rows: NDArray) -> "Spans":
        """The spans at `rows`, an array of indices or a mask."""
        return Spans(*(column[rows] for column in _columns(self)))


def join(spans: Sequence[Spans]) -> Spans:
    """All spans as one."""
    return Spans(*map(np.concatenate, zip(*map(_columns, spans), strict=True)))


def best_spans(
    start_logits: Floats,
    end_logits: Floats,
    offset_starts: Integers,
    offset_ends: Integers,
    examples: Integers,
    n_best: int = 20,
    max_answer_length: int = 30,
) -> Spans:
    """The `n_best` spans of each example, which may be spread over several features (windows of its context).

    In every feature the `n_best` starts and the `n_best` ends are paired, and the `n_best` pairs kept. The widespread
    algorithm takes the best starts and ends of all tokens and drops those outside the context afterwards, so that a
    weak model, whose best ones lie in the question, may be left without any. Here they are taken from the context's
    tokens in the first place.

    Args:
        start_logits: how well an answer starts at each token, (features, length). Values outside the context, such as
            those of padding, do not matter.
        end_logits: how well an answer ends at each token, (features, length).
        offset_starts: the character of the context at which each token starts, (features, length); -1 for the tokens
            outside the context: question, special tokens and padding.
        offset_ends: the character after each token's last one, (features, length); -1 as above.
        examples: the number of the example that each feature belongs to, (features,), in any order.
        n_best: how many starts, ends and pairs of a feature, and how many spans of an example, are kept.
        max_answer_length: tokens that a span may have.

    Returns:
        Spans of at least one character, by ascending example and from best to worst, none twice in an example. Of
        equal scores the one that starts first comes first, then the one that ends first. The order of the features
        does not matter. An example without a fitting pair has no span.
    """
    found = [
        _best_of_features(
            start_logits[rows],
            end_logits[rows],
            offset_starts[rows],
            offset_ends[rows],
            examples[rows],
            n_best,
            max_answer_length,
        )
        for rows in _chunks(len(examples), max(1, _PAIRS_AT_ONCE // n_best**2))
    ]
    return _best_of_examples(join(found), n_best)


def null_spans(start_logits: Floats, end_logits: Floats, positions: Integers, examples: Integers) -> Spans:
    """For each example the empty span that stands for "no answer", with its lowest score in any feature.

    A window without the answer scores it high; only where all windows do so has the example no answer.

    Args:
        start_logits: (features, length).
        end_logits: (features, length).
        positions: the token of each feature, CLS as a rule, that stands for "no answer", (features,).
        examples: the number of the example that each feature belongs to, (features,), in any order.

    Returns:
        One span an example, from character 0 to 0, by ascending example.
    """
    rows, zeros = np.arange(len(examples)), np.zeros(len(examples), dtype=np.int64)
    logits = (_single_precision(each[rows, positions]) for each in (start_logits, end_logits))
    spans = Spans(examples, zeros, zeros, *logits)
    spans = spans.take(np.lexsort((spans.start_logits, spans.scores, spans.examples)))
    return spans.take(_is_new(spans.examples))


def _best_of_features(
    start_logits: Floats,
    end_logits: Floats,
    offset_starts: Integers,
    offset_ends: Integers,
    examples: Integers,
    n_best: int,
    max_answer_length: int,
) -> Spans:
    """Up to `n_best` spans of each feature, in no particular order."""
    in_context = offset_starts >= 0
    start_logits = np.where(in_context, _single_precision(start_logits), -np.inf)
    end_logits = np.where(in_context, _single_precision(end_logits), -np.inf)
    # By position, so that among equal pairs the one that starts first comes first.
    first = np.sort(_highest(start_logits, n_best), axis=1)
    last = np.sort(_highest(end_logits, n_best), axis=1)

    def pairs(of_first: NDArray, of_last: NDArray) -> tuple[NDArray, NDArray]:
        at_first = np.take_along_axis(of_first, first, axis=1)[:, :, None]
        return at_first, np.take_along_axis(of_last, last, axis=1)[:, None, :]

    start_logit, end_logit = pairs(start_logits, end_logits)
    start, end = pairs(offset_starts, offset_ends)
    length = last[:, None, :] - first[:, :, None] + 1
    fits = (length > 0) & (length <= max_answer_length) & (start < end)
    scores = np.where(fits, start_logit + end_logit, -np.inf)
    features, firsts, lasts = scores.shape
    scores = scores.reshape(features, firsts * lasts)

    chosen = _highest(scores, n_best)
    rows, ranks = np.nonzero(np.take_along_axis(scores, chosen, axis=1) > -np.inf)
    i, j = np.divmod(chosen[rows, ranks], lasts)
    return Spans(examples[rows], start[rows, i, 0], end[rows, 0, j], start_logit[rows, i, 0], end_logit[rows, 0, j])


def _best_of_examples(spans: Spans, n_best: int) -> Spans:
    """The `n_best` distinct spans of each example, by ascending example and from best to worst."""
    # Windows overlap, so that a span may be there more than once: its best copy leads.
    by_place = np.lexsort((-spans.start_logits, -spans.scores, spans.ends, spans.starts, spans.examples))
    spans = spans.take(by_place)
    spans = spans.take(_is_new(spans.examples, spans.starts, spans.ends))
    spans = spans.take(np.lexsort((spans.ends, spans.starts, -spans.scores, spans.examples)))
    return spans.take(ranks(spans.examples) < n_best)


def ranks(examples: Integers) -> Integers:
    """How many rows of the same example stand before each row; `examples` ascends, (rows,)."""
    rows = np.arange(len(examples))
    return rows - np.maximum.accumulate(np.where(_is_new(examples), rows, 0))


def _highest(values: Floats, count: int) -> Integers:
    """The columns of each row's `count` highest values, best first; of equal values the first column first.

    As a stable sort would give them, in a fraction of its time: each value and its column become one integer, in whose
    order ties are settled, so that only the highest need sorting.
    """
    columns = values.shape[1]
    # Read as integers, floats are in their order from 0 on and in the reverse order below it; -0 becomes 0.
    bits = (values + np.float32(0)).view(np.int32)
    bits ^= (bits >> 31) & 0x7FFFFFFF
    keys = bits.astype(np.int64)
    keys <<= 32
    keys |= np.arange(columns, 0, -1)
    count = min(count, columns)
    highest = np.sort(np.partition(keys, columns - count, axis=1)[:, columns - count :], axis=1)[:, ::-1]
    return columns - (highest & 0xFFFFFFFF)


def _is_new(*columns: NDArray) -> NDArray[np.bool_]:
    """Whether each row differs from the row before it in any of the columns."""
    new = np.ones(len(columns[0]), dtype=bool)
    new[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    return new


def _single_precision(logits: Floats) -> Floats:
    """Logits whose sums do not overflow, as those of half precision would."""
    return logits.astype(np.float32, copy=False)


def _columns(spans: Spans) -> tuple[NDArray, ...]:
    return spans.examples, spans.starts, spans.ends, spans.start_logits, spans.end_logits


def _chunks(count: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` rows; an empty one where there are no rows."""
    return (slice(start, start + size) for start in range(0, max(count, 1), size))
