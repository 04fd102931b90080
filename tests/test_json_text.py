"""The JSON of many numbers."""

import json

import numpy as np
from hypothesis import given
from hypothesis.extra import numpy as arrays

from hf_seqreptile.json_text import numbers_as_json


@given(arrays.arrays(dtype=arrays.floating_dtypes(sizes=(32, 64), endianness="="), shape=20))
def test_numbers_are_written_as_json_writes_them(values: np.ndarray) -> None:
    repeated = np.concatenate([values, values[::-1], np.array([0.0, -0.0, np.nan, np.inf, 1e-5, 1e22], values.dtype)])
    assert numbers_as_json(repeated) == [json.dumps(value) for value in repeated.tolist()]


def test_no_numbers() -> None:
    assert numbers_as_json(np.zeros(0)) == []
