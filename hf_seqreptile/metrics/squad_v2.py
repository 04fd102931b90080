"""Exact match and F1 of SQuAD 2.0 (Rajpurkar et al., 2018), where questions may have no answer."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, ClassVar

import evaluate
from datasets import Value

from .squad import ID_AND_TEXT, describe, english_words, paired, percent, word_f1


class SquadV2Metric(evaluate.Metric):
    """SQuAD 2.0's scores, as its official script computes them.

    Takes `predictions` as `{"id", "prediction_text", "no_answer_probability"}` and `references` as
    `{"id", "answers": {"text": [...], "answer_start": [...]}}`, in the same order; a question without an answer has
    empty lists. `compute(no_answer_threshold=1.0)` takes a question as unanswered where its no-answer probability is
    above the threshold, and gives, in percent unless said otherwise:

    - `exact`, `f1` and `total`: as in SQuAD 1.1, over all questions, and the number of these. Two answers of which
      the normalisation leaves nothing have an F1 of 1, and an empty prediction is right where there is no answer;
    - `HasAns_exact`, `HasAns_f1`, `HasAns_total`: the same over the questions with an answer, where there are any;
    - `NoAns_exact`, `NoAns_f1`, `NoAns_total`: the same over the questions without, where there are any;
    - `best_exact`, `best_f1`: what the best threshold would give, chosen on these very questions;
    - `best_exact_thresh`, `best_f1_thresh`: that threshold, a probability; the lowest of equally good ones. As in the
      official script, questions of equal probability are answered one after the other in the order given, so with
      ties the best score may stand for a part of them.

    Args:
        kwargs: `evaluate.Metric`'s own, such as `keep_in_memory` and `experiment_id`.

    Raises:
        InputError: from `compute`, where a prediction and its reference have different ids, or there is no question.
    """

    score_names: ClassVar = {
        *(f"{group}{name}" for group in ("", "HasAns_", "NoAns_") for name in ("exact", "f1", "total")),
        *(f"best_{name}{what}" for name in ("exact", "f1") for what in ("", "_thresh")),
    }
    """All names under which it may give a score."""

    def _info(self) -> evaluate.MetricInfo:
        return describe(self, ID_AND_TEXT | {"no_answer_probability": Value("float64")})

    def _compute(
        self,
        predictions: list[dict[str, Any]],
        references: list[dict[str, Any]],
        no_answer_threshold: float = 1.0,
    ) -> dict[str, float]:
        texts, answers = paired(predictions, references)
        no_answer = [prediction["no_answer_probability"] for prediction in predictions]
        return self.score(texts, answers, no_answer, no_answer_threshold)

    def score(
        self,
        texts: Sequence[str],
        answers: Sequence[Sequence[str]],
        no_answer: Sequence[float],
        no_answer_threshold: float = 1.0,
        none_answered: float = 0.0,
    ) -> dict[str, float]:
        """What `compute` gives, without its way through an Arrow table, and for scores of any unit.

        Args:
            texts: the predictions, (questions,), at least one; the best answers, even where "no answer" is likelier,
                or the best thresholds are searched among those that are left.
            answers: the reference answers of each question, none where it has no answer.
            no_answer: the no-answer probability of each question, or another score that grows with it.
            no_answer_threshold: the probability or score above which a question is taken as unanswered.
            none_answered: the best threshold to report where it is best to answer no question. Default: the official
                script's, which is right for probabilities.
        """
        has_answer = [bool(own) for own in answers]
        scores = self.of_questions(texts, answers)
        by_name = dict(zip(("exact", "f1"), zip(*scores, strict=True), strict=True))
        unanswered = [probability > no_answer_threshold for probability in no_answer]

        results: dict[str, float] = {}
        for group, kept in (("", {True, False}), ("HasAns_", {True}), ("NoAns_", {False})):
            members = [i for i, answerable in enumerate(has_answer) if answerable in kept]
            if not members:
                continue
            for name, values in by_name.items():
                results[f"{group}{name}"] = percent(
                    [float(not has_answer[i]) if unanswered[i] else values[i] for i in members]
                )
            results[f"{group}total"] = len(members)
        for name, values in by_name.items():
            gains = [
                value if answerable else -float(bool(text))
                for text, value, answerable in zip(texts, values, has_answer, strict=True)
            ]
            results[f"best_{name}"], results[f"best_{name}_thresh"] = _best_threshold(
                gains, no_answer, has_answer.count(False), none_answered
            )
        return results

    def of_questions(self, texts: Sequence[str], answers: Sequence[Sequence[str]]) -> list[tuple[float, float]]:
        """Exact match and F1 of each question, between 0 and 1, where an empty text means that it has no answer."""
        return [_scores(text, own) for text, own in zip(texts, answers, strict=True)]


def _scores(text: str, answers: Sequence[str]) -> tuple[float, float]:
    """Exact match and F1 of one prediction, between 0 and 1."""
    predicted = english_words(text)
    # Without an answer, or with none that says anything, the empty prediction is right.
    true = [words for answer in answers if (words := english_words(answer))] or [[]]
    f1 = max(word_f1(predicted, words) if predicted and words else float(predicted == words) for words in true)
    return float(predicted in true), f1


def _best_threshold(
    gains: Sequence[float], no_answer: Sequence[float], unanswerable: int, none_answered: float
) -> tuple[float, float]:
    """The best score in percent over all no-answer thresholds, and the lowest threshold that gives it.

    Args:
        gains: what answering a question adds to the sum of scores, against leaving it unanswered.
        no_answer: the no-answer probability or score of each question.
        unanswerable: how many questions have no answer: the sum of scores where none is answered.
        none_answered: the threshold for that.
    """
    ranked = sorted(zip(no_answer, gains, strict=True), key=lambda pair: pair[0])
    sums = list(accumulate((gain for _, gain in ranked), initial=unanswerable))
    best = max(sums)
    thresholds = [none_answered, *(probability for probability, _ in ranked)]
    return 100.0 * best / len(gains), thresholds[sums.index(best)]
