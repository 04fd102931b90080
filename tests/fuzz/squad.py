"""Nested SQuAD files."""

import json
from pathlib import Path

from hf_seqreptile.data.json_file import read_json
from tests.fuzz.reader import Reader

QUESTION = {"id": "1", "question": "Who?", "answers": [{"text": "Anna", "answer_start": 0}]}
FILE = {
    "data": [{"title": "A", "paragraphs": [{"context": "Anna laughs.", "qas": [QUESTION, {**QUESTION, "id": 2}]}]}]
}


def read(data: bytes, folder: Path) -> None:
    """Each question has a text, a context, and as many starts as answers."""
    path = folder / "de.json"
    path.write_bytes(b'{"data": [{"paragraphs": []}, ' + data + b"]}")
    for row in read_json(path):
        assert all(isinstance(row[name], str) for name in ("id", "title", "context", "question"))
        answers = row.get("answers", {"text": [], "answer_start": []})
        assert len(answers["text"]) == len(answers["answer_start"])


READER = Reader(
    read,
    seeds=tuple(json.dumps(article).encode() for article in FILE["data"]),
    words=(
        b'"title": ', b'"paragraphs": ', b'"context": ', b'"qas": ', b'"id": ', b'"question": ', b'"answers": ',
        b'"text": ', b'"answer_start": ', b"null", b"[", b"]", b"{", b"}", b",", b"1e999", b"true", b'"\\ud800"',
    ),
)  # fmt: skip
