"""One dataset whose rows name each example's task."""

import logging
import re
from collections.abc import Collection, Iterable, Mapping

from datasets import ClassLabel, Dataset

from ..errors import InputError
from .language_names import LANGUAGE_NAMES
from .names import check_task_name

logger = logging.getLogger(__name__)

_ID = re.compile(r"([^\W\d_]+)-.+")


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


def split_by_id(dataset: Dataset, wanted: Collection[str] = ()) -> dict[str, Dataset] | None:
    """The same, where every row has an `id` such as `swahili-17-2`: letters before its first hyphen name the task.

    `None` where some row has no such id, or where the letters may be something else: all must be names of languages,
    or some of the tasks that the user wants. Two letters are no name: `tr-000-…` and `de-000-…` are JaQuAD's splits.

    Args:
        dataset: of any tasks.
        wanted: the tasks that the user named.
    """
    if "id" not in dataset.column_names:
        return None
    rows: dict[str, list[int]] = {}
    for row, value in enumerate(dataset["id"]):
        match = _ID.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            return None
        rows.setdefault(match[1], []).append(row)
    are_languages = all(name.lower() in LANGUAGE_NAMES for name in rows)
    return _select(dataset, rows) if are_languages or not rows.keys().isdisjoint(wanted) else None


def tell_of_ids(tasks: Iterable[str], origin: str) -> None:
    """Say that [`split_by_id`] found these tasks in the ids of `origin`."""
    logger.warning("The ids in %s name languages, which are its tasks: %s.", origin, ", ".join(tasks))


def _select(dataset: Dataset, rows: Mapping[str, list[int]]) -> dict[str, Dataset]:
    return {name: dataset.select(indices) for name, indices in rows.items()}
