"""SQuAD 2.0's scores, with and without an answer, beside a reference that reads like their definition."""

from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_seqreptile import InputError
from hf_seqreptile.metrics import SquadV2Metric

from .test_squad import ANSWERS, reference_f1, reference_words


class Question(NamedTuple):
    prediction: str
    answers: list[str]
    no_answer: float


def compute(questions: list[Question], **settings: float) -> dict[str, float]:
    predictions, references = [], []
    for i, (prediction, answers, no_answer) in enumerate(questions):
        predictions.append({"id": str(i), "prediction_text": prediction, "no_answer_probability": no_answer})
        references.append({"id": str(i), "answers": {"text": answers, "answer_start": [0] * len(answers)}})
    metric = SquadV2Metric(keep_in_memory=True)
    return metric.compute(predictions=predictions, references=references, **settings)


def reference_score(question: Question, name: str, answered: bool) -> float:
    """Of one question, between 0 and 100."""
    if not answered:
        return 100.0 * (not question.answers)
    true = [words for words in map(reference_words, question.answers) if words] or [[]]
    predicted = reference_words(question.prediction)
    if name == "exact" or not predicted or true == [[]]:
        return 100.0 * (predicted in true)
    return max(reference_f1(predicted, words) for words in true)


QUESTIONS = st.lists(
    st.builds(Question, ANSWERS, st.lists(ANSWERS, max_size=2), st.floats(0, 1)), min_size=1, max_size=6
)


@given(questions=QUESTIONS, threshold=st.floats(0, 1))
def test_agrees_with_the_definition(questions: list[Question], threshold: float) -> None:
    result = compute(questions, no_answer_threshold=threshold)
    groups = {
        "": questions,
        "HasAns_": [q for q in questions if q.answers],
        "NoAns_": [q for q in questions if not q.answers],
    }
    expected: dict[str, Any] = {}
    for prefix, group in groups.items():
        if group:
            for name in ("exact", "f1"):
                scores = [reference_score(q, name, q.no_answer <= threshold) for q in group]
                expected[prefix + name] = pytest.approx(sum(scores) / len(group))
            expected[f"{prefix}total"] = len(group)
    assert {name: value for name, value in result.items() if not name.startswith("best_")} == expected


@given(questions=QUESTIONS.filter(lambda questions: len({q.no_answer for q in questions}) == len(questions)))
def test_no_threshold_is_better_than_the_best(questions: list[Question]) -> None:
    result = compute(questions)

    def score(name: str, threshold: float) -> float:
        """A predicted text counts as an answer wherever it is not empty, even if it normalises to nothing."""
        total = 0.0
        for question in questions:
            answered = question.no_answer <= threshold
            if answered and not question.answers:
                total += 100.0 * (not question.prediction)
            else:
                total += reference_score(question, name, answered)
        return total / len(questions)

    for name in ("exact", "f1"):
        candidates = [-1.0, *sorted(q.no_answer for q in questions)]
        best = max(score(name, threshold) for threshold in candidates)
        assert result[f"best_{name}"] == pytest.approx(best)
        lowest = next(t for t in candidates if score(name, t) == pytest.approx(best))
        assert result[f"best_{name}_thresh"] == pytest.approx(max(lowest, 0.0))


def official_best(questions: list[Question], name: str) -> tuple[float, float]:
    """As the official script finds it, whatever the unit of the no-answer score."""
    current = best = sum(100.0 for question in questions if not question.answers)
    threshold = 0.0
    for question in sorted(questions, key=lambda question: question.no_answer):
        if question.answers:
            current += reference_score(question, name, answered=True)
        elif question.prediction:
            current -= 100.0
        if current > best:
            best, threshold = current, question.no_answer
    return best / len(questions), threshold


ODDS = st.builds(Question, ANSWERS, st.lists(ANSWERS, max_size=2), st.floats(-20, 20))


@given(questions=st.lists(ODDS, min_size=1, max_size=6), threshold=st.floats(-20, 20))
def test_scores_of_any_unit_are_the_official_scripts(questions: list[Question], threshold: float) -> None:
    odds = [question.no_answer for question in questions]
    texts, answers = [q.prediction for q in questions], [q.answers for q in questions]
    result = SquadV2Metric().score(texts, answers, odds, threshold)
    for name in ("exact", "f1"):
        expected = official_best(questions, name)
        assert (result[f"best_{name}"], result[f"best_{name}_thresh"]) == pytest.approx(expected)
        values = [reference_score(q, name, q.no_answer <= threshold) for q in questions]
        assert result[name] == pytest.approx(sum(values) / len(values))
        own = SquadV2Metric().score(texts, answers, odds, threshold, none_answered=-99.0)
        is_none = own[f"best_{name}"] == 100.0 * sum(not question.answers for question in questions) / len(questions)
        assert own[f"best_{name}_thresh"] == (-99.0 if is_none else result[f"best_{name}_thresh"])


def test_pinned_scores() -> None:
    questions = [
        Question("Paris", ["paris"], 0.1),
        Question("in Rome", ["Rome"], 0.3),
        Question("Berlin", [], 0.9),
        Question("", [], 0.2),
    ]
    f1 = 100 * 2 / 3
    assert compute(questions) == {
        "exact": 50.0,
        "f1": pytest.approx((100 + f1 + 0 + 100) / 4),
        "total": 4,
        "HasAns_exact": 50.0,
        "HasAns_f1": pytest.approx((100 + f1) / 2),
        "HasAns_total": 2,
        "NoAns_exact": 50.0,
        "NoAns_f1": 50.0,
        "NoAns_total": 2,
        "best_exact": 75.0,
        "best_exact_thresh": 0.1,
        "best_f1": pytest.approx((100 + f1 + 100 + 100) / 4),
        "best_f1_thresh": 0.3,
    }


def test_a_question_is_left_unanswered_above_the_threshold_only() -> None:
    questions = [Question("Paris", ["Paris"], 0.5)]
    assert compute(questions, no_answer_threshold=0.5)["exact"] == 100
    assert compute(questions, no_answer_threshold=0.49)["exact"] == 0


def test_two_answers_that_normalise_to_nothing_are_the_same() -> None:
    result = compute([Question("the", ["."], 0.0)])
    assert (result["exact"], result["f1"], result["HasAns_total"]) == (100, 100, 1)


def test_a_reference_that_normalises_to_nothing_is_passed_over_beside_another() -> None:
    result = compute([Question("", ["the", "Paris"], 0.0)])
    assert (result["exact"], result["f1"]) == (0, 0)


def test_groups_without_questions_are_left_out() -> None:
    assert not any(name.startswith("NoAns") for name in compute([Question("a", ["b"], 0.0)]))
    assert not any(name.startswith("HasAns") for name in compute([Question("a", [], 0.0)]))


def test_of_equal_probabilities_the_first_given_is_answered_first() -> None:
    right, wrong = Question("Paris", ["Paris"], 0.5), Question("Rome", [], 0.5)
    assert compute([right, wrong])["best_exact"] == 100
    assert compute([wrong, right])["best_exact"] == 50


def test_a_prediction_for_another_question_is_refused() -> None:
    prediction = {"id": "2", "prediction_text": "Paris", "no_answer_probability": 0.0}
    reference = {"id": "1", "answers": {"text": [], "answer_start": []}}
    with pytest.raises(InputError, match="Pair 1: the prediction is for question '2', the reference for '1'"):
        SquadV2Metric(keep_in_memory=True).compute(predictions=[prediction], references=[reference])
