"""From the rows of a file to a Dataset in the Arrow cache of `datasets`."""

from collections.abc import Callable, Iterable, Iterator
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

Row = dict[str, Any]

_ROWS_AT_ONCE = 1000


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
    **options: Any,
) -> Dataset:
    """The Dataset of the rows that `read(path, **options)` yields, cached until the file or the reader changes.

    Args:
        features: the columns' types; the default is to infer them from all rows.

    Raises:
        InputError: what `read` raises; a file without rows; a column with values of several types.
    """
    status = path.stat()
    file = (str(path.resolve()), status.st_size, status.st_mtime_ns)
    key = Hasher.hash([file, split, read.__name__, sorted(options.items()), _readers_source()])
    builder = _RowBuilder(
        cache_dir=cache.directory,
        config_id=f"default-fingerprint={key}",
        features=features,
        generator=read,
        gen_kwargs={"path": path, **options},
        split=split,
    )
    return build(builder, path, split, cache)


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

    def _split_generators(self, dl_manager: Any) -> Any:
        if self.info.features is None:
            path = self.config.gen_kwargs["path"]
            self.info.features = _infer_features(self.config.generator(**self.config.gen_kwargs), path)
        return super()._split_generators(dl_manager)


def _infer_features(rows: Iterator[Row], path: Path) -> Features:
    schema = pa.schema([])
    seen = 0
    while block := list(islice(rows, _ROWS_AT_ONCE)):
        try:
            schema = _widen(schema, block)
        except (ValueError, TypeError, OverflowError):
            _raise_for_row(schema, block, path, seen)
        seen += len(block)
    if not seen:
        raise InputError(f"{path} holds no examples. Put some into it, or leave it out.")
    return Features.from_arrow_schema(schema)


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
