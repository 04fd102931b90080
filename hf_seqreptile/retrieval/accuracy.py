"""Retrieval of translations, as in Tatoeba: how often a sentence's nearest neighbour is its translation."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..embeddings.sentence_embeddings import POOLINGS, SentenceEncoder
from ..errors import InputError
from ..models.loading import ModelArguments, load_encoder
from .nearest_neighbours import nearest_neighbours
from .pairs import Pair
from .sentence_vectors import MAX_LENGTH, TEXT, SentenceVectors, encode


@dataclass(frozen=True)
class Accuracy:
    """The shares of sentences, from 0 to 1, whose nearest neighbour in the other language is their translation.

    Args:
        source_to_target: each source sentence is searched for among the target's.
        target_to_source: the other way round.
    """

    source_to_target: float
    target_to_source: float

    @property
    def mean(self) -> float:
        """Over both directions."""
        return (self.source_to_target + self.target_to_source) / 2


def retrieval_accuracy(
    model: PreTrainedModel | str | Path,
    pairs: Mapping[str, tuple[Sequence[str], Sequence[str]]],
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    layer: int | None = None,
    pooling: str = POOLINGS[0],
    max_length: int = MAX_LENGTH,
    folder: Path | None = None,
) -> dict[str, Accuracy]:
    """How often a sentence's nearest neighbour, by the cosine, is its translation.

    Encodes on the accelerator, in bf16, where there is one. The model keeps its weights, its place and its mode.

    Args:
        model: an encoder, or a model with a head, of which the part below it is used; or where to load one from: a
            folder, such as that of a finished run, a name on the Hub, or the offline encoder's name.
        pairs: by name, equally many source and target sentences, each the translation of the one at its place.
        tokenizer: the model's own; with a name or a folder it is loaded from there.
        layer: whose states to take, by the number of blocks before it. Default: the last.
        pooling: `mean` over all subwords, special ones included, or `cls`, the first one.
        max_length: subwords after which a sentence is cut; at most what the model takes.
        folder: keeps the vectors, so that a call that was killed goes on where it stopped. Default: none does.

    Returns:
        Both directions' accuracy of each pair.

    Raises:
        InputError: no such model or layer, no tokenizer, no pairs, or a pair of unequal length.
    """
    made = check_pairs(pairs)
    if isinstance(model, str | Path):
        model, tokenizer = load_encoder(ModelArguments(model_name_or_path=str(model)))
    elif not isinstance(model, PreTrainedModel):
        raise InputError(
            f"{type(model).__name__} is no model of transformers; of a MultiHeadModel give its `encoder`, of a PEFT "
            f"model `get_base_model()`."
        )
    elif tokenizer is None:
        raise InputError("A model needs its tokenizer beside it: retrieval_accuracy(model, pairs, tokenizer).")
    encoder = SentenceEncoder(
        model, tokenizer, (TEXT,), max_length, layers=None if layer is None else [layer], pooling=pooling
    )
    with tempfile.TemporaryDirectory() as temporary:
        vectors = encode(encoder, made.values(), folder or Path(temporary))
        return accuracies(vectors, made, vectors.layers[0])


def check_pairs(pairs: Mapping[str, tuple[Sequence[str], Sequence[str]]]) -> dict[str, Pair]:
    """`pairs` as such, by name; InputError where there is none, or sentences that are no pairs."""
    if not pairs:
        raise InputError("There are no pairs of sentences; give at least one.")
    made = {}
    for name, (source, target) in pairs.items():
        try:
            made[name] = Pair(source, target)
        except InputError as error:
            raise InputError(f"Pair {name!r}: {error}") from error
    return made


def accuracies(vectors: SentenceVectors, pairs: Mapping[str, Pair], layer: int) -> dict[str, Accuracy]:
    """Both directions' accuracy of each pair, whose sentences translate each other one by one."""
    return {name: accuracy_of(hits) for name, hits in found_translations(vectors, pairs, layer).items()}


def accuracy_of(hits: NDArray[np.bool_]) -> Accuracy:
    """Both directions' accuracy, of what [`found_translations`] gives of a pair."""
    there, back = hits.mean(axis=0)
    return Accuracy(float(there), float(back))


def found_translations(
    vectors: SentenceVectors, pairs: Mapping[str, Pair], layer: int
) -> dict[str, NDArray[np.bool_]]:
    """Whether each sentence's nearest neighbour is its translation, of each pair.

    Returns:
        Shape (sentences, 2): the source's sentences among the target's, and the other way round.
    """
    found = {}
    sentences = sum(len(pair.source) + len(pair.target) for pair in pairs.values())
    # Of few sentences there is nothing to wait for.
    with tqdm(total=sentences, desc="Searching", unit=" sentences", unit_scale=True, delay=2) as bar:
        for name, pair in pairs.items():
            source, target = vectors.of(pair.source, layer), vectors.of(pair.target, layer)
            there = nearest_neighbours(source, target, progress=bar.update)[1]
            back = nearest_neighbours(target, source, progress=bar.update)[1]
            found[name] = np.column_stack([_is_found(there, pair.target), _is_found(back, pair.source)])
    return found


def _is_found(neighbours: NDArray[np.int64], sentences: Sequence[str]) -> list[bool]:
    """Whether each sentence is the nearest neighbour where it should be; of equal ones any may be."""
    return [sentences[i] == sentence for i, sentence in zip(neighbours[:, 0], sentences, strict=True)]
