"""Sentence vectors on disk: a memory-mapped array, and how many of its rows are there already."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap, write_array_header_1_0

from ..durable import write_whole
from ..errors import InputError
from ..json_text import parse_json

ARRAY, PROGRESS = "embeddings.npy", "progress.json"
TOKENS = "tokens.arrow"
"""The rows' subwords, while they are being encoded."""


def open_array(folder: Path, shape: tuple[int, int], is_new: bool) -> np.memmap:
    """The array in `folder`, float32 of `shape`, to write to; a new one raises InputError where it has no room."""
    if not is_new:
        return open_memmap(folder / ARRAY, mode="r+")
    needed = 4 * shape[0] * shape[1]
    # A memory-mapped write to a full disk ends the process without a word.
    if shutil.disk_usage(folder).free < needed:
        raise InputError(f"The embeddings need {needed / 1e9:.1f} GB in {folder}, which has less; make room.")
    return open_memmap(folder / ARRAY, mode="w+", dtype=np.float32, shape=shape)


def _is_whole(path: Path, shape: tuple[int, int]) -> bool:
    """Whether the file has the header and the size of a float32 array of `shape`."""
    header = io.BytesIO()
    write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    expected = header.getvalue()
    with path.open("rb") as file:
        return file.read(len(expected)) == expected and path.stat().st_size == len(expected) + 4 * shape[0] * shape[1]


def read_progress(folder: Path, key: str, shape: tuple[int, int]) -> int:
    """How many rows, in order of length, are in the array; begins anew where the folder is not about `key`."""
    try:
        progress = parse_json((folder / PROGRESS).read_text(encoding="utf-8"))
        finished = progress["finished"]
        is_count = isinstance(finished, int) and 0 <= finished <= shape[0]
        if progress["key"] == key and is_count and (finished == 0 or _is_whole(folder / ARRAY, shape)):
            return finished
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        pass
    for name in (PROGRESS, TOKENS, ARRAY):
        (folder / name).unlink(missing_ok=True)
    write_progress(folder, key, finished=0)
    return 0


def write_progress(folder: Path, key: str, finished: int) -> None:
    """Note that so many rows, in order of length, are in the array."""
    write_whole(folder / PROGRESS, json.dumps({"key": key, "finished": finished}) + "\n")
