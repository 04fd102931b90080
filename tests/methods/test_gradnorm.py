"""GradNorm: w against Algorithm 1 with a second backward pass, and its place in the stock loop."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from hf_seqreptile.methods.gradnorm import SMALLEST_WEIGHT, GradNormTrainer, LossWeights, last_layer, weight_gradients
from tests import tiny
from tests.scripts import ROOT

PLAIN = {
    "optim": "sgd", "lr_scheduler_type": "constant", "max_grad_norm": 0.0, "learning_rate": 0.1, "tasks_per_step": 5,
    "max_steps": 8,
}  # fmt: skip
"""φ moves by plain gradient descent. An epoch has 27 draws: its last step 2 of them, not 5."""


def trainer(folder, **changes):
    return tiny.trainer(folder, method="gradnorm", trainer_class=GradNormTrainer, **changes)


# The gradient of w, and what becomes of it.


def gradnorm_objective(weights, losses, initial_losses, shared, exponent):
    """Eq. 2 of Chen et al. as printed, on a graph that can be differentiated with respect to w."""
    norms = [
        torch.autograd.grad(w * loss, shared, create_graph=True)[0].norm()
        for w, loss in zip(weights, losses, strict=True)
    ]
    progress = [loss.detach() / initial for loss, initial in zip(losses, initial_losses, strict=True)]
    rates = [each / (sum(progress) / len(progress)) for each in progress]
    targets = [(sum(norms) / len(norms)).detach() * rate**exponent for rate in rates]
    return sum((norm - target).abs() for norm, target in zip(norms, targets, strict=True))


@settings(max_examples=60)
@given(tasks=st.integers(1, 6), exponent=st.sampled_from([0.0, 0.12, 1.0, 1.5, 3.0]), seed=st.integers(0, 10**6))
def test_the_gradient_of_w_is_that_of_a_second_backward_pass(tasks, exponent, seed):
    random = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=random, dtype=torch.float64)  # noqa: E731
    shared = draw(4, 3).requires_grad_()
    losses = [((draw(5, 4) @ shared).tanh() - draw(5, 3)).pow(2).mean() * draw(()).exp() for _ in range(tasks)]
    initial_losses, weights = draw(tasks).exp(), draw(tasks).exp().requires_grad_()

    objective = gradnorm_objective(weights, losses, initial_losses, shared, exponent)
    (expected,) = torch.autograd.grad(objective, weights)

    norms = torch.stack([torch.autograd.grad(loss, shared, retain_graph=True)[0].norm() for loss in losses])
    ratios = torch.stack(losses).detach() / initial_losses
    torch.testing.assert_close(weight_gradients(weights.detach(), norms, ratios, exponent), expected)


@settings(max_examples=40)
@given(
    steps=st.lists(
        st.dictionaries(
            st.sampled_from("abcd"), st.tuples(st.floats(1e-3, 1e3), st.floats(1e-2, 1e2)), min_size=1
        ),
        min_size=1, max_size=30,
    )
)  # fmt: skip
def test_w_are_moved_by_adam_and_rescaled_over_all_tasks(steps):
    """A task that a step does not draw keeps its w, up to the rescaling, and its optimizer state."""
    weights = LossWeights("abcd", exponent=1.5, learning_rate=0.025)
    expected = {task: torch.nn.Parameter(torch.ones((), dtype=torch.float64)) for task in "abcd"}
    adam = torch.optim.Adam(expected.values(), lr=0.025)
    first: dict[str, float] = {}
    for step in steps:
        norms, losses = ({task: values[i] for task, values in step.items()} for i in (0, 1))
        weights.update(norms, losses)
        first |= {task: loss for task, loss in losses.items() if task not in first}
        gradients = weight_gradients(
            torch.stack([expected[task].detach() for task in step]),
            torch.tensor(list(norms.values()), dtype=torch.float64),
            torch.tensor([losses[task] / first[task] for task in step], dtype=torch.float64),
            1.5,
        )
        adam.zero_grad()
        for task, gradient in zip(step, gradients, strict=True):
            expected[task].grad = gradient
        adam.step()
        with torch.no_grad():
            for w in expected.values():
                w.clamp_(min=SMALLEST_WEIGHT)
            total = sum(expected.values()).item()
            for w in expected.values():
                w *= 4 / total
        for task, state in weights.of_task.items():
            assert state.weight == pytest.approx(expected[task].item(), rel=1e-9)


def run(exponent, norms, losses, steps=200, learning_rate=0.005):
    """w after `steps` with the same norms and losses, of which the first are all 1."""
    weights = LossWeights(norms, exponent, learning_rate)
    weights.update(dict.fromkeys(norms, 1.0), dict.fromkeys(norms, 1.0))
    for _ in range(steps):
        weights.update(norms, losses)
    return {task: state.weight for task, state in weights.of_task.items()}


def test_without_an_exponent_all_norms_become_equal():
    norms = {"de": 1.0, "en": 2.0, "sw": 4.0}
    weights = run(0.0, norms, {"de": 0.9, "en": 0.1, "sw": 0.5}, steps=400)
    assert [weights[t] * norms[t] for t in norms] == pytest.approx([12 / 7] * 3, rel=0.05)


def test_with_an_exponent_the_slow_task_gains():
    """Its loss fell the least. With the exponent's sign turned round, the fast one would."""
    weights = run(1.5, {"slow": 1.0, "fast": 1.0}, {"slow": 0.9, "fast": 0.3}, steps=10)
    assert weights["slow"] > 1.03 and weights["fast"] < 0.97


