"""What becomes of a run whose disk is full, whose folder is read-only, whose cache is gone."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from transformers import TrainerCallback

from hf_seqreptile import InputError
from hf_seqreptile.command_line.steps import train as train_as_scripts_do
from hf_seqreptile.training.checkpoints import last_complete_checkpoint
from tests import tiny
from tests.scripts import SEQ_REPTILE, Workplace

SAVING = {"save_strategy": "steps", "save_steps": 1, "max_steps": 6}


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own that has room for some of the checkpoints."""
    disk = tmp_path / "disk"
    disk.mkdir()
    try:
        mount("-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk))
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"mounting a file system is not allowed here: {error}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


class AtStep(TrainerCallback):
    """Does something at the end of a step."""

    def __init__(self, step: int, do: Callable[[], None]) -> None:
        self.step = step
        self.do = do

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            self.do()


def test_a_full_disk_ends_the_run_and_room_continues_it(tmp_path, small_disk):
    whole = tiny.train(tiny.trainer(tmp_path / "whole", **SAVING))
    output = small_disk / "out"
    with pytest.raises(InputError, match=r"Could not write .*Earlier checkpoints are untouched; make room"):
        tiny.train(tiny.trainer(output, **SAVING))
    newest = last_complete_checkpoint(output)
    assert newest is not None
    # As full as before, it ends in the same way, and does not lose what is there.
    with pytest.raises(InputError, match="Could not write"):
        tiny.train(tiny.trainer(output, **SAVING), resume_from_checkpoint=True)
    assert last_complete_checkpoint(output) == newest
    mount("-o", "remount,size=20m", str(small_disk))
    resumed = tiny.train(tiny.trainer(output, **SAVING), resume_from_checkpoint=True)
    tiny.assert_equal(tiny.weights(resumed.model), tiny.weights(whole.model))


def test_a_read_only_folder_is_found_out_before_training(small_disk):
    mount("-o", "remount,ro", str(small_disk))
    trainer = tiny.trainer(small_disk, **SAVING)
    with pytest.raises(InputError, match=f"Could not write {small_disk}: Read-only file system"):
        train_as_scripts_do(trainer, tiny.problem())
    assert trainer.state.global_step == 0


def test_a_folder_that_becomes_read_only_keeps_its_checkpoints(tmp_path, small_disk):
    whole = tiny.train(tiny.trainer(tmp_path / "whole", **SAVING))
    mount("-o", "remount,size=20m", str(small_disk))
    read_only = AtStep(4, lambda: mount("-o", "remount,ro", str(small_disk)))
    with pytest.raises(InputError, match="checkpoint-4: Read-only file system"):
        tiny.train(tiny.trainer(small_disk, init={"callbacks": [read_only]}, **SAVING))
    mount("-o", "remount,rw", str(small_disk))
    assert last_complete_checkpoint(small_disk) == small_disk / "checkpoint-3"
    resumed = tiny.train(tiny.trainer(small_disk, **SAVING), resume_from_checkpoint=True)
    tiny.assert_equal(tiny.weights(resumed.model), tiny.weights(whole.model))


def test_a_run_continues_without_the_dataset_cache(tmp_path):
    """What is read and encoded anew has the rows that the checkpoint was trained on."""
    place = Workplace(tmp_path)
    arguments = place.arguments("whole", *SEQ_REPTILE, "--do_train", "--do_eval", "--save_steps", "8")
    assert place.main(*arguments) == 0
    shutil.copytree(place.path("whole", "checkpoint-8"), place.path("resumed", "checkpoint-8"))
    shutil.rmtree(place.path("cache"))
    printed = place.printed_by(*arguments, "--output_dir", str(place.path("resumed")))
    assert "Continuing from" in printed
    place.assert_same_end("resumed", "whole")
