"""A run that dies after its training, while model, scores and card are written, is completed by the same command."""

import shutil
import signal
from pathlib import Path

import pytest
import transformers.trainer
from transformers import TrainerCallback

from tests.faults.crashes import Crash
from tests.forks import exit_code
from tests.scripts import SEQ_REPTILE, Place, Workplace, end_as

CUT = 1500
"""Bytes; some files are shorter, the model and the plot are not."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Workplace(tmp_path_factory.mktemp("ner"))


def run_until_crash(arguments: list[str], folder: Path, change: int, cut: int | None) -> None:
    class Crashing(TrainerCallback):
        def on_train_end(self, args, state, control, **kwargs):
            Crash([folder], change, cut).arm()

    transformers.trainer.DEFAULT_CALLBACKS.append(Crashing)
    end_as("run_ner", arguments)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("cut", [None, CUT], ids=["killed", "cut"])
def test_a_crash_at_every_write_after_training(place: Place, tmp_path: Path, cut: int | None) -> None:
    log, whole = tmp_path / "log", f"whole-{cut}"
    arguments = place.arguments(whole, *SEQ_REPTILE, "--do_train", "--do_eval", "--do_predict")
    assert place.main(*arguments) == 0
    change = 0
    while True:
        change += 1
        output = place.path(f"crashed-{cut}-{change}")
        shutil.copytree(place.path(whole, "checkpoint-20"), output / "checkpoint-20")
        own = [*arguments, "--output_dir", str(output)]
        code = exit_code(log, run_until_crash, own, output, change, cut)
        if code == 0:
            break
        assert code == -(signal.SIGKILL if cut is None else signal.SIGXFSZ), log.read_text()
        assert exit_code(log, end_as, "run_ner", own) == 0, log.read_text()
        place.assert_same_end(output.name, whole)
    # Every file but those that are there before, and the pickle that is removed.
    assert change > (len(list(place.path(whole).iterdir())) if cut is None else 5)


def test_without_checkpoints_the_same_command_begins_anew(place: Place) -> None:
    """Only where it is the same, and the run before did not write its card, which is the last of all files."""
    arguments = place.arguments("none", *SEQ_REPTILE, "--do_train", "--do_eval", "--save_strategy", "no")
    assert place.main(*arguments) == 0
    assert place.main(*arguments) == 2
    finished = place.files("none")
    for name in ("README.md", "training.png", "scores.json"):
        place.path("none", name).unlink()
    assert place.main(*arguments, "--learning_rate", "1e-3") == 2
    assert place.files("none")["model.safetensors"] == finished["model.safetensors"]
    assert place.main(*arguments) == 0
    assert place.files("none")["model.safetensors"] == finished["model.safetensors"]
    assert place.files("none").keys() == finished.keys()
