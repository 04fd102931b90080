"""Texts, or pairs of them, and their labels as features."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from transformers import PreTrainedTokenizerBase

from ..data.text import shown
from ..errors import InputError
from ..feature_columns import feature_table
from .problem import IS_CUT
from .text_columns import TextColumns
from .text_labels import Classes, Targets

LABEL_IDS = "labels"
"""The column of features, as models call it."""


def encode_rows(
    rows: dict[str, list],
    indices: list[int],
    tokenizer: PreTrainedTokenizerBase,
    columns: TextColumns,
    labels: Classes | Targets,
    rows_in_data: Sequence[int],
    where: str,
    max_length: int,
    padding: str | bool,
) -> pa.Table | Mapping[str, Sequence[Any]]:
    """Features of a batch of rows: the model's inputs, `labels`, and whether the texts were cut.

    Args:
        rows: of one task's split.
        indices: their numbers among those that are encoded.
        tokenizer: of the model.
        columns: of the texts, and of the labels, which may be missing.
        labels: reads them.
        rows_in_data: the numbers in the data of the rows that are encoded.
        where: task and split, for messages.
        max_length: tokens after which the longer text of a pair is cut.
        padding: the tokenizer's.

    Raises:
        InputError: a text that is null, or a label that is wrong; names task, split and row.
    """
    given = rows.get(columns.label) or [None] * len(indices)
    texts = [rows[column] for column in columns.texts]
    encoded = []
    # Messages are made where they are needed: for most rows, the label was seen before.
    seen: dict[Any, Any] = {}
    for i, (label, *of_row) in enumerate(zip(given, *texts, strict=True)):
        if None in of_row or label not in seen:
            row = f"{where}, row {rows_in_data[indices[i]] + 1}"
            if None in of_row:
                raise InputError(f"{row}: an empty value (null); fill it in or delete the row.")
            seen[label] = labels.feature(label, f"{row} ({shown(of_row[-1])})")
        encoded.append(seen[label])
    features = tokenizer(*texts, truncation=True, max_length=max_length, padding=padding)
    is_cut = [bool(encoding.overflowing) for encoding in features.encodings or ()]
    return feature_table(dict(features) | {LABEL_IDS: encoded, IS_CUT: is_cut})
