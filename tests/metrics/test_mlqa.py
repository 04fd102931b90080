"""MLQA's normalisation, language by language."""

import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_seqreptile.metrics import MLQAMetric

from .test_squad import ANSWERS, PUNCTUATION, pair, reference_f1

LANGUAGES = ["ar", "de", "en", "es", "hi", "vi", "zh", "th"]
METRICS = {language: MLQAMetric(language, keep_in_memory=True) for language in LANGUAGES}


def words(language: str, text: str) -> list[str]:
    return METRICS[language].words(text)


def reference_words(language: str, text: str) -> list[str]:
    """One character at a time."""
    kept = [c for c in text.lower() if c not in PUNCTUATION and not unicodedata.category(c).startswith("P")]
    if language == "zh":
        return "".join(f" {c} " if 0x4E00 <= ord(c) <= 0x9FA5 else c for c in kept).split()
    joined = "".join(kept)
    if language == "ar":
        return " ".join(joined.split("ال")).split()
    articles = {"en": ("a", "an", "the"), "de": ("die", "der")}.get(language, ())
    pieces = re.split(r"(\w+)", joined)
    return "".join(" " if piece in articles else piece for piece in pieces).split()


@pytest.mark.parametrize("language", ["ar", "de", "en", "hi", "zh", "th"])
@settings(max_examples=40)
@given(prediction=ANSWERS, answer=ANSWERS)
def test_agrees_with_the_definition(language: str, prediction: str, answer: str) -> None:
    predicted, true = reference_words(language, prediction), reference_words(language, answer)
    assert words(language, prediction) == predicted
    result = METRICS[language].compute(**pair(prediction, answer))
    assert result["exact_match"] == 100 * (predicted == true)
    assert result["f1"] == pytest.approx(reference_f1(predicted, true))


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("en", "The “Tower” of an era", ["tower", "of", "era"]),
        ("de", "Die Mauer des Schlosses, einem Bau", ["mauer", "schlosses", "bau"]),
        ("de", "ein eine einen einem eines einer der die das den dem des", []),
        ("es", "¿El río de las Amazonas?", ["río", "de", "amazonas"]),
        ("es", "un una unos unas el la los las", []),
        ("vi", "Những hồ của Hà Nội là cái chiếc", ["hồ", "hà", "nội"]),
        ("hi", "दिल्ली, भारत।", ["दिल्ली", "भारत"]),
        # The article is a prefix, and its letters also go from within a word.
        ("ar", "القاهرة", ["قاهرة"]),
        ("ar", "مالك، والكتاب", ["م", "ك", "و", "كتاب"]),
        ("ar", "أل", ["أل"]),
        ("zh", "北京《iPhone 15》很好。", ["北", "京", "iphone", "15", "很", "好"]),
        # Beyond the block that MLQA segments.
        ("zh", "㐀龥龦", ["㐀", "龥", "龦"]),
        ("zh", "かな", ["かな"]),
        ("th", "กรุงเทพ ๒๕", ["กรุงเทพ", "๒๕"]),
        # No rules: its articles stay.
        ("fr", "La « Tour » d’Eiffel", ["la", "tour", "deiffel"]),
        ("fr", "5 € + 3 §", ["5", "€", "3"]),
    ],
)
def test_pinned_words(language: str, text: str, expected: list[str]) -> None:
    assert MLQAMetric(language, keep_in_memory=True).words(text) == expected


def test_the_language_decides_the_score() -> None:
    assert METRICS["de"].compute(**pair("der Turm", "Turm"))["exact_match"] == 100
    assert METRICS["en"].compute(**pair("der Turm", "Turm"))["exact_match"] == 0
    assert METRICS["zh"].compute(**pair("北京市", "北京"))["f1"] == pytest.approx(80)
    assert METRICS["hi"].compute(**pair("北京市", "北京"))["f1"] == 0


def test_answers_that_normalise_to_nothing_match_exactly_but_share_no_word() -> None:
    assert METRICS["de"].compute(**pair("die", "„“")) == {"exact_match": 100, "f1": 0}


@settings(max_examples=40)
@given(text=st.text(max_size=20))
def test_words_hold_no_space_and_no_punctuation(text: str) -> None:
    for metric in METRICS.values():
        for word in metric.words(text):
            assert word == "".join(word.split())
            assert not any(unicodedata.category(c).startswith("P") or c in PUNCTUATION for c in word)
