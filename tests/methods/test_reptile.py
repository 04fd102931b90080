"""Reptile: against Equation 3 written out, on one process and on several, and its place in the stock loop."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import EarlyStoppingCallback, TrainerCallback

from hf_seqreptile import InputError
from hf_seqreptile.training.plan import reptile_notes
from tests import inner_steps, tiny
from tests.processes import together, trained

SGD = {"optim": "sgd", "learning_rate": 0.1}
ADAMW = {"optim": "adamw_torch", "learning_rate": 1e-2, "weight_decay": 0.01, "adam_epsilon": 1e-5}
PLAIN = {"method": "reptile", "lr_scheduler_type": "constant", "logging_steps": 1000}
"""Three tasks and K of 4, so an outer update takes 12 steps on one process."""


def tasks(number: int) -> dict[str, Any]:
    return {name: tiny.task(size, seed) for seed, (name, size) in enumerate(
        [("de", 60), ("en", 37), ("sw", 9), ("yo", 21)][:number]
    )}  # fmt: skip


def evaluated(metrics: Callable[[], float], *callbacks: TrainerCallback) -> dict[str, Any]:
    """What a trainer needs to be evaluated with the score that `metrics` returns."""
    return {
        "eval_dataset": {"de": tiny.task(4, 5)}, "compute_metrics": lambda prediction: {"score": metrics()},
        "callbacks": list(callbacks),
    }  # fmt: skip


class AfterEachOuterUpdate:
    """Beside a trainer, φ after each of its outer updates, by the step of the run."""

    def __init__(self, trainer: Any) -> None:
        self.phi: dict[int, dict[str, torch.Tensor]] = {}
        update = trainer.outer_update

        def outer_update() -> None:
            update()
            self.phi[trainer.state.global_step] = tiny.weights(trainer.model)

        trainer.outer_update = outer_update


# The equation.


def equation_3(
    data: dict[str, Any], steps: int, trajectory: int, eta: float, optimizer: Callable[..., torch.optim.Optimizer]
) -> dict[str, torch.Tensor]:
    """φ ← φ − η (1/T) Σ_t (φ − θ_t), again and again, until `steps` inner steps were made."""
    model = tiny.model(dropout=0.0)
    draws = {name: inner_steps.draws_of(name, dataset) for name, dataset in data.items()}
    phi = tiny.weights(model)
    made = update = 0
    while made < steps:
        ends = []
        for name in data:
            length = min(trajectory, steps - made)
            batches = [draws[name](update * trajectory + k) for k in range(length)]
            if batches:
                ends.append(inner_steps.trajectory(phi, batches, optimizer(model), model))
            made += length
        phi = inner_steps.outer_update(phi, ends, eta)
        update += 1
    return phi


@pytest.mark.parametrize(
    ("number", "trajectory", "eta", "steps", "changes", "optimizer"),
    [
        (3, 4, 0.5, 24, SGD, inner_steps.sgd),
        (2, 5, 1.0, 20, ADAMW, inner_steps.adamw),
        (4, 3, 0.7, 24, ADAMW | {"adam_beta1": 0.0}, partial(inner_steps.adamw, beta1=0.0)),
        (3, 1, 0.3, 9, ADAMW, inner_steps.adamw),
        # In the middle of the second task's trajectory, between two trajectories, in the middle of the first task's.
        (3, 4, 0.5, 18, ADAMW, inner_steps.adamw),
        (4, 3, 1.0, 18, SGD, inner_steps.sgd),
        (3, 4, 0.5, 14, SGD, inner_steps.sgd),
    ],
)
def test_it_ends_where_equation_3_ends(tmp_path, number, trajectory, eta, steps, changes, optimizer):
    """A run that ends within an outer update ends with the mean over the trajectories that have begun."""
    data = tasks(number)
    trainer = tiny.trainer(
        tmp_path, data, dropout=0.0, max_steps=steps, inner_steps=trajectory, outer_learning_rate=eta,
        **PLAIN | changes,
    )  # fmt: skip
    trainer.train()
    expected = equation_3(data, steps, trajectory, eta, optimizer)
    # Adam divides by a gradient's size, so that on some processors rounding comes to a 2,000th of a step of 1e-2.
    assert tiny.largest_difference(tiny.weights(trainer.model), expected) < 2e-5
    assert trainer.outer_updates == -(-steps // (number * trajectory))


def test_on_one_task_it_is_sequential_reptile_with_the_optimizer_reset(tmp_path):
    one_task = {"de": tiny.task(60, 1)}
    ends = []
    for method in ({"method": "reptile"}, {"inner_optimizer_state": "reset"}):
        trainer = tiny.trainer(tmp_path, one_task, **{"lr_scheduler_type": "constant", "max_steps": 14} | method)
        ends.append(tiny.weights(tiny.train(trainer).model))
    tiny.assert_equal(*ends)


def test_a_single_inner_step_of_gradient_descent_is_mtl_with_all_tasks_each_step(tmp_path):
    """K = 1, η = 1: the mean of the tasks' steps from φ is the step on their mean loss."""
    same = SGD | {"lr_scheduler_type": "constant", "max_grad_norm": 0.0}
    reptile = tiny.trainer(
        tmp_path, dropout=0.0, method="reptile", inner_steps=1, outer_learning_rate=1.0, max_steps=18, **same
    )
    mtl = tiny.trainer(tmp_path, dropout=0.0, method="mtl", all_tasks_each_step=True, max_steps=6, **same)
    for trainer in (reptile, mtl):
        trainer.train()
    assert tiny.largest_difference(tiny.weights(reptile.model), tiny.weights(mtl.model)) < 1e-6


