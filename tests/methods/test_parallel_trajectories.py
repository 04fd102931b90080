"""`--parallel_trajectories`: against W trajectories written out, and its place in the stock loop."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import DataCollatorForTokenClassification, EarlyStoppingCallback

from hf_seqreptile import InputError
from hf_seqreptile.methods import method_class, seq_reptile
from hf_seqreptile.training import checkpoints
from hf_seqreptile.training.sampling import TaskBatchSampler, task_probabilities
from tests import inner_steps, tiny
from tests.processes import together, trained

ADAMW = {"optim": "adamw_torch", "learning_rate": 1e-2, "weight_decay": 0.01, "adam_epsilon": 1e-5}
PARALLEL = {"parallel_trajectories": True, "lr_scheduler_type": "constant", "logging_steps": 1000}
"""K is 4."""


def algorithm(processes: int, steps: int, trajectory: int, eta: float, reset: bool) -> dict[str, torch.Tensor]:
    """φ ← φ − η mean_w(φ − θ_w); process w takes every W-th draw, and has an AdamW of its own."""
    data = tiny.tasks()
    sizes = {name: len(dataset) for name, dataset in data.items()}
    lengths = {name: [len(ids) for ids in dataset["input_ids"]] for name, dataset in data.items()}
    draws = list(TaskBatchSampler(sizes, task_probabilities(sizes, 0.2), batch_size=4, seed=42, lengths=lengths))
    assert len(draws) >= steps * processes, "one epoch must be enough"
    collate = DataCollatorForTokenClassification(tiny.tokenizer())
    batches = [collate([data[name][row] for name, row, _ in draw]) for draw in draws]

    models = [tiny.model(dropout=0.0) for _ in range(processes)]
    optimizers = [inner_steps.adamw(model) for model in models]
    phi = tiny.weights(models[0])
    for start in range(0, steps, trajectory):
        own = range(start, min(start + trajectory, steps))
        ends = [
            inner_steps.trajectory(phi, [batches[step * processes + w] for step in own], optimizers[w], models[w])
            for w in range(processes)
        ]
        phi = inner_steps.outer_update(phi, ends, eta)
        for optimizer in optimizers:
            if reset:
                optimizer.state.clear()
    return phi


def assert_it_ends_where_w_do(processes: int, steps: int, trajectory: int, eta: float, state: str) -> None:
    """Only outer updates communicate: the number of trajectories, and one sum for each parameter."""
    changes = PARALLEL | ADAMW | {
        "max_steps": steps, "inner_steps": trajectory, "outer_learning_rate": eta, "inner_optimizer_state": state,
    }  # fmt: skip
    results = together(processes, trained, changes)
    expected = algorithm(processes, steps, trajectory, eta, reset=state == "reset")
    for result in results:
        assert tiny.largest_difference(result["weights"], expected) < 1e-5
        tiny.assert_equal(result["weights"], results[0]["weights"])
        assert result["steps"] == steps
        assert result["outer_updates"] == -(-steps // trajectory)
        assert sum(result["draws"].values()) == steps * processes
        assert result["averaged_gradients"] == 0
        assert result["sums"] == result["outer_updates"] * len(result["weights"])


def test_two_processes_end_where_two_trajectories_end():
    """With a last trajectory of 2 steps."""
    assert_it_ends_where_w_do(processes=2, steps=10, trajectory=4, eta=0.5, state="keep")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("processes", "steps", "trajectory", "eta", "state"),
    [(2, 12, 3, 1.0, "reset"), (2, 12, 12, 0.3, "keep"), (3, 8, 4, 0.5, "keep"), (3, 8, 3, 0.7, "reset")],
)
def test_several_processes_end_where_as_many_trajectories_end(processes, steps, trajectory, eta, state):
    assert_it_ends_where_w_do(processes, steps, trajectory, eta, state)


def test_on_one_process_it_is_sequential_reptile_and_says_so(tmp_path, capsys):
    changes = {"max_steps": 10, "save_strategy": "steps", "save_steps": 6}
    ends = [
        tiny.weights(tiny.train(tiny.trainer(tmp_path / str(flag), parallel_trajectories=flag, **changes)).model)
        for flag in (True, False)
    ]
    tiny.assert_equal(*ends)
    assert capsys.readouterr().out.count("parallel_trajectories has no effect on one process") == 1
    checkpoint = tmp_path / "True" / "checkpoint-6"
    assert (checkpoint / "trajectory.safetensors").exists(), "in the middle of a trajectory"
    assert not list(checkpoint.glob("optimizer_*"))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["seq_reptile", "reptile"])
def test_with_lora_only_the_adapters_are_communicated(method):
    model = get_peft_model(tiny.model(), LoraConfig(task_type="TOKEN_CLS", r=2, target_modules=["query", "value"]))
    start = tiny.weights(model)
    trained_ones = {name for name, p in model.named_parameters() if p.requires_grad}
    changes = PARALLEL | {"method": method, "max_steps": 8}
    if method == "reptile":
        del changes["parallel_trajectories"]
    results = together(2, trained, changes, None, None, False, 0.1, None, model)
    for result in results:
        tiny.assert_equal(result["weights"], results[0]["weights"])
        assert {n for n, value in result["weights"].items() if not torch.equal(value, start[n])} == trained_ones
        assert result["sums"] == result["outer_updates"] * len(trained_ones)


# Checkpoints.

SAVING = PARALLEL | {"save_strategy": "steps", "save_steps": 1, "max_steps": 18, "lr_scheduler_type": "linear"}
"""An epoch has 14 steps on two processes. There is a checkpoint after each outer update: 4, 8, 12, 16, and the end."""


def resumed(folder: Path, stopped_at: int, changes: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Where two processes end that continue from a checkpoint of the run in `folder`, with dropout."""
    again = folder.parent / f"{folder.name}-resumed-{stopped_at}"
    shutil.copytree(folder / f"checkpoint-{stopped_at}", again / f"checkpoint-{stopped_at}")
    (result, _) = together(2, trained, changes, None, again, True, 0.1)
    return result["weights"]


