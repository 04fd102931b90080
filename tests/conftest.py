"""Settings of all tests."""

import gc
import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

# Two test processes with two threads each on two cores wait for each other most of the time.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

# A time is never a test: how long an example takes says how busy the machine is.
settings.register_profile("fast", deadline=None, max_examples=30)
settings.register_profile("thorough", deadline=None)


def pytest_configure(config: pytest.Config) -> None:
    """With the slow tests hypothesis tries as many examples as by default."""
    settings.load_profile("fast" if config.option.markexpr else "thorough")


def set_aside() -> None:
    """Leave out what is there by now: accelerate collects garbage in every training, and would go through it."""
    gc.collect()
    gc.freeze()


def pytest_collection_finish() -> None:
    """What the tests import."""
    set_aside()


@pytest.fixture(scope="module", autouse=True)
def imported_by_others() -> Iterator[None]:
    """What the tests of a module made the libraries import, after all else of them is gone."""
    yield
    set_aside()
