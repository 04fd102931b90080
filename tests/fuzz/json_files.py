"""JSON files: a list of objects, the same under "data", or one object a line."""

from pathlib import Path

from hf_seqreptile.data.json_file import read_json, read_json_lines
from tests.fuzz.reader import Reader

ROW = b'{"tokens": ["Anna", "lacht"], "ner_tags": ["B-PER", "O"]}'
WORDS = (
    b'"data": ', b'"paragraphs": ', b"[", b"]", b"{", b"}", b",", b":", b'"', b"\n", b"null", b"NaN", b"1e999", b"-0",
    b"9" * 400, b'"\\ud800"', b"[" * 400, b'{"a":' * 400, b"\xef\xbb\xbf",
)  # fmt: skip


def read(data: bytes, folder: Path) -> None:
    """Each row is an object."""
    path = folder / "de.json"
    path.write_bytes(data)
    assert all(isinstance(row, dict) for row in read_json(path))


def read_lines(data: bytes, folder: Path) -> None:
    """The same, one object a line."""
    path = folder / "de.jsonl"
    path.write_bytes(data)
    assert all(isinstance(row, dict) for row in read_json_lines(path))


JSON = Reader(read, seeds=(b"[" + ROW + b"]", b'{"data": [' + ROW + b"]}", ROW + b"\n" + ROW), words=WORDS)
JSON_LINES = Reader(read_lines, seeds=(ROW + b"\n" + ROW + b"\n", b"\n" + ROW), words=WORDS)
