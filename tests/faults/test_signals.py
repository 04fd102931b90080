"""SIGTERM saves and ends a run; Ctrl-C ends it and says where it continues."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from transformers import TrainerCallback

from hf_seqreptile import InputError
from hf_seqreptile.command_line.steps import train as train_as_scripts_do
from hf_seqreptile.console.bad_input import bad_input_exits
from hf_seqreptile.training.checkpoints import last_complete_checkpoint
from tests import tiny
from tests.processes import together

SAVING = {"save_strategy": "steps", "save_steps": 100, "max_steps": 18, "per_device_train_batch_size": 8}
"""Of an own accord it saves at the end alone; an epoch has 14 steps of one draw."""


@pytest.fixture(autouse=True)
def default_handlers() -> Iterator[None]:
    """What starts the tests may ignore them, as a shell does with SIGINT for what runs in its background."""
    defaults = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, default) for number, default in defaults.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Sends(TrainerCallback):
    """Sends this process and its workers a signal within an optimizer step, as a scheduler does."""

    def __init__(self, number: int, step: int) -> None:
        self.number = number
        self.step = step

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        if state.global_step == self.step - 1:
            kill_all(self.number)


def kill_all(number: int) -> None:
    workers = [worker.pid for worker in multiprocessing.active_children() if worker.pid]
    # Its own last, where the handler runs at once.
    for process in [*workers, os.getpid()]:
        os.kill(process, number)


def trainer_of(folder: Path, changes: dict[str, Any], *callbacks: TrainerCallback) -> Any:
    init = {"eval_dataset": {"de": tiny.task(8, 5)}, "callbacks": list(callbacks)}
    return tiny.trainer(folder, init=init, **SAVING | changes)


@pytest.mark.parametrize(
    ("changes", "at", "saved"),
    [
        # In the middle of a trajectory.
        ({"inner_steps": 4}, 6, 6),
        ({"method": "mtl", "tasks_per_step": 2}, 5, 5),
        ({"method": "mtl", "save_strategy": "no"}, 1, 1),
        # An outer update has 3 trajectories of 2 steps; saving waits for it.
        ({"method": "reptile", "inner_steps": 2}, 7, 12),
        ({"save_strategy": "best", "eval_strategy": "steps", "eval_steps": 2, "metric_for_best_model": "loss"}, 7, 7),
        # The end of an epoch, whose evaluation a run that is continued from there would not repeat.
        ({"method": "mtl", "tasks_per_step": 1, "load_best_model_at_end": True, "save_strategy": "epoch",
          "eval_strategy": "epoch"}, 14, 14),
    ],
    ids=str,
)  # fmt: skip
def test_sigterm_saves_and_the_run_ends_where_it_would_have_ended(tmp_path, capsys, changes, at, saved):
    whole = tiny.train(trainer_of(tmp_path / "whole", changes))
    stopped = trainer_of(tmp_path / "stopped", changes, Sends(signal.SIGTERM, at))
    with pytest.raises(SystemExit) as exit_:
        tiny.train(stopped)
    assert exit_.value.code == 143
    newest = tmp_path / "stopped" / f"checkpoint-{saved}"
    assert last_complete_checkpoint(tmp_path / "stopped") == newest
    assert f"Stopped by SIGTERM. The same command continues from {newest}.\n" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    resumed = tiny.train(trainer_of(tmp_path / "stopped", changes), resume_from_checkpoint=True)
    assert resumed.state.global_step == whole.state.global_step == 18
    tiny.assert_equal(tiny.weights(resumed.model), tiny.weights(whole.model))
    evaluations = [[e["step"] for e in t.state.log_history if "eval_loss" in e] for t in (whole, resumed)]
    assert evaluations[0] == evaluations[1]


@pytest.mark.parametrize(
    ("event", "saved"), [("on_substep_end", 1), pytest.param("on_prediction_step", 4, marks=pytest.mark.slow)]
)
def test_workers_that_receive_sigterm_too_serve_the_step_to_its_end(tmp_path, event, saved):
    sends = TrainerCallback()
    setattr(sends, event, lambda *_, **__: kill_all(signal.SIGTERM))
    # A step, and an evaluation, takes more batches than the workers have prepared.
    changes = {"method": "mtl", "dataloader_num_workers": 1, "eval_strategy": "steps", "eval_steps": 4,
               "per_device_eval_batch_size": 1}  # fmt: skip
    whole = tiny.train(trainer_of(tmp_path / "whole", changes))
    with pytest.raises(SystemExit) as exit_:
        tiny.train(trainer_of(tmp_path / "stopped", changes, sends))
    assert exit_.value.code == 143
    assert last_complete_checkpoint(tmp_path / "stopped") == tmp_path / "stopped" / f"checkpoint-{saved}"
    resumed = tiny.train(trainer_of(tmp_path / "stopped", changes), resume_from_checkpoint=True)
    tiny.assert_equal(tiny.weights(resumed.model), tiny.weights(whole.model))


def stopped_together(folder: Path, changes: dict[str, Any]) -> int:
    """One of several processes; only the second is sent the signal."""
    rank = int(os.environ["RANK"])
    trainer = trainer_of(folder, changes, *([Sends(signal.SIGTERM, 6)] if rank == 1 else []))
    try:
        tiny.train(trainer)
    except SystemExit as exit_:
        return exit_.code
    return 0


def trained_together(folder: Path, changes: dict[str, Any], resume: bool) -> dict[str, Any]:
    return tiny.weights(tiny.train(trainer_of(folder, changes), resume_from_checkpoint=resume).model)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "saved"),
    [
        ({"inner_steps": 4}, 6),
        ({"inner_steps": 4, "parallel_trajectories": True}, 8),
        ({"method": "pcgrad", "tasks_per_step": 2}, 6),
        # With two processes an outer update has two rounds of 3 steps.
        ({"method": "reptile", "inner_steps": 3}, 6),
    ],
    ids=str,
)
def test_two_processes_stop_at_the_same_step_though_one_is_told(tmp_path, changes, saved):
    whole = together(2, trained_together, tmp_path / "whole", changes, False)
    assert together(2, stopped_together, tmp_path / "stopped", changes) == [143, 143]
    assert last_complete_checkpoint(tmp_path / "stopped").name == f"checkpoint-{saved}"
    resumed = together(2, trained_together, tmp_path / "stopped", changes, True)
    for one, other in zip(resumed, whole, strict=True):
        tiny.assert_equal(one, other)


def test_a_handler_of_the_program_is_left_alone(tmp_path):
    received = []
    signal.signal(signal.SIGTERM, lambda *_: received.append(1))
    trainer = tiny.train(trainer_of(tmp_path, {"save_strategy": "no"}, Sends(signal.SIGTERM, 3)))
    assert received == [1] and trainer.state.global_step == 18


def test_sigterm_is_left_alone_where_no_checkpoint_can_be_continued(tmp_path):
    class Handlers(TrainerCallback):
        seen: ClassVar[list[Any]] = []

        def on_step_end(self, args, state, control, **kwargs):
            self.seen.append(signal.getsignal(signal.SIGTERM))

    tiny.train(trainer_of(tmp_path, {"save_only_model": True, "max_steps": 4}, Handlers()))
    assert Handlers.seen == [signal.SIG_DFL] * 4


def test_the_stock_way_of_saving_on_sigterm_is_refused(tmp_path):
    """It saves before the optimizer's step, with the random states of after the forward pass."""
    with pytest.raises(InputError, match="SIGTERM saves a checkpoint without it"):
        trainer_of(tmp_path, {"enable_jit_checkpoint": True})
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"save_steps": 4}, "The same command continues from {folder}/checkpoint-4."),
        ({}, "The same command starts anew: there is no checkpoint yet."),
    ],
)
def test_ctrl_c_says_where_the_same_command_continues(tmp_path, capsys, changes, told):
    whole = tiny.train(trainer_of(tmp_path / "whole", changes))
    trainer = trainer_of(tmp_path / "stopped", changes, Sends(signal.SIGINT, 6))
    with pytest.raises(SystemExit) as exit_, bad_input_exits():
        train_as_scripts_do(trainer, tiny.problem())
    assert exit_.value.code == 130
    error = capsys.readouterr().err
    assert "Interrupted. " + told.format(folder=tmp_path / "stopped") in error and "Traceback" not in error
    # In a process of its own the seed is set before.
    tiny.set_seed(42)
    again = trainer_of(tmp_path / "stopped", changes)
    train_as_scripts_do(again, tiny.problem())
    tiny.assert_equal(tiny.weights(again.model), tiny.weights(whole.model))
