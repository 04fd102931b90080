"""A run that was stopped anywhere ends where it would have ended (law 4, one process)."""

import json
import logging
import shutil
import sys
from pathlib import Path

import pytest
from datasets import Dataset
from transformers import TrainerState

from hf_seqreptile import InputError
from hf_seqreptile.training.checkpoints import last_complete_checkpoint
from tests import tiny
from tests.power_cut import Disk

SAVING = {"save_strategy": "steps", "save_steps": 1, "max_steps": 11, "per_device_train_batch_size": 8}
"""Saves after each of 11 steps; an epoch has 14, 7 or 2 of them."""


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "seq_reptile", "inner_steps": 4},
        {"method": "seq_reptile", "inner_steps": 3, "inner_optimizer_state": "reset", "slow_weights_device": "cpu"},
        {"inner_steps": 4, "gradient_accumulation_steps": 2, "per_device_train_batch_size": 4},
        {"method": "mtl", "tasks_per_step": 3},
        {"method": "mtl", "tasks_per_step": 8},
    ],
    ids=str,
)
def test_a_resumed_run_ends_bit_for_bit_where_the_uninterrupted_one_ends(tmp_path, settings):
    """In the middle of a trajectory and of an epoch, and at the ends of both."""
    whole = tiny.train(tiny.trainer(tmp_path / "whole", **SAVING | settings))
    for stopped_at in (2, 4, 7, 11):
        name = f"checkpoint-{stopped_at}"
        shutil.copytree(tmp_path / "whole" / name, tmp_path / f"resumed-{stopped_at}" / name)
        changes = SAVING | settings | {"save_strategy": "no"}
        trainer = tiny.trainer(tmp_path / f"resumed-{stopped_at}", **changes)
        resumed = tiny.train(trainer, resume_from_checkpoint=True)
        assert resumed.state.global_step == whole.state.global_step == 11, stopped_at
        tiny.assert_equal(tiny.weights(resumed.model), tiny.weights(whole.model))


@pytest.mark.parametrize(("tasks_per_step", "goes_on"), [(1, True), (7, True), (3, False)])
def test_a_checkpoint_of_version_0_1_0_is_continued_where_its_epochs_are_the_same(tmp_path, tasks_per_step, goes_on):
    """It does not tell how often each task was drawn; an epoch of 14 draws ended in a step of 2 for M = 3."""
    changes = SAVING | {"method": "mtl", "tasks_per_step": tasks_per_step}
    whole = tiny.train(tiny.trainer(tmp_path, **changes))
    checkpoint = tmp_path / "checkpoint-9"
    state = checkpoint / "multitask_state.json"
    content = json.loads(state.read_text(encoding="utf-8"))
    assert content.pop("epoch")
    state.write_text(json.dumps(content), encoding="utf-8")
    resumed = tiny.trainer(tmp_path / "resumed", **changes)
    if not goes_on:
        with pytest.raises(InputError, match=r"The checkpoint is of version 0\.1\.0, where an epoch's last step took"):
            resumed.train(resume_from_checkpoint=str(checkpoint))
        return
    tiny.train(resumed, resume_from_checkpoint=str(checkpoint))
    tiny.assert_equal(tiny.weights(resumed.model), tiny.weights(whole.model))
    assert resumed.draw_counts == whole.draw_counts


def test_an_evaluation_that_a_resume_does_not_repeat_leaves_no_trace(tmp_path):
    """The stock loop skips the evaluation at the end of an epoch when it continues from the epoch's last step."""
    changes = SAVING | {"method": "mtl", "tasks_per_step": 1, "eval_strategy": "epoch", "max_steps": 20}
    evaluation = {"eval_dataset": {"de": tiny.task(4, 5)}}
    whole = tiny.train(tiny.trainer(tmp_path / "whole", init=evaluation, **changes))
    shutil.copytree(tmp_path / "whole" / "checkpoint-14", tmp_path / "resumed" / "checkpoint-14")
    resumed = tiny.train(tiny.trainer(tmp_path / "resumed", init=evaluation, **changes), resume_from_checkpoint=True)
    tiny.assert_equal(tiny.weights(resumed.model), tiny.weights(whole.model))