def test_a_resumed_run_ends_bit_for_bit_where_the_uninterrupted_one_ends(tmp_path):
    """Each process goes on with its own AdamW state, which is in the checkpoint."""
    changes = {**SAVING, "max_steps": 10}
    (whole, other) = together(2, trained, changes, None, tmp_path / "keep", False, 0.1)
    tiny.assert_equal(whole["weights"], other["weights"])
    for step in (4, 8, 10):
        checkpoint = tmp_path / "keep" / f"checkpoint-{step}"
        assert (checkpoint / "optimizer_1.safetensors").exists()
        assert not (checkpoint / "trajectory.safetensors").exists()
    tiny.assert_equal(load_file(checkpoint / "model.safetensors"), whole["weights"])
    own = load_file(checkpoint / "optimizer_1.safetensors")
    main = torch.load(checkpoint / "optimizer.pt", weights_only=True)["state"][0]["exp_avg"]
    assert not torch.equal(own["0.exp_avg"], main)
    tiny.assert_equal(resumed(tmp_path / "keep", 4, changes), whole["weights"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"inner_optimizer_state": "keep"},
        {"inner_optimizer_state": "reset", "slow_weights_device": "cpu"},
        {"optim": "sgd", "learning_rate": 0.1, "optim_args": "momentum=0.9", "dataloader_num_workers": 1},
        {"method": "reptile"},
        {"tasks_per_step": 2, "gradient_accumulation_steps": 2, "bf16": True},
    ],
    ids=str,
)
def test_every_resumed_run_ends_where_it_would_have_ended(tmp_path, changes):
    """In the middle of the first and of the second epoch, and with a last trajectory of 2 steps."""
    changes = SAVING | changes
    if "method" in changes:
        del changes["parallel_trajectories"]
    (whole, _) = together(2, trained, changes, None, tmp_path / "whole", False, 0.1)
    steps = sorted(int(path.name[11:]) for path in (tmp_path / "whole").glob("checkpoint-*"))
    assert steps == ([8, 16, 18] if "method" in changes else [4, 8, 12, 16, 18])
    for stopped_at in (8, 16, 18):
        tiny.assert_equal(resumed(tmp_path / "whole", stopped_at, changes), whole["weights"])


def dies_while_saving(changes: dict[str, Any], folder: Path) -> None:
    """Of several processes all but the main one end before they have written their part of the second checkpoint."""
    save = seq_reptile.save_optimizer_state

    def save_the_first(optimizer: Any, checkpoint: Path, process: int) -> None:
        if checkpoint.name == "checkpoint-8":
            os._exit(1)
        save(optimizer, checkpoint, process)

    seq_reptile.save_optimizer_state = save_the_first
    trained(changes, None, folder)


