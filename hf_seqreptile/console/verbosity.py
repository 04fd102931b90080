"""How much the libraries say while a command runs."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import datasets
import transformers
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars


@contextmanager
def verbosity_put_back() -> Iterator[None]:
    """Within, logging and progress bars may be set up; afterwards both are as before for the rest of the process.

    The log levels are those of transformers and of this package, the progress bars those of transformers, datasets
    and huggingface_hub.
    """
    loggers = [logging.getLogger(name) for name in ("transformers", "hf_seqreptile")]
    levels, handlers = [logger.level for logger in loggers], list(logging.root.handlers)
    bars = transformers.utils.logging
    # transformers' come first, since they switch the Hub's as well.
    switches = [
        (bars.is_progress_bar_enabled(), bars.enable_progress_bar, bars.disable_progress_bar),
        (not are_progress_bars_disabled(), enable_progress_bars, disable_progress_bars),
        (not datasets.are_progress_bars_disabled(), datasets.enable_progress_bars, datasets.disable_progress_bars),
    ]
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        logging.root.handlers[:] = handlers
        for were_on, switch_on, switch_off in switches:
            (switch_on if were_on else switch_off)()
