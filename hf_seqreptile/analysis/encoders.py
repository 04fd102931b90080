"""Encoders without their heads: of finished runs, and those that they started from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from ..errors import InputError
from ..models.offline_encoder import OFFLINE_ENCODER, build_offline_encoder
from ..models.run_encoder import encoder_folder
from .groups import Group
from .runs import SavedRun

NO_MODEL = "STL has one model for each language; give the folder of one of them"
ADAPTER = "PEFT's adapters, which leave the encoder as it was; merge them into it to analyse the sum"
NO_BASE = "its card does not name what it started from; give --base_model"


@dataclass(frozen=True)
class Encoder:
    """The weights of an encoder.

    Args:
        path: where it was loaded from: a folder or a name on the Hub.
        weights: in float32 on the CPU, named as in `AutoModel`; without what a checkpoint lacks, such as a pooler.
        vocabulary: token ids by token.
        embeddings: which of the weights has a row for each token.
    """

    path: str
    weights: Mapping[str, Tensor]
    vocabulary: Mapping[str, int]
    embeddings: str

    def with_vocabulary_of(self, other: Encoder) -> Encoder:
        """This encoder with a row for each token of `other`, whose vocabulary may have been trimmed.

        Raises:
            InputError: it lacks a token.
        """
        if self.vocabulary == other.vocabulary:
            return self
        kept = {self.embeddings: self.weights[self.embeddings][self._rows_of(other)]}
        return replace(self, weights={**self.weights, **kept}, vocabulary=other.vocabulary)

    def with_whole_vocabulary(self, start: Encoder) -> Encoder:
        """This encoder with the tokens of its start that its own vocabulary lacks: training did not change them.

        Raises:
            InputError: the start lacks a token of its own.
        """
        if self.vocabulary == start.vocabulary:
            return self
        table = start.weights[start.embeddings].clone()
        table[start._rows_of(self)] = self.weights[self.embeddings]
        return replace(self, weights={**self.weights, self.embeddings: table}, vocabulary=start.vocabulary)

    def _rows_of(self, other: Encoder) -> list[int]:
        """Of the tokens of `other`, in its order."""
        tokens = sorted(other.vocabulary, key=other.vocabulary.__getitem__)
        rows = [self.vocabulary.get(token, -1) for token in tokens]
        if -1 in rows or len(rows) != len(other.weights[other.embeddings]):
            raise InputError(
                f"{other.path} did not start from {self.path}: their vocabularies differ. Give another --base_model."
            )
        return rows


def load_encoder(path: str) -> Encoder:
    """The encoder of a model, with or without a head.

    Args:
        path: a folder or a name on the Hub.

    Raises:
        InputError: it cannot be loaded.
    """
    path = encoder_folder(path)
    try:
        model, found = AutoModel.from_pretrained(path, dtype=torch.float32, output_loading_info=True)
        vocabulary = AutoTokenizer.from_pretrained(path).get_vocab()
    except (OSError, ValueError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"The model {path} cannot be loaded: {reason} Give --base_model the name of a model of the Hub (and be "
            f"online, or have it cached), the folder of one, or {OFFLINE_ENCODER}."
        ) from error
    weights = {name: p.detach() for name, p in model.named_parameters() if name not in found["missing_keys"]}
    table = model.get_input_embeddings().weight
    (embeddings,) = (name for name, parameter in model.named_parameters() if parameter is table)
    return Encoder(path, weights, vocabulary, embeddings)


@cache
def load_start(base_model: str) -> Encoder:
    """What runs started from, kept for the next that did.

    Args:
        base_model: a name on the Hub, a folder, or the offline encoder's name.

    Raises:
        InputError: it cannot be loaded.
    """
    path = str(build_offline_encoder()) if base_model == OFFLINE_ENCODER else base_model
    return load_encoder(path)


def why_no_encoder(run: SavedRun, base_model: str | None) -> str | None:
    """What to say of a run whose encoder cannot be compared with its start; `None` where it can."""
    if run.is_gathered:
        return f"{run.folder}: {NO_MODEL}"
    if run.is_adapter:
        return f"{run.folder}: {ADAPTER}"
    if base_model is None and run.base_model is None:
        return f"{run.folder}: {NO_BASE}"
    return None


def runs_with_encoders(
    groups: Sequence[Group], base_model: str | None, missing: list[str]
) -> Iterator[tuple[Group, SavedRun, str, Encoder]]:
    """The runs whose encoders can be compared with their starts: group, run, name of the start, encoder.

    Args:
        groups: the runs.
        base_model: what all runs started from. Default: what each run's card names.
        missing: is added why the others cannot.
    """
    for group in groups:
        for run in group.runs:
            if reason := why_no_encoder(run, base_model):
                missing.append(reason)
                continue
            try:
                encoder = load_encoder(str(run.folder))
            except InputError as error:
                missing.append(f"{run.folder}: {error}")
                continue
            yield group, run, base_model or str(run.base_model), encoder


def distance(one: Encoder, other: Encoder) -> tuple[float, int]:
    """The L2 distance over all numbers of the weights that both have, and how many those are.

    Raises:
        InputError: their shapes differ.
    """
    shared = [name for name in one.weights if name in other.weights]
    if not shared or any(one.weights[name].shape != other.weights[name].shape for name in shared):
        raise InputError(
            f"{one.path} did not start from {other.path}: their weights differ in shape. Give another --base_model."
        )
    norms = [(one.weights[name] - other.weights[name]).norm().item() for name in shared]
    return math.hypot(*norms), sum(one.weights[name].numel() for name in shared)
