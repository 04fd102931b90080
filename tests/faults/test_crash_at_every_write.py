"""Law 4: a run that dies at any change to its folder ends, continued, bit for bit where it would have ended."""

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback

from hf_seqreptile.training.checkpoints import last_complete_checkpoint
from tests import tiny
from tests.faults.crashes import Crash
from tests.forks import exit_code

CUT = 60
"""Bytes; every file of a checkpoint is longer."""
STEPS, CRASHES_AT = 5, 3
ROTATING = {"save_total_limit": 2}
BEST = {
    "save_total_limit": 1, "load_best_model_at_end": True, "eval_strategy": "steps", "eval_steps": 1,
    "metric_for_best_model": "eval_de_loss",
}  # fmt: skip


def trainer_of(folder: Path, changes: dict[str, Any]) -> Any:
    settings = {"save_strategy": "steps", "save_steps": 1, "max_steps": STEPS} | changes
    return tiny.trainer(folder, init={"eval_dataset": {"de": tiny.task(4, 5)}}, **settings)


def train(folder: Path, changes: dict[str, Any]) -> None:
    trainer = trainer_of(folder, changes)
    tiny.train(trainer, resume_from_checkpoint=last_complete_checkpoint(folder) is not None)
    save_file(tiny.weights(trainer.model), folder.with_suffix(".end"))


def train_and_copy(folder: Path, changes: dict[str, Any], copy: Path) -> None:
    """Train without a crash; `copy` is the folder as it was before the save that others will crash in."""

    class Copying(TrainerCallback):
        def on_save(self, args, state, control, **kwargs):
            if state.global_step == CRASHES_AT - 1:
                shutil.copytree(folder, copy)

    trainer = trainer_of(folder, changes)
    trainer.add_callback(Copying())
    tiny.train(trainer)
    save_file(tiny.weights(trainer.model), folder.with_suffix(".end"))


def train_until_crash(folder: Path, changes: dict[str, Any], change: int, cut: int | None) -> None:
    """Exits with 0 when the save was survived."""

    class Crashing(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == CRASHES_AT:
                checkpoints = [folder / f"checkpoint-{step}" for step in range(1, CRASHES_AT + 1)]
                Crash([folder, *checkpoints], change, cut).arm()

        def on_save(self, args, state, control, **kwargs):
            if state.global_step == CRASHES_AT:
                os._exit(0)

    trainer = trainer_of(folder, changes)
    trainer.add_callback(Crashing())
    tiny.train(trainer, resume_from_checkpoint=True)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("cut", [None, CUT], ids=["killed", "cut"])
@pytest.mark.parametrize("changes", [ROTATING, BEST], ids=["rotating", "best"])
def test_a_crash_at_every_write_of_a_save(tmp_path: Path, changes: dict[str, Any], cut: int | None) -> None:
    log = tmp_path / "log"
    whole, before = tmp_path / "whole", tmp_path / "before"
    assert exit_code(log, train_and_copy, whole, changes, before) == 0, log.read_text()
    change = 0
    while True:
        change += 1
        run = tmp_path / f"run-{change}"
        shutil.copytree(before, run)
        code = exit_code(log, train_until_crash, run, changes, change, cut)
        newest = last_complete_checkpoint(run)
        assert newest is not None and int(newest.name[-1]) in (CRASHES_AT - 1, CRASHES_AT)
        if code == 0:
            break
        assert code == -(signal.SIGKILL if cut is None else signal.SIGXFSZ), log.read_text()
        is_incomplete = newest.name[-1] != str(CRASHES_AT) and (run / f"checkpoint-{CRASHES_AT}").exists()
        log.write_text("")
        assert exit_code(log, train, run, changes) == 0, log.read_text()
        assert (f"checkpoint-{CRASHES_AT} is incomplete" in log.read_text()) == is_incomplete
        tiny.assert_equal(load_file(run.with_suffix(".end")), load_file(whole.with_suffix(".end")))
        shutil.rmtree(run)
    # A checkpoint has a dozen files, and rotation removes as many.
    assert change > (24 if cut is None else 10)
