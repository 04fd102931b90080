"""The weights file that the offline encoder is built from."""

import struct
from pathlib import Path

import numpy as np

from hf_seqreptile.models.e5_weights import bert_tensors, read_e5_weights
from tests.fuzz.reader import Reader

HIDDEN, INNER, PIECES = 32, 32, [b"<s>", b"<pad>", b"</s>", b"<unk>", b"a", b"\xc3\xb6"]


def sound() -> bytes:
    """A whole file, with an encoder of one layer."""
    shapes = {"emb.word": (len(PIECES), HIDDEN), "emb.pos": (2, HIDDEN), "emb.type": (1, HIDDEN)}
    shapes |= {"emb.ln.w": (HIDDEN,), "emb.ln.b": (HIDDEN,)}
    for part in ("q", "k", "v", "ao", "fi", "fo"):
        shapes |= {f"l0.{part}.w": (HIDDEN, HIDDEN), f"l0.{part}.b": (HIDDEN,)}
    for part in ("aln", "oln"):
        shapes |= {f"l0.{part}.w": (HIDDEN,), f"l0.{part}.b": (HIDDEN,)}
    starts = np.cumsum([0, *map(len, PIECES)]).astype("<u4").tobytes()
    head = b"E5S1" + struct.pack("<I7ifi", 1, HIDDEN, 1, 2, INNER, len(PIECES), 2, 1, 1e-12, 32)
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, sum(map(len, PIECES))) + starts
    head += np.zeros(len(PIECES), "<f4").tobytes() + b"".join(PIECES) + struct.pack("<iI", 0, 0)
    head += struct.pack("<i", len(shapes))
    tensors, directory = b"", []
    for name, shape in shapes.items():
        elements = int(np.prod(shape))
        packed = bytes(4 * elements if len(shape) == 1 else elements // 32 * 18)
        directory.append((name.encode(), len(shape) > 1, elements, len(tensors), len(packed)))
        tensors += packed
    start = len(head) + sum(2 + len(name) + 21 for name, *_ in directory)
    for name, kind, elements, offset, length in directory:
        head += struct.pack("<H", len(name)) + name + struct.pack("<BIQQ", kind, elements, start + offset, length)
    return head + tensors


def read(data: bytes, folder: Path) -> None:
    """What can be read can be unpacked."""
    path = folder / "e5.bin"
    path.write_bytes(data)
    weights = read_e5_weights(path)
    kept = np.arange(len(weights.pieces), dtype=np.int64)
    tensors = bert_tensors(weights, kept)
    assert tensors["embeddings.word_embeddings.weight"].shape == (len(kept), weights.hidden)


READER = Reader(
    read,
    seeds=(sound(),),
    words=(b"E5S1", b"l0.q.w", b"emb.word", struct.pack("<i", -1), struct.pack("<i", 2**31 - 1), bytes(4)),
)
