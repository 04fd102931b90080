"""Settings of all tests."""

import gc
import os

from hypothesis import settings

# Two test processes with two threads each on two cores wait for each other most of the time.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

# A time is never a test: how long an example takes says how busy the machine is.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_collection_finish() -> None:
    """Set aside what is there by now: accelerate collects garbage in every training, and would go through it."""
    gc.collect()
    gc.freeze()