def test_w_stay_positive():
    weights = run(0.0, {"loud": 1e4, "de": 1.0, "en": 1.0}, {"loud": 1.0, "de": 1.0, "en": 1.0}, learning_rate=0.5)
    assert all(w > 0 for w in weights.values())
    assert sum(weights.values()) == pytest.approx(3)


@pytest.mark.parametrize("norms", [{"de": float("inf"), "en": 1.0}, {"de": float("nan"), "en": 1.0}])
def test_what_is_not_finite_moves_nothing(norms):
    """With fp16 the first steps overflow; their losses are those of φ at the start all the same."""
    weights = LossWeights(["de", "en"], exponent=1.5, learning_rate=0.025)
    weights.update(norms, {"de": 2.0, "en": 3.0})
    assert [(state.weight, state.steps) for state in weights.of_task.values()] == [(1.0, 0)] * 2
    assert [state.initial_loss for state in weights.of_task.values()] == [2.0, 3.0]
    weights.update({"de": 5.0, "en": 1.0}, {"de": 2.0, "en": 3.0})
    assert weights.of_task["de"].weight < 1 < weights.of_task["en"].weight


def test_w_is_the_last_numbered_layer_that_is_trained():
    model = tiny.model(layers=3)
    parameters = dict(model.named_parameters())
    assert last_layer(parameters) == list(model.bert.encoder.layer[2].parameters())
    without = {name: p for name, p in parameters.items() if ".layer.2." not in name}
    assert last_layer(without) == list(model.bert.encoder.layer[1].parameters())
    unnumbered = torch.nn.ModuleDict({"fc1": torch.nn.Linear(2, 2), "fc2": torch.nn.Linear(2, 2)})
    assert last_layer(dict(unnumbered.named_parameters())) == list(unnumbered.parameters())


# In the stock loop.


def steps_of(of_trainer):
    """The steps that training will see: each a list of draws, a draw a task and its micro-batches."""
    per_draw, per_step = of_trainer.args.gradient_accumulation_steps, of_trainer.tasks_per_step
    loader = of_trainer.get_train_dataloader()
    steps = []
    for epoch in range(100):
        of_trainer._sampler.set_epoch(epoch)
        batches = list(loader)
        draws = [batches[i : i + per_draw] for i in range(0, len(batches), per_draw)]
        draws = [
            (draw[0]["task"], [{k: v for k, v in b.items() if k not in ("task", "labels_in_batch")} for b in draw])
            for draw in draws
        ]
        steps += [draws[i : i + per_step] for i in range(0, len(draws), per_step)]
        if len(steps) >= of_trainer.args.max_steps:
            return steps[: of_trainer.args.max_steps]
    raise AssertionError("the loader never gave enough batches")