def test_early_stopping_is_the_same_after_a_resume(tmp_path):
    """What was last evaluated is in the checkpoint: else a resumed run would count a repeat against its patience."""
    changes = SAVING | {"inner_steps": 4, "eval_strategy": "steps", "eval_steps": 2}
    evaluation = {"eval_dataset": {"de": tiny.task(4, 5)}}
    whole = tiny.train(tiny.trainer(tmp_path / "whole", init=evaluation, **changes))
    shutil.copytree(tmp_path / "whole" / "checkpoint-5", tmp_path / "resumed" / "checkpoint-5")
    resumed = tiny.train(tiny.trainer(tmp_path / "resumed", init=evaluation, **changes), resume_from_checkpoint=True)
    steps = [[e["step"] for e in t.state.log_history if "eval_loss" in e] for t in (whole, resumed)]
    assert steps[0] == steps[1] == [2, 4, 8, 11]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A checkpoint in the middle of a trajectory."""
    folder = tmp_path_factory.mktemp("saved")
    tiny.train(tiny.trainer(folder, **SAVING | {"inner_steps": 4}))
    return str(folder / "checkpoint-2")


@pytest.mark.parametrize(
    ("changes", "train", "named"),
    [
        ({"method": "mtl", "tasks_per_step": 1}, None, "method: 'seq_reptile' in the checkpoint, 'mtl' now"),
        ({"inner_steps": 5}, None, "inner_steps: 4 in the checkpoint, 5 now"),
        ({"outer_learning_rate": 0.1}, None, "outer_learning_rate: 0.5 in the checkpoint, 0.1 now"),
        ({"seed": 1}, None, "seed: 42 in the checkpoint, 1 now"),
        ({"learning_rate": 1e-3}, None, "learning_rate: 0.01 in the checkpoint, 0.001 now"),
        ({"lr_scheduler_type": "constant"}, None, "lr_scheduler_type: 'linear' in the checkpoint, 'constant' now"),
        ({"max_steps": 12}, None, "max_steps: 11 in the checkpoint, 12 now"),
        (
            {"max_steps": -1, "num_train_epochs": 1},
            None,
            "max_steps: 11 in the checkpoint, not set now\n  num_train_epochs: not set in the checkpoint, 1 now",
        ),
        ({"train_sampling_strategy": "random"}, None, "train_sampling_strategy: 'group_by_length' in the checkpoint"),
        ({"per_device_train_batch_size": 2}, None, "examples_per_draw: 8 in the checkpoint, 2 now"),
        ({}, {"de": tiny.task(60, 1), "yo": tiny.task(9, 3)}, "'yo': 9"),
        ({}, tiny.tasks() | {"sw": tiny.task(9, 4)}, "examples: other rows than the checkpoint's, of task 'sw'\nGive"),
        ({}, {task: tiny.tasks()[task] for task in ("sw", "de", "en")}, "tasks: {'de': 60, 'en': 37, 'sw': 9} in"),
    ],
)
def test_another_runs_checkpoint_is_refused_with_the_difference(tmp_path, saved, changes, train, named):
    with pytest.raises(InputError, match="belongs to another run") as refusal:
        tiny.trainer(tmp_path, train, **SAVING | changes).train(resume_from_checkpoint=saved)
    assert named in str(refusal.value)


def test_a_change_that_is_allowed_is_said_and_takes_effect(tmp_path, saved, caplog):
    """Each of those that the argument can name; the rest of the run is as long as it was made, in other steps."""
    changes = {"inner_steps": 2, "outer_learning_rate": 0.1, "max_steps": 13, "per_device_train_batch_size": 4}
    names = ["inner_steps", "outer_learning_rate", "max_steps", "examples_per_draw"]
    data = tiny.tasks() | {"sw": tiny.task(9, 4)}
    with pytest.raises(InputError, match="add --allow_changes examples examples_per_draw inner_steps max_steps"):
        tiny.trainer(tmp_path, data, **SAVING | changes).train(resume_from_checkpoint=saved)
    with pytest.raises(
        InputError, match="another run:\n  examples: other rows than the checkpoint's, of task 'sw'\nGive"
    ):
        tiny.trainer(tmp_path, data, allow_changes=names, **SAVING | changes).train(resume_from_checkpoint=saved)
    changed = tiny.trainer(tmp_path, data, allow_changes=["examples", *names], **SAVING | changes)
    with caplog.at_level(logging.WARNING):
        tiny.train(changed, resume_from_checkpoint=saved)
    assert "with a change: inner_steps: 4 in the checkpoint, 2 now." in caplog.text
    # The trajectory of which two steps were made is at its end after the next; then every second step.
    assert (changed.state.global_step, changed.outer_updates) == (13, 6)


def test_a_change_without_effect_cannot_be_allowed(tmp_path, saved):
    """The learning rate is the checkpoint's optimizer's."""
    changes = SAVING | {"learning_rate": 1e-3, "allow_changes": ["learning_rate"]}
    with pytest.raises(InputError, match=r"learning_rate: 0\.01 in the checkpoint") as refusal:
        tiny.trainer(tmp_path, **changes).train(resume_from_checkpoint=saved)
    assert "--allow_changes" not in str(refusal.value)


def test_rows_are_compared_however_they_are_stored(tmp_path, saved):
    """A cache that was made anew, files that were written anew: the same rows are the same data."""
    again = {}
    for name, task in tiny.tasks().items():
        task.to_parquet(tmp_path / f"{name}.parquet")
        again[name] = Dataset.from_parquet(str(tmp_path / f"{name}.parquet"), cache_dir=str(tmp_path / "cache"))
    resumed = tiny.train(tiny.trainer(tmp_path, again, **SAVING), resume_from_checkpoint=saved)
    assert resumed.state.global_step == 11


def test_a_checkpoint_that_does_not_tell_its_rows_is_refused(tmp_path, saved):
    folder = tmp_path / "checkpoint-2"
    shutil.copytree(saved, folder)
    path = folder / "multitask_state.json"
    state = json.loads(path.read_text())
    del state["run"]["examples"]
    path.write_text(json.dumps(state))
    with pytest.raises(InputError, match="other rows than the checkpoint's, of task 'de', 'en', 'sw'"):
        tiny.trainer(tmp_path, **SAVING | {"inner_steps": 4}).train(resume_from_checkpoint=str(folder))


def test_saved_arguments_hold_no_path(tmp_path):
    args = tiny.arguments(tmp_path / "out", method="mtl", project=str(tmp_path), hub_token="hf_secret")
    assert args.changed_arguments()["method"] == "mtl"
    assert str(tmp_path) not in str(args.changed_arguments()) and "secret" not in str(args.changed_arguments())


def test_a_stock_checkpoint_is_refused(tmp_path):
    tiny.trainer(tmp_path, **SAVING | {"max_steps": 4}).train()
    (tmp_path / "checkpoint-4" / "multitask_state.json").unlink()
    with pytest.raises(InputError, match="was not written by this package"):
        tiny.trainer(tmp_path, **SAVING).train(resume_from_checkpoint=True)


def test_an_incomplete_checkpoint_is_skipped_with_a_message(tmp_path, caplog):
    tiny.trainer(tmp_path, **SAVING | {"max_steps": 4}).train()
    state = tmp_path / "checkpoint-4" / "trainer_state.json"
    state.write_text(state.read_text()[:-10])
    (tmp_path / "checkpoint-3" / "trainer_state.json").unlink()
    with caplog.at_level(logging.WARNING):
        assert last_complete_checkpoint(tmp_path) == tmp_path / "checkpoint-2"
    assert "checkpoint-4 is incomplete" in caplog.text and "checkpoint-3 is incomplete" in caplog.text


def test_a_checkpoint_that_is_written_again_is_incomplete_until_it_is_whole(tmp_path, monkeypatch):
    """An old `trainer_state.json` must not vouch for a half-written new checkpoint."""
    trainer = tiny.trainer(tmp_path, **SAVING | {"max_steps": 4})
    trainer.train()
    monkeypatch.setattr(trainer, "_save_scaler", lambda folder: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(InputError, match=r"checkpoint-4: No space left.*Earlier checkpoints are untouched"):
        trainer._save_checkpoint(trainer.model, None)
    assert last_complete_checkpoint(tmp_path) == tmp_path / "checkpoint-3"


def test_nothing_to_resume_is_said(tmp_path):
    with pytest.raises(InputError, match="no complete checkpoint"):
        tiny.trainer(tmp_path).train(resume_from_checkpoint=True)


def test_between_trajectories_a_checkpoint_holds_no_second_copy(tmp_path):
    tiny.trainer(tmp_path, **SAVING | {"inner_steps": 4, "max_steps": 8}).train()
    has_theta = {n: (tmp_path / f"checkpoint-{n}" / "trajectory.safetensors").exists() for n in range(1, 9)}
    assert has_theta == {n: n % 4 != 0 for n in range(1, 9)}


def test_the_state_is_plain_json(tmp_path):
    """Law 9."""
    tiny.trainer(tmp_path, **SAVING | {"max_steps": 4}).train()
    state = json.loads((tmp_path / "checkpoint-3" / "multitask_state.json").read_text())
    assert state["trajectory"] == {"inner_step": 3, "outer_updates": 0, "evaluated_at": None}
    assert state["run"]["tasks"] == {"de": 60, "en": 37, "sw": 9}


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc to tell which file is synced")
@pytest.mark.parametrize(
    "changes",
    [
        {"inner_steps": 4},
        {"method": "swep", "tasks_per_step": 1},
        {"method": "mtl", "tasks_per_step": 1, "save_only_model": True},
    ],
    ids=["seq_reptile", "swep", "save_only_model"],
)
def test_a_power_cut_at_any_time_leaves_the_newest_complete_checkpoint(tmp_path, monkeypatch, changes):
    """All else is on the disk before a checkpoint is marked, and all of it before an earlier one is deleted."""
    disk, lost = Disk(monkeypatch), []
    mark, delete = TrainerState.save_to_json, shutil.rmtree

    def checked_mark(state, path):
        lost.append(disk.missing(Path(path).parent))
        mark(state, path)

    def checked_delete(folder, *args, **kwargs):
        lost.append(disk.missing(Path(folder).parent / f"checkpoint-{trainer.state.global_step}"))
        delete(folder, *args, **kwargs)

    monkeypatch.setattr(TrainerState, "save_to_json", checked_mark)
    monkeypatch.setattr(shutil, "rmtree", checked_delete)
    trainer = tiny.trainer(tmp_path, **SAVING | {"max_steps": 4, "save_total_limit": 1} | changes)
    trainer.train()
    assert lost == [[]] * 7


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc to tell which file is synced")
def test_a_power_cut_while_a_checkpoint_is_written_again_leaves_it_incomplete(tmp_path, monkeypatch):
    trainer = tiny.trainer(tmp_path, **SAVING | {"max_steps": 1, "inner_steps": 1})
    trainer.train()
    folder = tmp_path / "checkpoint-1"
    disk = Disk(monkeypatch)
    monkeypatch.setattr(trainer, "save_model", lambda *args, **kwargs: sys.exit("power cut"))
    with pytest.raises(SystemExit):
        trainer._save_checkpoint(trainer.model, None)
    assert "trainer_state.json" not in disk.names[folder]


def test_a_checkpoint_of_a_model_with_other_labels_is_refused(tmp_path):
    """As of a run in which labels had other names: the examples are the same numbers."""
    tiny.train(tiny.trainer(tmp_path, **SAVING))
    other = tiny.model()
    other.config.id2label = {i: label.replace("PER", "person") for i, label in enumerate(tiny.LABELS)}
    with pytest.raises(InputError, match=r"labels: \['O', 'B-PER', .* in the checkpoint, \['O', 'B-person', "):
        tiny.trainer(tmp_path, of_model=other, **SAVING).train(resume_from_checkpoint=True)
