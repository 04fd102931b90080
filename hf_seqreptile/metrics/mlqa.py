"""Exact match and F1 of MLQA (Lewis et al., 2020), which normalises answers by the rules of their language."""

import functools
import re
import string
import sys
import unicodedata
from typing import Any

from .squad import SquadMetric


def _whole_words(words: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(words.split())})\b")


ARTICLES = {
    "ar": re.compile("ال"),
    "de": _whole_words("ein eine einen einem eines einer der die das den dem des"),
    "en": _whole_words("a an the"),
    "es": _whole_words("un una unos unas el la los las"),
    "vi": _whole_words("của là cái chiếc những"),
}
"""What counts as an article. Arabic's is a prefix; MLQA cuts its letters out wherever they stand in a word."""

_HAN = re.compile("([\u4e00-\u9fa5])")


class MLQAMetric(SquadMetric):
    """MLQA's scores, as its official script computes them; also XQuAD's and TyDiQA's by language.

    Takes and gives what `SquadMetric` does. Normalised is lower case, without what Unicode calls punctuation and
    without ASCII punctuation, and, by language:

    - ar, de, en, es, vi: without articles (see `ARTICLES`), split at whitespace;
    - zh: each Han character (U+4E00 to U+9FA5) is a word of its own, what lies between them is split at whitespace;
    - any other, as MLQA's Hindi: split at whitespace. So a language written without spaces, Thai or Japanese, is
      scored by phrases: MLQA has no rules for these.

    Args:
        language: a language code, such as `de`.
        kwargs: `evaluate.Metric`'s own.
    """

    def __init__(self, language: str, **kwargs: Any) -> None:
        self.language = language
        super().__init__(config_name=language, **kwargs)

    def words(self, text: str) -> list[str]:
        """The words of an answer that count in the metric's language."""
        text = text.lower().translate(_no_punctuation())
        if self.language in ARTICLES:
            text = ARTICLES[self.language].sub(" ", text)
        if self.language == "zh":
            text = _HAN.sub(r" \1 ", text)
        return text.split()


@functools.cache
def _no_punctuation() -> dict[int, None]:
    unicode = (code for code in range(sys.maxunicode) if unicodedata.category(chr(code)).startswith("P"))
    return dict.fromkeys([*unicode, *map(ord, string.punctuation)])