@pytest.mark.slow
def test_a_checkpoint_that_not_all_processes_have_written_is_incomplete(tmp_path):
    with pytest.raises(RuntimeError, match="process 1: died"):
        together(2, dies_while_saving, SAVING, tmp_path)
    assert (tmp_path / "checkpoint-8" / "optimizer.pt").exists()
    assert checkpoints.last_complete_checkpoint(tmp_path) == tmp_path / "checkpoint-4"


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes", [PARALLEL | {"max_steps": 4}, {"method": "reptile", "max_steps": 8}], ids=lambda c: c.get("method")
)
def test_another_number_of_processes_is_refused(tmp_path, changes):
    """Also where the examples of all processes together are as many."""
    changes = changes | {"save_strategy": "steps"}
    together(2, trained, changes, None, tmp_path / "two")
    with pytest.raises(InputError, match="processes: 2 in the checkpoint, 1 now") as refusal:
        tiny.trainer(tmp_path / "two", **changes).train(resume_from_checkpoint=True)
    assert "examples_per_draw" not in str(refusal.value)
    with pytest.raises(InputError, match="processes: 2 in the checkpoint, 1 now"):
        tiny.trainer(tmp_path / "two", **changes, per_device_train_batch_size=8).train(resume_from_checkpoint=True)

    tiny.train(tiny.trainer(tmp_path / "one", **changes | {"max_steps": 12}))
    with pytest.raises(RuntimeError, match="processes: 1 in the checkpoint, 2 now"):
        together(2, trained, changes, None, tmp_path / "one", True)


# φ in the stock loop.


def zero(prediction: Any) -> dict[str, float]:
    return {"score": 0.0}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["seq_reptile", "reptile"])
def test_evaluation_saving_and_early_stopping_follow_outer_updates(tmp_path, method):
    """Due every 3 steps, done at the outer update after: at 4, 8 and 12, where patience ends; for Reptile every 8."""
    changes = PARALLEL | {
        "method": method, "max_steps": 100, "eval_strategy": "steps", "eval_steps": 3, "save_strategy": "steps",
        "save_steps": 3, "metric_for_best_model": "score", "greater_is_better": True, "load_best_model_at_end": True,
    }  # fmt: skip
    if method == "reptile":
        del changes["parallel_trajectories"]
    init = {
        "eval_dataset": {"de": tiny.task(4, 5)}, "compute_metrics": zero,
        "callbacks": [EarlyStoppingCallback(early_stopping_patience=2)],
    }  # fmt: skip
    results = together(2, trained, changes, None, tmp_path, False, 0.0, init)
    every = 8 if method == "reptile" else 4
    for result in results:
        assert result["steps"] == 3 * every
        assert [e["step"] for e in result["log"] if "eval_loss" in e] == [every, 2 * every, 3 * every]
        tiny.assert_equal(result["weights"], load_file(tmp_path / f"checkpoint-{every}" / "model.safetensors"))
    assert {p.name for p in tmp_path.glob("checkpoint-*")} == {f"checkpoint-{n * every}" for n in (1, 2, 3)}


# What is refused, and what is said.


def plan(folder: Path, changes: dict[str, Any]) -> str:
    """One of several processes: the plan that is printed, or why the run is refused."""
    try:
        args = tiny.arguments(folder, **{name: value for name, value in changes.items() if name != "fp16"})
        # Which the arguments themselves refuse on the CPU.
        args.fp16 = changes.get("fp16", False)
        return str(method_class(args.method)(tiny.model(), args, train_dataset=tiny.tasks()).plan(24))
    except InputError as refusal:
        return str(refusal)


def refusals_and_plans(folder: Path, several: list[dict[str, Any]]) -> list[str]:
    return [plan(folder, changes) for changes in several]


def test_what_two_processes_are_told(tmp_path):
    parallel, reptile = {"parallel_trajectories": True}, {"method": "reptile"}
    (told, _) = together(
        2, refusals_and_plans, tmp_path,
        [parallel | {"fp16": True}, reptile | {"fp16": True}, parallel | {"enable_jit_checkpoint": True}, parallel,
         reptile, parallel | {"tasks_per_step": 8}],
    )  # fmt: skip
    assert told[0] == told[1]
    assert told[0].startswith("--fp16 is not supported where each process follows a trajectory of its own")
    assert told[2].startswith("--enable_jit_checkpoint is not supported")
    for part in (
        "48 drawn batches in 24 optimizer steps, 1 a step on each process",
        "outer updates: n = 6 of K = 4",
        "evaluation and saving wait for outer updates, every 4 steps",
    ):
        assert part in told[3]
    for part in (
        # In every second round one process repeats what the other does, and those draws don't count.
        "36 drawn batches in 24 optimizer steps, 1 a step on each process",
        "outer updates: n = 3, each of T = 3 trajectories (2 at a time) of K = 4 inner steps",
        "idle in the last round of an outer update: 1 of 2 processes",
        "evaluation and saving wait for outer updates, every 8 steps",
    ):
        assert part in told[4]
    for part in ("384 drawn batches in 24 optimizer steps, 8 a step on each process",):
        assert part in told[5]


def test_it_is_a_setting_of_sequential_reptile_alone(tmp_path):
    with pytest.raises(InputError, match="--parallel_trajectories is a setting of --method seq_reptile"):
        tiny.trainer(tmp_path, method="mtl", parallel_trajectories=True)