def test_the_defaults_are_ours(tmp_path):
    trainer = tiny.trainer(tmp_path, method="reptile", inner_steps=None, outer_learning_rate=None)
    assert trainer.settings(trainer.args) == {"inner_steps": 20, "outer_learning_rate": 1.0}


class LearningRates(TrainerCallback):
    """The learning rate of each optimizer step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_pre_optimizer_step(self, args, state, control, optimizer=None, **kwargs):
        self.seen.append(optimizer.param_groups[0]["lr"])


@pytest.mark.parametrize(("warmup", "expected"), [(0, [0.875, 0.625, 0.375, 0.125]), (12, [0.5, 5 / 6, 0.5, 1 / 6])])
def test_the_learning_rate_is_held_within_an_outer_update(tmp_path, warmup, expected):
    """At the schedule's value in the outer update's middle: with warm-up, its start would be a rate of 0."""
    rates = LearningRates()
    trainer = tiny.trainer(
        tmp_path, method="reptile", max_steps=48, learning_rate=1.0, warmup_steps=warmup,
        init={"callbacks": [rates]},
    )  # fmt: skip
    trainer.train()
    assert rates.seen == pytest.approx([rate for rate in expected for _ in range(12)])
    logged = [entry["learning_rate"] for entry in trainer.state.log_history if "learning_rate" in entry]
    assert logged == pytest.approx([rate for rate in expected for _ in range(4)])


def test_a_short_last_outer_update_has_the_schedule_of_its_own_steps(tmp_path):
    rates = LearningRates()
    tiny.trainer(tmp_path, method="reptile", max_steps=14, learning_rate=1.0, init={"callbacks": [rates]}).train()
    assert rates.seen == pytest.approx([1 - 6 / 14] * 12 + [1 - 13 / 14] * 2)


def test_a_scheduler_that_was_given_is_used_as_it_is(tmp_path):
    rates, model = LearningRates(), tiny.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.9**step)
    tiny.trainer(
        tmp_path, of_model=model, method="reptile", init={"callbacks": [rates], "optimizers": (optimizer, schedule)}
    ).train()
    assert rates.seen == pytest.approx([0.9**step for step in range(12)])


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"gradient_accumulation_steps": 4, "per_device_train_batch_size": 1}, marks=pytest.mark.slow),
        {"slow_weights_device": "cpu"},
        {"dataloader_num_workers": 1, "dataloader_persistent_workers": True},
    ],
    ids=str,
)
def test_settings_that_change_nothing(tmp_path, changes):
    """In the second epoch too."""
    ends = []
    for others in ({}, changes):
        trainer = tiny.trainer(tmp_path, dropout=0.0, **PLAIN | ADAMW | {"max_steps": 36} | others)
        ends.append(tiny.weights(tiny.train(trainer).model))
    assert tiny.largest_difference(*ends) < 2e-6


def test_a_model_in_bf16_moves_by_small_outer_updates(tmp_path):
    """The sum of the trajectories' ends is in float32 too: a sum of bfloat16 numbers would lose the differences."""
    exact, rounded = (
        tiny.train(tiny.trainer(tmp_path, of_model=model, **PLAIN | {"max_steps": 48, "outer_learning_rate": 0.1}))
        for model in (tiny.model(dropout=0.0), tiny.model(dropout=0.0).to(torch.bfloat16))
    )
    start = tiny.weights(tiny.model())
    moved = [
        torch.cat([(p.float() - start[n]).flatten() for n, p in trainer.model.named_parameters()])
        for trainer in (exact, rounded)
    ]
    assert torch.cosine_similarity(*moved, dim=0) > 0.9


