"""From questions and contexts of any length to the windows that a model reads, and the characters of their tokens."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from transformers import BatchEncoding, PreTrainedTokenizerBase

OUTSIDE = -1
"""The offsets of a token outside the context."""


@dataclass(frozen=True)
class Windows:
    """How a question and its context are cut into windows that the model can take.

    Args:
        tokenizer: a fast one.
        max_length: tokens of a window.
        stride: tokens of the context that a window shares with the next one.
        padding: `max_length` or none.
    """

    tokenizer: PreTrainedTokenizerBase
    max_length: int
    stride: int
    padding: str | bool = False

    def encode(self, questions: Sequence[str], contexts: Sequence[str]) -> BatchEncoding:
        """The windows of all pairs; `overflow_to_sample_mapping` tells which pair each belongs to."""
        pairs, truncated = (questions, contexts), "only_second"
        if self._context_first:
            pairs, truncated = (contexts, questions), "only_first"
        return self.tokenizer(
            *map(list, pairs),
            truncation=truncated,
            max_length=self.max_length,
            stride=self.stride,
            padding=self.padding,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )

    def offsets(self, encoding: BatchEncoding, windows: Iterable[int], context: str) -> list[NDArray[np.integer]]:
        """First character and the one after the last of each token's text in the context, (tokens, 2) a window.

        White space around the text is left out: some tokenizers count the space before a word as a part of it. A token
        of white space alone starts with the text behind it and ends with the text before it, so that it has no
        characters. Tokens outside the context have -1.

        Args:
            encoding: of `encode`.
            windows: the numbers of the context's windows in there.
            context: their context.
        """
        text = np.flatnonzero([not character.isspace() for character in context])
        starts, ends = np.append(text, len(context)), np.insert(text + 1, 0, 0)
        part = 0 if self._context_first else 1
        found = []
        for window in windows:
            first, last = np.searchsorted(text, encoding["offset_mapping"][window]).T
            inside = np.array([[sequence == part] for sequence in encoding.sequence_ids(window)])
            found.append(np.where(inside, np.stack([starts[first], ends[last]], axis=1), OUTSIDE))
        return found

    def null_position(self, input_ids: list[int]) -> int:
        """The token that stands for "no answer": CLS, or the first one where the tokenizer has none."""
        cls = self.tokenizer.cls_token_id
        return input_ids.index(cls) if cls in input_ids else 0

    def rooms(self, questions: Sequence[str]) -> list[int]:
        """The tokens that each question leaves for the context."""
        most = self.max_length - self.tokenizer.num_special_tokens_to_add(pair=True)
        return [most - length for length in self.lengths(questions)]

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """The tokens of each question or context by itself."""
        return [len(ids) for ids in self.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]]

    @property
    def _context_first(self) -> bool:
        # Models that are padded on the left see the context first, as in Hugging Face's script.
        return self.tokenizer.padding_side == "left"
