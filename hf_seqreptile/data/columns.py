"""One dataset with a column that names each example's task."""

from collections.abc import Mapping

from datasets import ClassLabel, Dataset

from hf_seqreptile.data.names import check_task_name
from hf_seqreptile.errors import InputError


def split_by_column(dataset: Dataset, column: str, origin: str) -> Mapping[str, Dataset]:
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
    return {name: dataset.select(indices) for name, indices in rows.items()}
