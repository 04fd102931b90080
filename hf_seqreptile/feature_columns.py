"""Columns of features that trainers read, and features as tables."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

WINDOWS_OF = "overflow_to_sample_mapping"
"""The column, named as by tokenizers, that tells which example a row is a window of, where long ones have several."""
_INPUT_TYPES = {"input_ids": pa.int32(), "attention_mask": pa.int8(), "token_type_ids": pa.int8()}


def feature_table(columns: Mapping[str, Sequence[Any]]) -> pa.Table | Mapping[str, Sequence[Any]]:
    """A batch of features as a table, which `datasets` writes as it is; of lists it would look at each value first.

    What has no rows stays as it is: it does not tell types.
    """
    if not any(map(len, columns.values())):
        return columns
    types = {name: pa.list_(of_token) for name, of_token in _INPUT_TYPES.items()}
    return pa.table({name: pa.array(values, types.get(name)) for name, values in columns.items()})
