"""What a command sets for the libraries' messages ends with it."""

import io
import logging
from collections.abc import Callable
from contextlib import redirect_stderr, suppress
from pathlib import Path

import datasets
import pytest
import transformers
from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from hf_seqreptile.analysis.__main__ import main as analyse
from hf_seqreptile.console.verbosity import verbosity_put_back
from run_ner import main as run_ner

LIBRARIES = transformers.utils.logging


def state() -> tuple[object, ...]:
    return (
        logging.getLogger("transformers").level,
        logging.getLogger("hf_seqreptile").level,
        list(logging.root.handlers),
        LIBRARIES.is_progress_bar_enabled(),
        are_progress_bars_disabled(),
        datasets.are_progress_bars_disabled(),
    )


def silence() -> None:
    LIBRARIES.set_verbosity(logging.CRITICAL)
    logging.getLogger("hf_seqreptile").setLevel(logging.CRITICAL)
    logging.root.addHandler(logging.NullHandler())
    LIBRARIES.disable_progress_bar()
    datasets.disable_progress_bars()


def speak() -> None:
    LIBRARIES.set_verbosity(logging.DEBUG)
    logging.getLogger("hf_seqreptile").setLevel(logging.DEBUG)
    LIBRARIES.enable_progress_bar()
    datasets.enable_progress_bars()


@pytest.mark.parametrize("before", [silence, speak, disable_progress_bars, datasets.disable_progress_bars])
@pytest.mark.parametrize("within", [silence, speak, enable_progress_bars])
def test_all_is_as_it_was_whatever_was_set(before: Callable[[], None], within: Callable[[], None]) -> None:
    with verbosity_put_back():
        before()
        was = state()
        with suppress(SystemExit), verbosity_put_back():
            within()
            raise SystemExit(2)
        assert state() == was


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (analyse, ["/no/folder"]),
        (run_ner, ["--model_name_or_path", "m", "--train_file", "/no/file", "--do_train", "--log_level", "error"]),
    ],
    ids=["analysis", "run_ner"],
)
def test_a_command_leaves_no_setting_behind(
    tmp_path: Path, command: Callable[[list[str]], None], arguments: list[str]
) -> None:
    was = state()
    with redirect_stderr(io.StringIO()) as stderr, pytest.raises(SystemExit):
        command([*arguments, "--output_dir", str(tmp_path)])
    assert "/no/f" in stderr.getvalue()
    assert state() == was
