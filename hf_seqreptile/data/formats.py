"""Which reader a file's suffix calls for."""

import glob
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, List, Value
from datasets.packaged_modules.parquet.parquet import Parquet

from ..errors import InputError
from .build import Cache, build, build_from_rows
from .conll import holds_tokens_alone, read_conll, read_tokens
from .conll_columns import TAGS
from .csv_file import read_csv
from .json_file import read_json, read_json_lines

_TABS = ".tsv"
_CONLL = (".conll", ".conllu", ".conllx", ".iob", ".iob2", ".bio", ".txt", _TABS)
SUFFIXES = (*_CONLL, ".json", ".jsonl", ".csv", ".parquet")


@dataclass(frozen=True)
class Reading:
    """What formats that cannot say it themselves are told.

    Args:
        list_columns: columns that hold a list, one item a word; a CSV file writes them as text. Where there are any, a
            file with tabs (.tsv) is CoNLL, else a table with a header.
        tag_scheme: of the tags in a CoNLL file. Default: the one that is recognised.
        tag_column: which column of a CoNLL file holds the tags. Default: the one that its layout tells.
        columns: which may be read; another whose values are of several types is left out. Default: all may.
    """

    list_columns: tuple[str, ...] = ()
    tag_scheme: str | None = None
    tag_column: str | None = None
    columns: frozenset[str] | None = None


def check_file(path: Path) -> None:
    """Refuse what is no regular file, is empty, or has a format that `read_file` does not know."""
    if not path.is_file():
        raise InputError(
            f"{path} is no file that can be read again and again. Give a regular file, no pipe or device."
        )
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"{path}: files that end in {path.suffix or path.name!r} are not supported. "
            f"Supported: {', '.join(SUFFIXES)}."
        )
    if path.stat().st_size == 0:
        raise InputError(f"{path} is an empty file. Put examples into it, or leave it out.")


def read_file(path: Path, split: str, reading: Reading, cache: Cache) -> Dataset:
    """Read a file that passed `check_file`; it keeps its own columns."""
    suffix = path.suffix.lower()
    if suffix == ".csv" or (suffix == _TABS and not reading.list_columns):
        tabs: dict[str, Any] = {"tabs": True} if suffix == _TABS else {}
        return build_from_rows(read_csv, path, split, cache, list_columns=reading.list_columns, **tabs)
    if suffix in _CONLL and split == "test" and holds_tokens_alone(path):
        return build_from_rows(read_tokens, path, split, cache, Features({"tokens": List(Value("string"))}))
    if suffix in _CONLL:
        words = List(Value("string"))
        features = Features({"tokens": words, reading.tag_column or TAGS: words})
        given = {"tag_scheme": reading.tag_scheme, "tag_column": reading.tag_column}
        given = {name: value for name, value in given.items() if value}
        return build_from_rows(read_conll, path, split, cache, features, **given)
    if suffix == ".parquet":
        # `datasets` takes the path for a pattern.
        files = {split: [glob.escape(str(path.resolve()))]}
        return build(Parquet(cache_dir=cache.directory, data_files=files), path, split, cache)
    reader = read_json if suffix == ".json" else read_json_lines
    return build_from_rows(reader, path, split, cache, columns=reading.columns)