def plain_gradnorm(model, steps, args, tasks):
    """Algorithm 1 on the drawn tasks; returns w, and what the logs will say of the losses."""
    shared = list(model.bert.encoder.layer[-1].parameters())
    weights = {task: torch.nn.Parameter(torch.ones((), dtype=torch.float64)) for task in tasks}
    adam = torch.optim.Adam(weights.values(), lr=args.gradnorm_learning_rate)
    initial_losses, seen = {}, []
    for draws in steps:
        model.zero_grad()
        adam.zero_grad()
        losses = {task: [] for task, _ in draws}
        norms = {task: [] for task, _ in draws}
        for task, micro_batches in draws:
            parts = [model(**batch).loss * (batch["labels"] != -100).sum() for batch in micro_batches]
            loss = sum(parts) / sum((batch["labels"] != -100).sum() for batch in micro_batches)
            gradients = torch.autograd.grad(loss, shared, retain_graph=True)
            norms[task].append(weights[task] * torch.cat([g.flatten() for g in gradients]).double().norm())
            losses[task].append(loss.item())
            (weights[task].item() * loss / len(draws)).backward()
        seen.append(losses)
        norms = {task: sum(of_task) / len(of_task) for task, of_task in norms.items()}
        losses = {task: sum(of_task) / len(of_task) for task, of_task in losses.items()}
        initial_losses = losses | initial_losses
        progress = {task: losses[task] / initial_losses[task] for task in losses}
        rates = {task: p / (sum(progress.values()) / len(progress)) for task, p in progress.items()}
        mean = sum(norms.values()).item() / len(norms)
        objective = sum((norms[task] - mean * rates[task] ** args.gradnorm_exponent).abs() for task in norms)
        objective.backward()
        adam.step()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.grad is not None:
                    parameter -= args.learning_rate * parameter.grad
            total = sum(weights.values()).item()
            for w in weights.values():
                w *= len(weights) / total
    return {task: w.item() for task, w in weights.items()}, seen


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 2},
        {"gradnorm_exponent": 0.0, "gradnorm_learning_rate": 0.1, "all_tasks_each_step": True, "tasks_per_step": None},
    ],
    ids=str,
)
def test_training_ends_where_algorithm_1_ends(tmp_path, settings):
    gradnorm = trainer(tmp_path, dropout=0.0, logging_steps=1, **PLAIN | settings)
    model = tiny.model(dropout=0.0)
    weights, losses = plain_gradnorm(model, steps_of(gradnorm), gradnorm.args, gradnorm.tasks.sizes)
    gradnorm.train()
    assert tiny.largest_difference(tiny.weights(gradnorm.model), tiny.weights(model)) < 1e-6
    assert gradnorm.loss_weights == pytest.approx(weights, abs=1e-5)
    assert max(abs(w - 1) for w in weights.values()) > 0.05

    # Logged losses are without w, and the last log has the last w.
    logs = [entry for entry in gradnorm.state.log_history if "loss" in entry]
    assert {task: logs[-1][f"weight/{task}"] for task in weights} == gradnorm.loss_weights
    for entry, of_step in zip(logs, losses, strict=True):
        for task, drawn in of_step.items():
            assert entry[f"loss/{task}"] == pytest.approx(sum(drawn) / len(drawn), rel=1e-4)


