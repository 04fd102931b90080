"""Exact match and F1 of SQuAD 1.1 (Rajpurkar et al., 2016)."""

import re
import string
from collections.abc import Sequence
from typing import Any

import evaluate
from datasets import Features, List, Value

from ..errors import InputError

ID_AND_TEXT = {"id": Value("string"), "prediction_text": Value("string")}
REFERENCE = {"id": Value("string"), "answers": {"text": List(Value("string")), "answer_start": List(Value("int32"))}}

_ENGLISH_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_NO_ASCII_PUNCTUATION = str.maketrans("", "", string.punctuation)


class SquadMetric(evaluate.Metric):
    """SQuAD 1.1's scores, as its official script computes them; every question has a reference answer.

    Takes `predictions` as `{"id", "prediction_text"}` and `references` as
    `{"id", "answers": {"text": [...], "answer_start": [...]}}`, in the same order.
    `compute` gives, in percent and averaged over the questions:

    - `exact_match`: the share of predictions that equal one of their reference answers, once normalised;
    - `f1`: the overlap of words with the reference answer that fits best. An answer of which the normalisation leaves
      nothing has an F1 of 0, even against another such answer, though it matches that exactly.

    Normalised is lower case, without ASCII punctuation, without the words a, an and the, split at whitespace.

    Args:
        kwargs: `evaluate.Metric`'s own, such as `keep_in_memory` and `experiment_id`.

    Raises:
        InputError: from `compute`, where a prediction and its reference have different ids, a question has no
            reference answer, or there is no question at all.
    """

    def _info(self) -> evaluate.MetricInfo:
        return describe(self, ID_AND_TEXT)

    def _compute(self, predictions: list[dict[str, Any]], references: list[dict[str, Any]]) -> dict[str, float]:
        texts, answers = paired(predictions, references)
        for reference in references:
            if not reference["answers"]["text"]:
                raise InputError(
                    f"Question {reference['id']!r} has no reference answer. Leave it out, or score questions without "
                    f"an answer as SQuAD 2.0 does (SquadV2Metric, --version_2_with_negative)."
                )
        return self.score(texts, answers)

    def score(self, texts: Sequence[str], answers: Sequence[Sequence[str]]) -> dict[str, float]:
        """What `compute` gives, without its way through an Arrow table.

        Args:
            texts: the predictions, (questions,), at least one.
            answers: the reference answers of each question, at least one each.
        """
        exact, f1 = zip(*self.of_questions(texts, answers), strict=True)
        return {"exact_match": percent(exact), "f1": percent(f1)}

    def of_questions(self, texts: Sequence[str], answers: Sequence[Sequence[str]]) -> list[tuple[float, float]]:
        """Exact match and F1 of each question, between 0 and 1; arguments as in [`score`]."""
        scores = []
        for text, own in zip(texts, answers, strict=True):
            predicted, true = self.words(text), [self.words(answer) for answer in own]
            scores.append((float(predicted in true), max(word_f1(predicted, answer) for answer in true)))
        return scores

    def words(self, text: str) -> list[str]:
        """The words of an answer that count."""
        return english_words(text)


def describe(metric: evaluate.Metric, prediction: dict[str, Value]) -> evaluate.MetricInfo:
    """What `evaluate` must know of a metric: its documentation, and the columns of a prediction and a reference."""
    return evaluate.MetricInfo(
        description=metric.__doc__ or "",
        citation="",
        inputs_description="",
        features=Features({"predictions": prediction, "references": REFERENCE}),
    )


def paired(
    predictions: Sequence[dict[str, Any]], references: Sequence[dict[str, Any]]
) -> tuple[list[str], list[list[str]]]:
    """The predicted text and the reference answers of each question.

    Raises:
        InputError: no pair, or one whose ids differ.
    """
    if not references:
        raise InputError("There are no predictions to score.")
    for row, (prediction, reference) in enumerate(zip(predictions, references, strict=True), 1):
        if prediction["id"] != reference["id"]:
            raise InputError(
                f"Pair {row}: the prediction is for question {prediction['id']!r}, the reference for "
                f"{reference['id']!r}. Give predictions and references in the same order."
            )
    texts = [prediction["prediction_text"] for prediction in predictions]
    return texts, [reference["answers"]["text"] for reference in references]


def english_words(text: str) -> list[str]:
    """Lower case, without ASCII punctuation and English articles, split at whitespace."""
    return _ENGLISH_ARTICLES.sub(" ", text.lower().translate(_NO_ASCII_PUNCTUATION)).split()


def word_f1(predicted: Sequence[str], true: Sequence[str]) -> float:
    """Harmonic mean of the shares of predicted and of true words that both have; 0 where they share none."""
    common = set(predicted).intersection(true)
    shared = sum(min(predicted.count(word), true.count(word)) for word in common)
    if not shared:
        return 0.0
    precision, recall = shared / len(predicted), shared / len(true)
    return 2 * precision * recall / (precision + recall)


def percent(scores: Sequence[float]) -> float:
    """The mean of scores between 0 and 1, in percent."""
    return 100.0 * sum(scores) / len(scores)
