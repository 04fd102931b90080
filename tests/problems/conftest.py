"""What all tests of problems share."""

from collections.abc import Iterator

import datasets
import pytest


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()