def test_with_lora_only_the_adapters_are_kept(tmp_path):
    model = get_peft_model(tiny.model(), LoraConfig(task_type="TOKEN_CLS", r=2, target_modules=["query", "value"]))
    trainer = tiny.trainer(tmp_path, of_model=model, **PLAIN | {"save_strategy": "steps", "save_steps": 12})
    start = tiny.weights(model)
    tiny.train(trainer)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    moved = {name for name, value in tiny.weights(model).items() if not torch.equal(value, start[name])}
    assert moved == trained and not any("base_layer" in name for name in trained)
    assert trainer.slow_weights.memory == 4 * sum(p.numel() for p in model.parameters() if p.requires_grad)


# φ in the stock loop.


def test_evaluation_and_saving_wait_for_outer_updates(tmp_path):
    """Due every 5 steps, with an outer update every 12: at 12 for 5 and 10, at 24 for 15 and 20, at 30 for the end."""
    seen = {}

    class Watching(type(tiny.trainer(tmp_path, method="reptile"))):
        def evaluation_loop(self, *args, **kwargs):
            seen[self.state.global_step] = tiny.weights(self.model)
            return super().evaluation_loop(*args, **kwargs)

    trainer = tiny.trainer(
        tmp_path, trainer_class=Watching, max_steps=30, save_strategy="steps", save_steps=5, eval_strategy="steps",
        eval_steps=5, init={"eval_dataset": {"de": tiny.task(4, 5)}}, **PLAIN,
    )  # fmt: skip
    after = AfterEachOuterUpdate(trainer)
    trainer.train()
    assert list(after.phi) == list(seen) == [12, 24, 30]
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == [f"checkpoint-{n}" for n in after.phi]
    for step, phi in after.phi.items():
        tiny.assert_equal(seen[step], phi)
        tiny.assert_equal(load_file(tmp_path / f"checkpoint-{step}" / "model.safetensors"), phi)
        assert not (tmp_path / f"checkpoint-{step}" / "trajectory.safetensors").exists()
    tiny.assert_equal(tiny.weights(trainer.model), phi)


@pytest.mark.parametrize(
    ("changes", "stops"),
    [
        ({}, [12, 36, 60]),
        pytest.param({"slow_weights_device": "cpu", "gradient_accumulation_steps": 2}, [36], marks=pytest.mark.slow),
        pytest.param({"dataloader_num_workers": 1}, [36], marks=pytest.mark.slow),
    ],
    ids=str,
)  # fmt: skip
def test_a_resumed_run_ends_bit_for_bit_where_the_uninterrupted_one_ends(tmp_path, changes, stops):
    """With dropout, in the middle of an epoch of 27 steps; a schedule; what waits is the same after it."""
    changes = {
        "method": "reptile", "max_steps": 65, "save_strategy": "steps", "save_steps": 1, "eval_strategy": "steps",
        "eval_steps": 20,
    } | changes  # fmt: skip
    init = {"eval_dataset": {"de": tiny.task(4, 5)}}
    whole = tiny.train(tiny.trainer(tmp_path / "whole", init=init, **changes))
    assert sorted(int(p.name[11:]) for p in (tmp_path / "whole").glob("checkpoint-*")) == [12, 24, 36, 48, 60, 65]
    for stop in stops:
        shutil.copytree(tmp_path / "whole" / f"checkpoint-{stop}", tmp_path / str(stop) / f"checkpoint-{stop}")
        resumed = tiny.train(tiny.trainer(tmp_path / str(stop), init=init, **changes), resume_from_checkpoint=True)
        tiny.assert_equal(tiny.weights(resumed.model), tiny.weights(whole.model))
        assert resumed.outer_updates == whole.outer_updates == 6
        evaluations = [[e["step"] for e in t.state.log_history if "eval_loss" in e] for t in (whole, resumed)]
        assert evaluations[0] == evaluations[1] == [24, 48, 60, 65]


