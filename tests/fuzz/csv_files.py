"""CSV files."""

from pathlib import Path

from hf_seqreptile.data.csv_file import read_csv
from tests.fuzz.reader import Reader


def read(data: bytes, folder: Path) -> None:
    """Each row has the same columns, with lists where they are wanted."""
    path = folder / "de.csv"
    path.write_bytes(data)
    columns = None
    for row in read_csv(path, ("tokens", "ner_tags")):
        columns = columns or row.keys()
        assert row.keys() == columns
        assert all(isinstance(row[name], list) for name in row.keys() & {"tokens", "ner_tags"})


READER = Reader(
    read,
    seeds=(
        b'tokens,ner_tags\nAnna lacht,B-PER O\n"[""Anna""]","[""O""]"\n',
        b'id,context,question,answers\n1,Anna.,Who?,"{""text"": [""Anna""], ""answer_start"": [0]}"\n',
        b"id,context,question,answer_text,answer_start\n1,Anna.,Who?,Anna,0\n2,Anna.,Why?,,\n",
        b'premise,label\r\n"a\nb",1\r\n\r\n"c""d",007\r\n',
    ),
    words=(
        b",", b'"', b'""', b"\n", b"\r\n", b"answers", b"answer_text", b"answer_start", b"tokens", b"ner_tags", b"[",
        b"]", b'"{""text"": []}"', b"12.0", b"9" * 30, b"9" * 5000, b"[" * 1500, b"\0",
    ),
)  # fmt: skip
