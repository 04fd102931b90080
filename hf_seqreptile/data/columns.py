"""One dataset whose rows name each example's task."""

import re
from collections.abc import Mapping

from datasets import ClassLabel, Dataset

from ..errors import InputError
from .names import SPLIT_NAMES, check_task_name

_ID = re.compile(r"([^\W\d_]+)-.+")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_SPLIT_NAMES = {name for names in SPLIT_NAMES.values() for name in names}


def split_by_column(dataset: Dataset, column: str, origin: str) -> dict[str, Dataset]:
    """Each task's examples, in their order and with all columns; tasks in the order of their first examples."""
    if column not in dataset.column_names:
        raise InputError(
            f"{origin} has no column {column!r}. Give --task_column one of: {', '.join(dataset.column_names)}."
        )
    feature = dataset.features[column]
    rows: dict[str, list[int]] = {}
    for row, value in enumerate(dataset[column]):
        if value is None:
            raise InputError(f"{origin}, row {row + 1}: the column {column!r} names no task. Fill it in.")
        name = feature.int2str(value) if isinstance(feature, ClassLabel) else str(value)
        if name not in rows:
            check_task_name(name, f"{origin}, row {row + 1}, column {column!r}")
        rows.setdefault(name, []).append(row)
    return _select(dataset, rows)


def split_by_id(dataset: Dataset) -> dict[str, Dataset] | None:
    """The same, where every row has an `id` such as `swahili-17-2`: letters before its first hyphen name the task.

    `None` where some row has no such id. A UUID is none, nor is the name of a split a task's (`train-17`).
    """
    if "id" not in dataset.column_names:
        return None
    rows: dict[str, list[int]] = {}
    for row, value in enumerate(dataset["id"]):
        match = _ID.fullmatch(value) if isinstance(value, str) and not _UUID.fullmatch(value) else None
        if match is None or match[1].lower() in _SPLIT_NAMES:
            return None
        rows.setdefault(match[1], []).append(row)
    return _select(dataset, rows)


def _select(dataset: Dataset, rows: Mapping[str, list[int]]) -> dict[str, Dataset]:
    return {name: dataset.select(indices) for name, indices in rows.items()}
