"""From the logits of features to the answers of questions, as text."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

from ..feature_columns import WINDOWS_OF
from ..json_text import encode_text, numbers_as_json
from .answer_spans import Floats, Spans, best_spans, join, null_spans, ranks
from .context_windows import OUTSIDE


@dataclass(frozen=True)
class AnswerPredictions:
    """The answers to the questions of an evaluated dataset.

    Args:
        rows: the first feature of each question, a row of the dataset, (questions,).
        ids: of the questions.
        contexts: of the questions.
        spans: the candidates for each question, which go by its number in `ids`; from best to worst.
        nulls: "no answer" as one more candidate for each question; `None` where every question has an answer.
        null_threshold: by how much the score of "no answer" must be above that of the best span to be given.
        n_best: how many candidates of a question are reported.
    """

    rows: NDArray[np.integer]
    ids: list[str]
    contexts: list[str]
    spans: Spans
    nulls: Spans | None
    null_threshold: float
    n_best: int

    @property
    def texts(self) -> list[str]:
        """The answer to each question: a literal piece of its context, or empty for "no answer"."""
        if self.nulls is None:
            return self.best_texts
        answered = self.null_odds <= self.null_threshold
        return [text if is_answered else "" for text, is_answered in zip(self.best_texts, answered, strict=True)]

    @property
    def best_texts(self) -> list[str]:
        """The best piece of each question's context, whatever the odds; empty only where there is none."""
        first, has_span = self._best_spans()
        starts, ends = self.spans.starts.tolist(), self.spans.ends.tolist()
        return [
            context[starts[span] : ends[span]] if is_there else ""
            for context, span, is_there in zip(self.contexts, first.tolist(), has_span.tolist(), strict=True)
        ]

    @property
    def null_odds(self) -> NDArray[np.float64]:
        """By how much the score of "no answer" is above that of the best span, (questions,)."""
        assert self.nulls is not None
        first, has_span = self._best_spans()
        best = np.zeros(len(self.ids), dtype=np.float32)
        best[has_span] = self.spans.scores[first[has_span]]
        # Compared with a threshold as they are written into files.
        return (self.nulls.scores - best).astype(np.float64)

    def candidates(self) -> list[list[dict[str, Any]]]:
        """The best candidates for each question, each with `text`, `start_logit`, `end_logit` and `probability`.

        The probability is the softmax of the scores of these candidates. "No answer" is always one of them, if it is
        a possible answer.
        """
        texts, numbers, bounds = self._candidates()
        values = zip(texts, *(column.tolist() for column in numbers.values()), strict=True)
        rows = [dict(zip(("text", *numbers), row, strict=True)) for row in values]
        return [rows[start:end] for start, end in pairwise(bounds)]

    def candidates_as_json(self) -> list[str]:
        """The JSON text of each question's [`candidates`], for files; faster than to encode them."""
        texts, numbers, bounds = self._candidates()
        columns = [map(encode_text, texts), *map(numbers_as_json, numbers.values())]
        pattern = "{" + ", ".join(f'"{name}": %s' for name in ("text", *numbers)) + "}"
        rows = [pattern % row for row in zip(*columns, strict=True)]
        return [f"[{', '.join(rows[start:end])}]" for start, end in pairwise(bounds)]

    def _candidates(self) -> tuple[list[str], dict[str, NDArray[np.floating]], list[int]]:
        """Texts and numbers of all questions' candidates, (candidates,), and where those of each begin and end."""
        spans = self._with_nulls()
        questions, scores = spans.examples, spans.scores
        bounds = np.searchsorted(questions, np.arange(len(self.ids) + 1))
        weights = np.exp(scores - scores[bounds[questions]])
        places = zip(*(column.tolist() for column in (questions, spans.starts, spans.ends)), strict=True)
        numbers = {
            "start_logit": spans.start_logits,
            "end_logit": spans.end_logits,
            "probability": weights / np.bincount(questions, weights)[questions],
        }
        return [self.contexts[question][start:end] for question, start, end in places], numbers, bounds.tolist()

    def _with_nulls(self) -> Spans:
        """The reported candidates, "no answer" among them; it also stands in where a question has no other."""
        nulls = self.nulls
        if nulls is None:
            without = np.flatnonzero(~self._best_spans()[1])
            nulls = Spans(without, *np.zeros((4, len(without)), dtype=np.int32))
        spans = join([self.spans, nulls])
        order = np.lexsort((-spans.scores, spans.examples))
        spans = spans.take(order)
        return spans.take((ranks(spans.examples) < self.n_best) | (order >= len(self.spans.examples)))

    def _best_spans(self) -> tuple[NDArray[np.integer], NDArray[np.bool_]]:
        """For each question the row of its best span, and whether it has one."""
        questions = np.arange(len(self.ids))
        first, after = (np.searchsorted(self.spans.examples, questions, side) for side in ("left", "right"))
        return first, first < after


def predict_answers(
    logits: tuple[Floats, Floats],
    dataset: Dataset,
    *,
    may_be_impossible: bool,
    null_threshold: float,
    n_best: int,
    max_answer_length: int,
) -> AnswerPredictions:
    """The answers that a model gives.

    Args:
        logits: of the start and of the end, each (features, length); the length may be more than a feature's own.
        dataset: the features of `QuestionAnswering.encode`, row by row as the logits, in any order.
        may_be_impossible: whether "no answer" is a possible answer.
        null_threshold: see [`AnswerPredictions`].
        n_best: see [`AnswerPredictions`]; also the starts and ends of a feature that are paired.
        max_answer_length: in tokens.

    Returns:
        The answers, in the order of the examples before they were cut into features.
    """
    starts, ends = logits
    names = [WINDOWS_OF, "null_position", "offset_starts", "offset_ends", "id", "context"]
    columns = dataset.with_format("arrow", columns=names)[:]
    _, rows, examples = np.unique(columns[WINDOWS_OF].to_numpy(), return_index=True, return_inverse=True)
    spans = best_spans(
        starts,
        ends,
        _padded(columns["offset_starts"], starts.shape[1]),
        _padded(columns["offset_ends"], starts.shape[1]),
        examples,
        n_best,
        max_answer_length,
    )
    nulls = null_spans(starts, ends, columns["null_position"].to_numpy(), examples) if may_be_impossible else None
    # Row by row: Arrow takes rows out of a chunked column only after making one of all its chunks.
    ids, contexts = ([column[row].as_py() for row in rows.tolist()] for column in (columns["id"], columns["context"]))
    return AnswerPredictions(rows, ids, contexts, spans, nulls, null_threshold, n_best)


def _padded(lists: Any, length: int) -> NDArray[np.int32]:
    """An Arrow column of lists as an array, (rows, length), that is filled up with the mark of tokens outside."""
    lists = lists.combine_chunks()
    inside = np.arange(length) < lists.value_lengths().to_numpy()[:, None]
    padded = np.full(inside.shape, OUTSIDE, dtype=np.int32)
    padded[inside] = lists.flatten().to_numpy()
    return padded
