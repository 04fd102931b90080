"""Whatever the bytes, a reader reads them or says what is wrong with them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.reader import Reader
from tests.fuzz.readers import READERS
from tests.fuzz.run import INPUTS, THROUGH_DATASETS, fuzz

Change = tuple[float, int, bytes]
"""Where (as a share of the input), how many bytes of it go, and what comes in their place."""


def inputs(reader: Reader) -> st.SearchStrategy[bytes]:
    """Any bytes, and the reader's seeds with parts taken out and others put in."""
    part = st.sampled_from(reader.words) | st.binary(max_size=8)
    change = st.tuples(st.floats(0, 1), st.integers(0, 12), part)
    return st.builds(altered, st.sampled_from(reader.seeds), st.lists(change, max_size=5)) | st.binary(max_size=300)


def altered(data: bytes, changes: list[Change]) -> bytes:
    """`data` after the changes, one after the other."""
    for where, gone, come in changes:
        at = int(where * len(data))
        data = data[:at] + come + data[at + gone :]
    return data


def run(name: str, examples: int) -> None:
    @settings(max_examples=examples, database=None)
    @given(inputs(READERS[name]))
    def read(data: bytes) -> None:
        READERS[name](data)

    read()


@pytest.mark.parametrize("name", READERS)
def test_seeds(name: str) -> None:
    for seed in READERS[name].seeds:
        READERS[name](seed)


@pytest.mark.parametrize("name", READERS)
def test_with_hypothesis(name: str) -> None:
    run(name, 5 if READERS[name].through_datasets else 30)


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_with_hypothesis_at_length(name: str) -> None:
    run(name, 200 if READERS[name].through_datasets else 2000)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", READERS)
def test_with_atheris(name: str) -> None:
    """In a process of its own, which ends where an input takes too long or too much memory."""
    reason = "atheris has wheels for Linux on x86-64 and Python below 3.14 only; the extra `fuzz` installs it"
    pytest.importorskip("atheris", reason=reason)
    expected = INPUTS * THROUGH_DATASETS if READERS[name].through_datasets else INPUTS
    assert fuzz(name, INPUTS) >= expected
