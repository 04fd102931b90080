"""From the rows of a file to a Dataset in the Arrow cache of `datasets`."""

import json
import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset, DatasetBuilder, DownloadMode, Features
from datasets.fingerprint import Hasher
from datasets.packaged_modules.generator.generator import Generator

from ..errors import InputError

logger = logging.getLogger(__name__)

Row = dict[str, Any]

_ROWS_AT_ONCE = 1000
_LEFT_OUT = "columns with values of several types"


@dataclass(frozen=True)
class Cache:
    """Where prepared data is kept (default: the cache of `datasets`), and whether to prepare it again."""

    directory: str | None = None
    overwrite: bool = False


def build_from_rows(
    read: Callable[..., Iterator[Row]],
    path: Path,
    split: str,
    cache: Cache,
    features: Features | None = None,
    columns: Collection[str] | None = None,
    **options: Any,
) -> Dataset:
    """The Dataset of the rows that `read(path, **options)` yields, cached until the file or the reader changes.

    Args:
        features: the columns' types; the default is to infer them from all rows.
        columns: those that may be needed; another with values of several types is left out, and told of. Default: all.

    Raises:
        InputError: what `read` raises; a file without rows; a column that may be needed with values of several types.
    """
    status = path.stat()
    file = (str(path.resolve()), status.st_size, status.st_mtime_ns)
    needed = None if columns is None else sorted(columns)
    key = Hasher.hash([file, split, read.__name__, sorted(options.items()), needed, _readers_source()])
    builder = _RowBuilder(
        cache_dir=cache.directory,
        config_id=f"default-fingerprint={key}",
        features=features,
        generator=read,
        gen_kwargs={"path": path, **options},
        split=split,
    )
    builder.needed = columns
    dataset = build(builder, path, split, cache)
    for name, row in left_out_columns(dataset).items():
        logger.warning(
            "%s, row %d: the column %r has another type of value than before. It is left out; nothing reads it.",
            path, row, name,
        )  # fmt: skip
    return dataset


def left_out_columns(dataset: Dataset) -> dict[str, int]:
    """The columns that a file has beside those of its dataset, and the row that has another type of value each."""
    try:
        found = json.loads(dataset.info.description)[_LEFT_OUT]
    except (ValueError, TypeError, KeyError):
        return {}
    return dict(found)


@lru_cache(maxsize=1)
def _readers_source() -> str:
    """All code that turns files into rows: what an older version cached must not pass for what this one reads."""
    return "".join(path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("*.py")))


def build(builder: DatasetBuilder, path: Path, split: str, cache: Cache) -> Dataset:
    """Prepare the one split of `builder`, or take it from the cache; what is wrong with `path` is an InputError."""
    try:
        builder.download_and_prepare(download_mode=DownloadMode.REUSE_CACHE_IF_EXISTS if cache.overwrite else None)
    except InputError:
        raise
    except Exception as error:
        # What a file says of itself, as Parquet's metadata does, `datasets` trusts, and then fails in any way.
        cause = error.__cause__ or error
        if isinstance(cause, InputError):
            raise cause from None
        raise InputError(
            f"{path} cannot be read and cached: {cause}. Is it complete, and is the disk full?"
        ) from error
    if not builder.info.splits[split].num_examples:
        raise InputError(f"{path} holds no examples. Put some into it, or leave it out.")
    return builder.as_dataset(split=split)


class _RowBuilder(Generator):
    """Infers features from all rows, where `datasets` looks at the first thousand and drops columns they lack."""

    needed: Collection[str] | None = None

    def _split_generators(self, dl_manager: Any) -> Any:
        if self.info.features is None:
            path = self.config.gen_kwargs["path"]
            rows = self.config.generator(**self.config.gen_kwargs)
            self.info.features, left_out = _infer_features(rows, path, self.needed)
            if left_out:
                # Where the cache keeps it.
                self.info.description = json.dumps({_LEFT_OUT: left_out})
        return super()._split_generators(dl_manager)


def _infer_features(
    rows: Iterator[Row], path: Path, needed: Collection[str] | None
) -> tuple[Features, dict[str, int]]:
    schema = pa.schema([])
    left_out: dict[str, int] = {}
    seen = 0
    while block := list(islice(rows, _ROWS_AT_ONCE)):
        try:
            schema = _widen(schema, _without(block, left_out))
        except (ValueError, TypeError, OverflowError):
            if needed is not None:
                left_out |= _mixed_columns(schema, block, seen, {*left_out, *needed})
            block = _without(block, left_out)
            kept = [field for field in schema if field.name not in left_out]
            _raise_for_row(pa.schema(kept), block, path, seen)
            schema = _widen(pa.schema(kept), block)
        seen += len(block)
    if not seen:
        raise InputError(f"{path} holds no examples. Put some into it, or leave it out.")
    return Features.from_arrow_schema(schema), left_out


def _without(rows: list[Row], left_out: Collection[str]) -> list[Row]:
    return [{name: value for name, value in row.items() if name not in left_out} for row in rows] if left_out else rows


def _mixed_columns(schema: pa.Schema, rows: list[Row], seen: int, others: Collection[str]) -> dict[str, int]:
    """The columns but `others` whose values are of several types, and the number of the first row that has another."""
    found: dict[str, int] = {}
    for name in dict.fromkeys(name for row in rows for name in row if name not in others):
        own = pa.schema([schema.field(name)] if name in schema.names else [])
        for number, row in enumerate(rows, seen + 1):
            try:
                own = _widen(own, [{name: row.get(name)}])
            except (ValueError, TypeError, OverflowError):
                found[name] = number
                break
    return found


def _widen(schema: pa.Schema, rows: Iterable[Row]) -> pa.Schema:
    return pa.unify_schemas([schema, pa.schema(pa.array(rows).type)], promote_options="permissive")


def _raise_for_row(schema: pa.Schema, rows: list[Row], path: Path, seen: int) -> None:
    for number, row in enumerate(rows, seen + 1):
        try:
            schema = _widen(schema, [row])
        except (ValueError, TypeError, OverflowError) as error:
            raise InputError(
                f"{path}, row {number}: its values do not fit the rows before ({error}). "
                "Give every column values of one type."
            ) from error
