"""From questions and contexts of any length to the windows that a model reads, and the characters of their tokens."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from transformers import BatchEncoding, PreTrainedTokenizerBase
from transformers.utils.versions import require_version

from ..errors import InputError

OUTSIDE = -1
"""The offsets of a token outside the context."""

_WHITE_SPACE = [code for code in range(0x3001) if chr(code).isspace()]
# By code; the last one is for all characters from there on.
_IS_TEXT = np.isin(np.arange(0x3002), _WHITE_SPACE, invert=True)


@dataclass(frozen=True)
class Windows:
    """How a question and its context are cut into windows that the model can take.

    Args:
        tokenizer: a fast one.
        max_length: tokens of a window.
        stride: tokens of the context that a window shares with the next one.
        padding: `max_length` or none.

    Raises:
        InputError: a version of the package tokenizers that leaves out windows.
    """

    tokenizer: PreTrainedTokenizerBase
    max_length: int
    stride: int
    padding: str | bool = False

    def __post_init__(self) -> None:
        check_tokenizers()

    def encode(self, questions: Sequence[str], contexts: Sequence[str], with_offsets: bool = True) -> BatchEncoding:
        """The windows of all pairs; `overflow_to_sample_mapping` tells which pair each belongs to.

        Args:
            questions: of all pairs.
            contexts: the same.
            with_offsets: whether there is what `offsets` needs, which takes time.
        """
        pairs, truncated = (questions, contexts), "only_second"
        if self.context_part == 0:
            pairs, truncated = (contexts, questions), "only_first"
        return self.tokenizer(
            *map(list, pairs),
            truncation=truncated,
            max_length=self.max_length,
            stride=self.stride,
            padding=self.padding,
            return_overflowing_tokens=True,
            return_offsets_mapping=with_offsets,
        )

    def offsets(self, encoding: BatchEncoding, contexts: Sequence[str]) -> list[NDArray[np.integer]]:
        """First character and the one after the last of each token's text in the context, (tokens, 2) a window.

        White space around the text is left out: some tokenizers count the space before a word as a part of it. A token
        of white space alone starts with the text behind it and ends with the text before it, so that it has no
        characters. Tokens outside the context have -1.

        Args:
            encoding: of `encode`.
            contexts: of all pairs.
        """
        of_windows = encoding["offset_mapping"]
        bounds = np.cumsum([0, *map(len, of_windows)])
        written = np.fromiter(chain.from_iterable(chain.from_iterable(of_windows)), np.int32, 2 * bounds[-1])
        base, next_text, last_text = _places_of_text(contexts)
        bases = np.repeat(base[encoding["overflow_to_sample_mapping"]], np.diff(bounds))
        inside = self._in_context(encoding, bounds)
        offsets = np.full((bounds[-1], 2), OUTSIDE, dtype=np.int32)
        places = written.reshape(-1, 2)[inside] + bases[inside, None]
        offsets[inside, 0] = next_text[places[:, 0]] - bases[inside]
        offsets[inside, 1] = last_text[places[:, 1] - 1] + 1 - bases[inside]
        return np.split(offsets, bounds[1:-1])

    def _in_context(self, encoding: BatchEncoding, bounds: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Which tokens of all windows, one after the other, are the context's; they are neighbours in each window."""
        inside = np.zeros(bounds[-1], dtype=bool)
        for window, bound in enumerate(bounds[:-1].tolist()):
            parts = encoding.sequence_ids(window)
            if number := parts.count(self.context_part):
                first = bound + parts.index(self.context_part)
                inside[first : first + number] = True
        return inside

    def null_position(self, input_ids: list[int]) -> int:
        """The token that stands for "no answer": CLS, or the first one where the tokenizer has none."""
        cls = self.tokenizer.cls_token_id
        return input_ids.index(cls) if cls in input_ids else 0

    def rooms(self, questions: Sequence[str]) -> list[int]:
        """The tokens that each question leaves for the context."""
        most = self._most()
        return [most - length for length in self.lengths(questions)]

    def long_questions(self, questions: Sequence[str]) -> list[int]:
        """The numbers of those that may leave no more than the stride for the context; their tokens will tell."""
        # Once text is normalised, a token is of one byte at least, but for one that stands for the beginning.
        few = self._most() - self.stride - 1
        return [
            number
            for number, question in enumerate(questions)
            if len(question.encode()) >= few or not unicodedata.is_normalized("NFKC", question)
        ]

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """The tokens of each question or context by itself."""
        return [len(ids) for ids in self.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]]

    def _most(self) -> int:
        """Tokens of a question and its context in a window."""
        return self.max_length - self.tokenizer.num_special_tokens_to_add(pair=True)

    @property
    def context_part(self) -> int:
        """Which of a window's two sequences is the context, from 0."""
        # Models that are padded on the left see the context first, as in Hugging Face's script.
        return 0 if self.tokenizer.padding_side == "left" else 1


@cache
def check_tokenizers() -> None:
    """Refuse, once for all, a version of the package tokenizers that leaves out windows.

    Raises:
        InputError: as said.
    """
    try:
        require_version("tokenizers>=0.23.3")
    except ImportError as error:
        # The scripts also run from a clone that was not installed, whose requirements nobody checked.
        raise InputError(
            "The installed package tokenizers leaves out parts of long contexts. Update it: "
            "pip install -U 'tokenizers>=0.23.3'."
        ) from error


def _places_of_text(contexts: Sequence[str]) -> tuple[NDArray[np.integer], NDArray[np.integer], NDArray[np.integer]]:
    """Where the text next to each character of all contexts is, in one sequence that has each distinct context once.

    Returns:
        Each context's first place in there, (contexts,), and for each place the first one of text from there on and
        the last one up to there, (places,). Behind a context, and before the first, is a place of its own, which
        counts as text.
    """
    distinct = {context: number for number, context in enumerate(dict.fromkeys(contexts))}
    first = np.cumsum([1, *(len(context) + 1 for context in distinct)])
    characters = "\0".join(["", *distinct, ""]).encode("utf-32-le", "surrogatepass")
    is_text = _IS_TEXT[np.minimum(np.frombuffer(characters, np.uint32), len(_IS_TEXT) - 1)]
    places = np.arange(len(is_text), dtype=np.int32)
    next_text = np.minimum.accumulate(np.where(is_text, places, len(places))[::-1])[::-1]
    return first[[distinct[context] for context in contexts]], next_text, np.maximum.accumulate(places * is_text)