def test_a_run_made_longer_goes_on_task_by_task(tmp_path):
    """It ended in the first task's trajectory, which is finished first; then outer updates are where they were."""
    changes = PLAIN | {"save_strategy": "steps", "save_steps": 100}
    tiny.train(tiny.trainer(tmp_path, max_steps=14, **changes))
    longer = tiny.trainer(tmp_path, max_steps=40, allow_changes=["max_steps"], **changes)
    after = AfterEachOuterUpdate(longer)
    tiny.train(longer, resume_from_checkpoint=True)
    assert list(after.phi) == [24, 36, 40]


def test_the_best_model_is_the_best_phi(tmp_path):
    scores = iter([0.5, 0.9, 0.1])
    trainer = tiny.trainer(
        tmp_path, max_steps=36, save_strategy="steps", save_steps=5, eval_strategy="steps", eval_steps=5,
        load_best_model_at_end=True, metric_for_best_model="score", greater_is_better=True,
        init=evaluated(lambda: next(scores)), **PLAIN,
    )  # fmt: skip
    trainer.train()
    assert trainer.state.best_model_checkpoint.endswith("checkpoint-24")
    tiny.assert_equal(tiny.weights(trainer.model), load_file(tmp_path / "checkpoint-24" / "model.safetensors"))


def test_saving_only_the_best(tmp_path):
    scores = iter([0.5, 0.1, 0.9])
    tiny.trainer(
        tmp_path, max_steps=36, save_strategy="best", eval_strategy="steps", eval_steps=5,
        metric_for_best_model="score", greater_is_better=True, init=evaluated(lambda: next(scores)), **PLAIN,
    ).train()  # fmt: skip
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == ["checkpoint-12", "checkpoint-36"]


def test_once_an_epoch(tmp_path):
    """Epochs end at 27 and 54; the outer updates after those are at 36 and, as the run ends, at 54."""
    trainer = tiny.trainer(
        tmp_path, max_steps=-1, num_train_epochs=2, save_strategy="epoch", eval_strategy="epoch", eval_on_start=True,
        init={"eval_dataset": {"de": tiny.task(4, 5)}}, **PLAIN,
    )  # fmt: skip
    trainer.train()
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == ["checkpoint-36", "checkpoint-54"]
    assert [e["step"] for e in trainer.state.log_history if "eval_loss" in e] == [0, 36, 54]


def test_early_stopping_counts_evaluations_of_a_new_phi(tmp_path):
    trainer = tiny.trainer(
        tmp_path, max_steps=100, eval_strategy="steps", eval_steps=2, save_strategy="steps", save_steps=2,
        metric_for_best_model="score", greater_is_better=True,
        init=evaluated(lambda: 0.0, EarlyStoppingCallback(early_stopping_patience=2)), **PLAIN,
    )  # fmt: skip
    trainer.train()
    assert trainer.state.global_step == 36 and trainer.outer_updates == 3
    tiny.assert_equal(tiny.weights(trainer.model), load_file(tmp_path / "checkpoint-36" / "model.safetensors"))


