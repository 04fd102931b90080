"""The vectors of the sentences of many pairs, each distinct sentence encoded once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

from ..embeddings.sentence_embeddings import SentenceEncoder
from ..errors import InputError
from .nearest_neighbours import normalized
from .pairs import Pair

TEXT = "text"
"""The column of the sentences."""
MAX_LENGTH = 512


@dataclass(frozen=True)
class SentenceVectors:
    """Vectors of sentences.

    Args:
        array: float32, shape (sentences, layers × size), memory-mapped.
        rows: a sentence's row.
        layers: whose vectors these are.
    """

    array: NDArray[np.float32]
    rows: dict[str, int]
    layers: Sequence[int]

    def of(self, sentences: Sequence[str], layer: int) -> NDArray[np.float32]:
        """The vectors of some sentences after a layer, of length 1: shape (sentences, size).

        Raises:
            InputError: a vector that is not finite.
        """
        size = self.array.shape[1] // len(self.layers)
        begin = self.layers.index(layer) * size
        found = self.array[[self.rows[sentence] for sentence in sentences], begin : begin + size]
        if not np.isfinite(found).all():
            raise InputError("The model's hidden states are not finite; choose another model or mend its weights.")
        return normalized(found)


def encode(encoder: SentenceEncoder, pairs: Iterable[Pair], folder: Path) -> SentenceVectors:
    """The vectors of all sentences of `pairs`; `folder` keeps them for a later call with the same ones and model.

    Args:
        encoder: of one column, `TEXT`.
        pairs: the sentences.
        folder: as in `encoder.embed`: a call that was killed goes on where it stopped.
    """
    rows: dict[str, int] = {}
    for pair in pairs:
        for sentence in (*pair.source, *pair.target):
            rows.setdefault(sentence, len(rows))
    dataset = Dataset.from_dict({TEXT: list(rows)})
    encoder.check(dataset)
    return SentenceVectors(encoder.embed(dataset, folder).array, rows, encoder.given_layers)
