"""All that users may give as data, prepared and cached as the scripts do."""

import io
from collections.abc import Callable
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from hf_seqreptile.data import DataArguments, load_tasks
from tests.fuzz import conll, csv_files, json_files, squad
from tests.fuzz.reader import Reader


class Words(DataArguments):
    """As NER has them."""

    list_columns = ("tokens", "ner_tags")


def _read(suffix: str) -> Callable[[bytes, Path], None]:
    def read(data: bytes, folder: Path) -> None:
        path = folder / f"de{suffix}"
        path.write_bytes(data)
        dataset = load_tasks(Words(train_file=[f"de={path}"]), ["train"], cache_dir=str(folder / "cache"))
        assert len(dataset["train"]["de"][:1]) > 0

    return read


def _parquet(rows: list[dict[str, object]], **settings: object) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file, **settings)
    return file.getvalue()


SOUND = [{"tokens": ["Anna", "lacht"], "ner_tags": ["B-PER", "O"]}]
FEATURES = datasets.Dataset.from_list(SOUND)
FILES = {
    "CoNLL file": Reader(_read(".conll"), conll.READER.seeds, conll.READER.words, through_datasets=True),
    "SQuAD file": Reader(
        _read(".json"), tuple(b"[" + seed + b"]" for seed in squad.READER.seeds), squad.READER.words,
        through_datasets=True,
    ),
    "JSON file": Reader(_read(".json"), json_files.JSON.seeds, json_files.WORDS, through_datasets=True),
    "JSON lines file": Reader(_read(".jsonl"), json_files.JSON_LINES.seeds, json_files.WORDS, through_datasets=True),
    "CSV file": Reader(_read(".csv"), csv_files.READER.seeds, csv_files.READER.words, through_datasets=True),
    "Parquet file": Reader(
        _read(".parquet"),
        seeds=(_parquet(SOUND), _parquet([{"a": 1, "b": None}, {"a": 2, "b": "x"}], compression="NONE")),
        words=(b"PAR1", b"huggingface", b'"_type": "List"', b'"dtype": "string"', b"list", b"\xff\xff\xff\x7f"),
        through_datasets=True,
    ),
}  # fmt: skip