class StopAt(TrainerCallback):
    """Ends the run after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop |= state.global_step == self.step


@pytest.mark.parametrize("is_called_before_ours", [True, False])
@pytest.mark.parametrize("stopped_at", [14, pytest.param(16, marks=pytest.mark.slow), 17])
def test_a_callback_may_end_the_run_in_the_middle(tmp_path, stopped_at, is_called_before_ours):
    """The trajectories that have begun are folded in, and what waited is evaluated and saved."""
    callback = StopAt(stopped_at)
    trainer = tiny.trainer(
        tmp_path, dropout=0.0, max_steps=48, eval_strategy="steps", eval_steps=13, save_strategy="steps",
        save_steps=13, init=evaluated(lambda: 0.0, *[callback] * is_called_before_ours), **PLAIN | ADAMW,
    )  # fmt: skip
    if not is_called_before_ours:
        trainer.add_callback(callback)
    trainer.train()
    assert trainer.state.global_step == stopped_at and trainer.outer_updates == 2
    expected = equation_3(tiny.tasks(), stopped_at, 4, 0.5, inner_steps.adamw)
    assert tiny.largest_difference(tiny.weights(trainer.model), expected) < 2e-6
    tiny.assert_equal(
        load_file(tmp_path / f"checkpoint-{stopped_at}" / "model.safetensors"), tiny.weights(trainer.model)
    )
    assert [e["step"] for e in trainer.state.log_history if "eval_loss" in e] == [stopped_at]


class Interrupt(StopAt):
    """Raises after a step."""

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("interrupted_at", [14, 16])
def test_an_interrupted_run_leaves_phi_and_the_next_starts_there(tmp_path, interrupted_at):
    """In the middle of a trajectory, and between two."""
    trainer = tiny.trainer(tmp_path, **PLAIN | {"max_steps": 48})
    after, interrupt = AfterEachOuterUpdate(trainer), Interrupt(interrupted_at)
    trainer.add_callback(interrupt)
    with pytest.raises(KeyboardInterrupt):
        tiny.train(trainer)
    start = tiny.model()
    start.load_state_dict(after.phi[12])
    tiny.assert_equal(tiny.weights(trainer.model), tiny.weights(start))

    trainer.remove_callback(interrupt)
    trainer.args.max_steps = 12
    tiny.train(trainer)
    fresh = tiny.train(tiny.trainer(tmp_path, of_model=start, **PLAIN | {"max_steps": 12}))
    tiny.assert_equal(tiny.weights(trainer.model), tiny.weights(fresh.model))
    assert trainer.outer_updates == 1


def test_training_twice_starts_from_phi(tmp_path):
    trainer = tiny.train(tiny.trainer(tmp_path, **PLAIN | {"max_steps": 18}))
    start = tiny.model()
    start.load_state_dict(tiny.weights(trainer.model))
    tiny.train(trainer)
    fresh = tiny.train(tiny.trainer(tmp_path, of_model=start, **PLAIN | {"max_steps": 18}))
    tiny.assert_equal(tiny.weights(trainer.model), tiny.weights(fresh.model))


def test_the_log_has_each_tasks_draws_and_losses(tmp_path):
    trainer = tiny.train(tiny.trainer(tmp_path, **PLAIN | {"max_steps": 24, "logging_steps": 6}))
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert [[e[f"draws/{task}"] for task in ("de", "en", "sw")] for e in logs] == [
        [4, 2, 0], [4, 4, 4], [8, 6, 4], [8, 8, 8],
    ]  # fmt: skip
    assert "loss/sw" not in logs[0] and "loss/de" not in logs[1]


# What is refused, and what is said.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks_per_step": 2}, "--tasks_per_step has no effect with --method reptile"),
        ({"all_tasks_each_step": True}, "--all_tasks_each_step has no effect"),
        ({"task_sampling_exponent": 0.5}, "--task_sampling_exponent has no effect"),
        ({"inner_optimizer_state": "reset"}, "--inner_optimizer_state is a setting of --method seq_reptile"),
        ({"parallel_trajectories": True}, "--parallel_trajectories is a setting of --method seq_reptile"),
        ({"ignore_data_skip": True}, "--ignore_data_skip is not supported"),
        ({"enable_jit_checkpoint": True}, "--enable_jit_checkpoint is not supported"),
    ],
)
def test_settings_without_effect_are_refused(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        tiny.trainer(tmp_path, **{"method": "reptile"} | changes)


def test_too_few_steps_are_refused_with_a_number_that_works(tmp_path):
    with pytest.raises(InputError, match=r"Raise --max_steps or --num_train_epochs, or lower --inner_steps to 9 \("):
        tiny.trainer(tmp_path, method="reptile", inner_steps=100, max_steps=299).train()
    plan = tiny.trainer(tmp_path, method="reptile", inner_steps=9).plan(299)
    assert "n = 12, each of T = 3 trajectories" in str(plan)


def test_fewer_steps_than_tasks_cannot_be_mended_by_fewer_inner_steps(tmp_path):
    with pytest.raises(InputError, match=r"never finish one\. Raise --max_steps") as refusal:
        tiny.trainer(tmp_path, method="reptile", inner_steps=4, max_steps=2).train()
    assert "--inner_steps (K) is 4, 3 times in an outer update, but only 2 inner steps" in str(refusal.value)


def test_the_plan_tells_what_will_happen(tmp_path, capsys):
    trainer = tiny.trainer(tmp_path, **PLAIN | {"max_steps": 18})
    trainer.train()
    plan = capsys.readouterr().out
    size = 2 * 4 * sum(p.numel() for p in trainer.model.parameters()) / 2**20
    for part in (
        "Plan (reptile): 18 drawn batches in 18 optimizer steps, 1 a step\n",
        "  de          60  0.3333               8\n  en          37  0.3333               6\n"
        "  sw           9  0.3333               4\n",
        "outer updates: n = 2, each of T = 3 trajectories of K = 4 inner steps, η = 0.5",
        "reach: η·n·K = 4; φ moves less far where the tasks' trajectories part",
        f"extra memory: φ and the sum of the trajectories' ends, {size:.0f} MiB on cpu",
        "evaluation and saving wait for outer updates, every 12 steps",
    ):
        assert part in plan


@pytest.mark.parametrize(
    ("processes", "part"),
    [(2, "3 trajectories (2 at a time)"), (3, "3 trajectories (3 at a time)"), (8, "3 trajectories (3 at a time)")],
)
def test_the_plan_tells_of_processes_without_a_task(processes, part):
    notes = reptile_notes(100, 10, 1.0, tasks=3, processes=processes)
    assert part in notes[0]
    idle = [note for note in notes if note.startswith("idle")]
    assert len(idle) == (processes != 3)
    if idle:
        assert f"{-3 % processes} of {processes} processes;" in idle[0]


# Several processes.


def assert_several_processes_are_one(
    tmp_path: Path, processes: int, number: int, **changes: Any
) -> tuple[list[float], list[float]]:
    """Two outer updates of K = 4 on W processes and on one end in the same weights; returns the logged losses."""
    rounds = -(-number // processes)
    results = together(processes, trained, PLAIN | {"max_steps": 2 * 4 * rounds} | changes, tasks(number))
    one = tiny.trainer(tmp_path, tasks(number), dropout=0.0, **PLAIN | {"max_steps": 2 * 4 * number} | changes)
    tiny.train(one)
    for result in results:
        assert tiny.largest_difference(result["weights"], tiny.weights(one.model)) < 1e-5
        tiny.assert_equal(result["weights"], results[0]["weights"])
        assert result["outer_updates"] == one.outer_updates == 2
        assert result["draws"] == one.draw_counts == dict.fromkeys(tasks(number), 8)
        assert result["averaged_gradients"] == 0
        # Each outer update: one sum for each parameter; each log: one for the tasks' losses.
        assert result["sums"] == 2 * len(result["weights"]) + len(losses(result["log"]))
    return losses(results[0]["log"]), losses(one.state.log_history)


def losses(log: list[dict[str, float]]) -> list[float]:
    """The logged losses of training."""
    return [entry["loss"] for entry in log if "loss" in entry]


def test_two_processes_share_the_tasks(tmp_path):
    """Three tasks, so that in the second round one process has none; what it repeats is not in the logged loss."""
    several, alone = assert_several_processes_are_one(tmp_path, processes=2, number=3, logging_steps=1, **ADAMW)
    for update in range(2):
        first, second, third = (alone[12 * update :][4 * i : 4 * i + 4] for i in range(3))
        together_, by_itself = several[8 * update :][:4], several[8 * update :][4:8]
        assert together_ == pytest.approx([(a + b) / 2 for a, b in zip(first, second, strict=True)], abs=1e-5)
        assert by_itself == pytest.approx(third, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "number"), [(2, 4), (2, 1), (3, 3), (3, 2), (3, 4)])
@pytest.mark.parametrize(
    "changes",
    [
        SGD,
        ADAMW | {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 2, "slow_weights_device": "cpu"},
        ADAMW | {"lr_scheduler_type": "linear", "warmup_steps": 0.25},
    ],
    ids=["sgd", "accumulation", "schedule"],
)
def test_processes_share_the_tasks(tmp_path, processes, number, changes):
    assert_several_processes_are_one(tmp_path, processes, number, **changes)
