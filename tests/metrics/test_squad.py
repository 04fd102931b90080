"""SQuAD 1.1's exact match and F1, beside a reference that reads like their definition."""

import math
from collections import Counter
from typing import Any

import evaluate
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_seqreptile import InputError
from hf_seqreptile.metrics import MLQAMetric, SquadMetric

PIECES = [*"aAnthe. ,'–«“¿\t\u00a0\u0301_-北京ا", "the ", "ال", "die "]
ANSWERS = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)
"""Punctuation of ASCII and of others, articles at word boundaries and within words, several kinds of spaces."""

PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"


def pair(prediction: str, *answers: str, question: str = "q") -> dict[str, list[dict[str, Any]]]:
    """The arguments of `compute` for one question."""
    return {
        "predictions": [{"id": question, "prediction_text": prediction}],
        "references": [{"id": question, "answers": {"text": list(answers), "answer_start": [0] * len(answers)}}],
    }


def scores(prediction: str, *answers: str) -> tuple[float, float]:
    result = SquadMetric(keep_in_memory=True).compute(**pair(prediction, *answers))
    return result["exact_match"], result["f1"]


def reference_words(text: str) -> list[str]:
    """Without regular expressions: an article is a run of word characters of its own."""
    kept = "".join(character for character in text.lower() if character not in PUNCTUATION)
    runs, run = [], ""
    for character in kept + " ":
        # After punctuation is gone, the underscore too, a word character of `re` is a letter or a digit.
        if character.isalnum():
            run += character
        else:
            runs += [" " if run in ("a", "an", "the") else run, character]
            run = ""
    return "".join(runs).split()


def reference_f1(predicted: list[str], true: list[str]) -> float:
    left, both = Counter(true), 0
    for word in predicted:
        if left[word]:
            left[word] -= 1
            both += 1
    return 100 * 2 * both / (len(predicted) + len(true)) if both else 0.0


@given(prediction=ANSWERS, answers=st.lists(ANSWERS, min_size=1, max_size=3))
def test_agrees_with_the_definition(prediction: str, answers: list[str]) -> None:
    predicted, true = reference_words(prediction), [reference_words(answer) for answer in answers]
    exact, f1 = scores(prediction, *answers)
    assert exact == 100 * any(predicted == words for words in true)
    assert f1 == pytest.approx(max(reference_f1(predicted, words) for words in true))


@pytest.mark.parametrize(
    ("prediction", "answers", "exact", "f1"),
    [
        ("The Eiffel Tower!", ["eiffel tower"], 100, 100),
        ("Eiffel Tower in Paris", ["the Eiffel Tower"], 0, 100 * 2 * (2 / 4) / (2 / 4 + 1)),
        ("tower tower", ["tower"], 0, 100 * 2 * (1 / 2) / (1 / 2 + 1)),
        ("theatre", ["atre"], 0, 0),
        ("U.S.A.", ["USA"], 100, 100),
        ("1990–1995", ["19901995"], 0, 0),
        ("no", ["yes", "No."], 100, 100),
        ("cats and dogs", ["dogs", "cats"], 0, 50),
    ],
)
def test_pinned_scores(prediction: str, answers: list[str], exact: float, f1: float) -> None:
    assert scores(prediction, *answers) == pytest.approx((exact, f1))


def test_answers_that_normalise_to_nothing_match_exactly_but_share_no_word() -> None:
    assert scores("the", "A.") == (100, 0)
    assert scores("", "the") == (100, 0)
    assert scores("", "Paris") == (0, 0)


def test_scores_are_the_mean_over_questions() -> None:
    metric = SquadMetric(keep_in_memory=True)
    metric.add_batch(**pair("Paris", "paris", question="1"))
    second = pair("in Rome", "Rome", question="2")
    metric.add(prediction=second["predictions"][0], reference=second["references"][0])
    assert metric.compute() == {"exact_match": 50.0, "f1": pytest.approx((100 + 100 * 2 / 3) / 2)}


def test_combines_with_other_metrics() -> None:
    combined = evaluate.combine({"squad": SquadMetric(keep_in_memory=True), "mlqa": MLQAMetric("de")})
    assert combined.compute(**pair("der Turm", "Turm")) == {
        "squad_exact_match": 0.0,
        "squad_f1": pytest.approx(200 / 3),
        "mlqa_exact_match": 100.0,
        "mlqa_f1": 100.0,
    }


def test_a_question_without_an_answer_is_refused() -> None:
    with pytest.raises(InputError, match=r"Question '7' has no reference answer.*--version_2_with_negative"):
        SquadMetric(keep_in_memory=True).compute(**pair("Paris", question="7"))


def test_a_prediction_for_another_question_is_refused() -> None:
    arguments = pair("Paris", "Paris", question="1") | {"predictions": pair("Paris", question="2")["predictions"]}
    with pytest.raises(InputError, match="Pair 1: the prediction is for question '2', the reference for '1'"):
        SquadMetric(keep_in_memory=True).compute(**arguments)


def test_no_questions_are_refused() -> None:
    with pytest.raises(InputError, match="no predictions"):
        SquadMetric().compute(predictions=[], references=[])


def test_scores_are_plain_numbers() -> None:
    exact, f1 = scores("a b", "b c")
    assert type(exact) is float
    assert type(f1) is float
    assert math.isfinite(f1)