def test_accumulation_changes_nothing(tmp_path):
    one, four = (
        trainer(tmp_path, dropout=0.0, gradient_accumulation_steps=n, per_device_train_batch_size=4 // n, **PLAIN)
        for n in (1, 4)
    )
    for each in (one, four):
        each.train()
    assert tiny.largest_difference(tiny.weights(one.model), tiny.weights(four.model)) < 1e-6
    assert one.loss_weights == pytest.approx(four.loss_weights, abs=1e-5)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_one_task_is_mtl_bit_for_bit(tmp_path, accumulation):
    settings = {"tasks_per_step": 3, "gradient_accumulation_steps": accumulation, "train": {"de": tiny.task(40, 1)}}
    mtl, gradnorm = tiny.trainer(tmp_path, method="mtl", **settings), trainer(tmp_path, **settings)
    for each in (mtl, gradnorm):
        tiny.train(each)
    assert gradnorm.loss_weights == {"de": 1.0}
    tiny.assert_equal(tiny.weights(gradnorm.model), tiny.weights(mtl.model))


def test_a_resumed_run_ends_bit_for_bit_where_the_uninterrupted_one_ends(tmp_path):
    """In the middle of an epoch of 9 steps, and before the first draw of some task or after it."""
    changes = {"tasks_per_step": 3, "save_strategy": "steps", "save_steps": 1, "max_steps": 12}
    whole = tiny.train(trainer(tmp_path / "whole", **changes))
    for stopped_at in (1, 5):
        name = f"checkpoint-{stopped_at}"
        shutil.copytree(tmp_path / "whole" / name, tmp_path / f"resumed-{stopped_at}" / name)
        resumed = tiny.train(trainer(tmp_path / f"resumed-{stopped_at}", **changes), resume_from_checkpoint=True)
        assert resumed.loss_weights == whole.loss_weights
        tiny.assert_equal(tiny.weights(resumed.model), tiny.weights(whole.model))


def test_training_anew_begins_with_equal_weights(tmp_path):
    """Both runs start from the same φ, since the learning rate is tiny; so w end at the same values."""
    gradnorm = trainer(tmp_path, dropout=0.0, **PLAIN | {"learning_rate": 1e-30})
    ends = [gradnorm.train() and gradnorm.loss_weights for _ in range(2)]
    assert ends[0] == ends[1] != dict.fromkeys(ends[0], 1.0)


def test_a_loss_scale_changes_nothing(tmp_path):
    """With a power of two that neither overflows nor underflows, not a bit."""
    plain, scaled = trainer(tmp_path, **PLAIN), trainer(tmp_path, **PLAIN)
    scaled.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for each in (plain, scaled):
        tiny.train(each)
    assert scaled.loss_weights == plain.loss_weights
    tiny.assert_equal(tiny.weights(scaled.model), tiny.weights(plain.model))


# Two processes (law 5).

TWO_PROCESSES = PLAIN | {"gradient_accumulation_steps": 2}


@pytest.mark.slow
def test_two_processes_at_half_the_batch_end_where_one_ends(tmp_path):
    one = trainer(tmp_path, dropout=0.0, **TWO_PROCESSES)
    one.train()
    process = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m",
         "tests.methods.test_gradnorm", str(tmp_path / "two")],
        cwd=ROOT, env=os.environ | {"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    two = [load_file(tmp_path / "two" / f"{process}.safetensors") for process in (0, 1)]
    weights = [json.loads((tmp_path / "two" / f"{process}.json").read_text()) for process in (0, 1)]
    tiny.assert_equal(*two)
    assert weights[0] == weights[1]
    assert tiny.largest_difference(two[0], tiny.weights(one.model)) < 1e-5
    assert weights[0] == pytest.approx(one.loss_weights, abs=1e-5)


def run_one_of_two_processes(folder):
    """Train, and write what this process ended with."""
    folder.mkdir(parents=True, exist_ok=True)
    of_two = trainer(folder, dropout=0.0, per_device_train_batch_size=2, **TWO_PROCESSES)
    of_two.train()
    process = of_two.args.process_index
    save_file(tiny.weights(of_two.model), folder / f"{process}.safetensors")
    (folder / f"{process}.json").write_text(json.dumps(of_two.loss_weights))


if __name__ == "__main__":
    run_one_of_two_processes(Path(sys.argv[1]))
