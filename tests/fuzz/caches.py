"""What says that clusters and sentence embeddings have been made already."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hf_seqreptile.clustering.dataset_clusters import DATA, EXAMPLES, FIGURE, REPORT, _read_tasks
from hf_seqreptile.embeddings import embeddings_file
from hf_seqreptile.embeddings.embeddings_file import ARRAY, PROGRESS
from tests.fuzz.reader import Reader

SHAPE = (3, 2)
WORDS = (
    b'"key": ', b'"finished": ', b"{", b"}", b"[", b"]", b"null", b"-1", b"1e999", b"9" * 5000, b"[" * 2000, b"\0",
)  # fmt: skip


def _saved(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _parquet(**columns: list[object]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


REPORT_TEXT, TABLE = b'{"key": "k", "examples": 3}', _parquet(task=["cluster_1", "cluster_2", "cluster_1"])
PROGRESS_TEXT, VECTORS = json.dumps({"key": "k", "finished": 3}).encode(), _saved(np.zeros(SHAPE, dtype=np.float32))


def read_clusters(data: bytes, folder: Path) -> None:
    """Each row's task, or nothing, and they are made anew. The first byte says which file the others are."""
    for name in (FIGURE, EXAMPLES):
        (folder / name).touch()
    is_report = not data or data[0] == 0
    (folder / REPORT).write_bytes(data[1:] if is_report else REPORT_TEXT)
    (folder / DATA).write_bytes(TABLE if is_report else data[1:])
    tasks = _read_tasks(folder, "k")
    assert tasks is None or all(task is None or isinstance(task, str) for task in tasks)


def read_progress(data: bytes, folder: Path) -> None:
    """As many rows as the array has, or they are encoded anew. The first byte says which file the others are."""
    is_progress = not data or data[0] == 0
    (folder / PROGRESS).write_bytes(data[1:] if is_progress else PROGRESS_TEXT)
    (folder / ARRAY).write_bytes(VECTORS if is_progress else data[1:])
    finished = embeddings_file.read_progress(folder, "k", SHAPE)
    assert 0 <= finished <= SHAPE[0]
    assert not finished or np.load(folder / ARRAY, mmap_mode="c").shape == SHAPE


CLUSTERS = Reader(
    read_clusters,
    seeds=(b"\0" + REPORT_TEXT, b"\0[]", b'\0{"key": ["k"]}', b"\1" + TABLE, b"\1" + _parquet(task=[1, 2, None])),
    words=(*WORDS, b"PAR1", b"task"),
)
EMBEDDINGS = Reader(
    read_progress,
    seeds=(b"\0" + PROGRESS_TEXT, b"\1" + VECTORS, b"\1" + _saved(np.zeros(SHAPE))),
    words=(*WORDS, b"\x93NUMPY", b"(3, 2)", b"<f4"),
)
