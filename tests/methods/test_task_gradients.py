"""A gradient for each drawn task, their Gram matrix, their sum: apart from the trainer, and as a step of it."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from torch import nn
from transformers import BertForMaskedLM, TrainerCallback

from hf_seqreptile import InputError
from hf_seqreptile.methods.task_gradients import TaskGradientMixin, TaskGradients, TaskGradientTrainer, layers
from hf_seqreptile.training import gram_matrix
from hf_seqreptile.training.gram_matrix import products
from tests import conflicting, scripts, tiny


def mean(gram):
    """The weighting of MTL."""
    return torch.full((len(gram),), 1 / len(gram))


def uneven(gram):
    """Weights that differ, do not sum to 1, and depend on the Gram matrix: on its scale too."""
    return torch.arange(1, len(gram) + 1) * 0.1 - 0.2 * gram.sum(dim=1) / (1 + gram.trace())


def combine_unevenly(step, gradients, names=()):
    """What [`uneven`] stands for, on vectors."""

    def combine(vectors):
        stacked = torch.stack(vectors)
        return uneven(stacked @ stacked.T).double() @ stacked

    return conflicting.on_vectors(list(gradients.values()), combine, names)


# The gradients by themselves.


class Parameters(nn.Module):
    """Parameters of several shapes, one of which does not lie in memory in the order of its indices."""

    def __init__(self):
        super().__init__()
        self.matrix = nn.Parameter(torch.zeros(3, 2))
        self.vector = nn.Parameter(torch.zeros(7))
        self.turned = nn.Parameter(torch.zeros(2, 5).T)
        self.untouched = nn.Parameter(torch.zeros(2))


GROUPS = {"one": ["matrix", "untouched"], "two": ["vector", "turned"]}


def backward(parameters, seed, touched):
    """Gives the parameters `touched` a gradient, by a backward pass, and returns it."""
    torch.manual_seed(seed)
    values = {name: torch.randn(p.shape) for name, p in parameters.items() if name in touched}
    sum((values[name] * parameters[name]).sum() for name in values).backward()
    return values


@given(st.lists(st.sets(st.sampled_from(["matrix", "vector", "turned"]), min_size=1), min_size=1, max_size=5))
def test_products_and_sums_are_those_of_whole_vectors(touched_by_task):
    """A task that does not touch a parameter has a zero there; what no task touches has no gradient."""
    parameters = dict(Parameters().named_parameters())
    kept = TaskGradients(parameters, GROUPS)
    tasks = [backward_and_take(parameters, kept, i, touched) for i, touched in enumerate(touched_by_task)]
    vectors = [
        torch.stack(
            [torch.cat([task.get(name, torch.zeros(p.shape)).flatten() for name, p in of_group]) for task in tasks]
        )
        for of_group in ([(name, parameters[name]) for name in group] for group in GROUPS.values())
    ]
    assert kept.tasks == [str(i) for i in range(len(tasks))]
    torch.testing.assert_close(kept.grams(), torch.stack([v @ v.T for v in vectors]))

    weights = torch.randn(2, len(tasks))
    kept.combine(weights)
    for w, v, group in zip(weights, vectors, GROUPS.values(), strict=True):
        parts = (w @ v).split([parameters[name].numel() for name in group])
        for name, part in zip(group, parts, strict=True):
            if any(name in touched for touched in touched_by_task):
                torch.testing.assert_close(parameters[name].grad, part.view(parameters[name].shape))
            else:
                assert parameters[name].grad is None
    assert kept.tasks == [] and kept.memory == 0


def backward_and_take(parameters, kept, task, touched):
    values = backward(parameters, task, touched)
    kept.take(str(task))
    assert all(p.grad is None for p in parameters.values())
    return values


def test_what_a_task_gives_twice_is_summed():
    parameters = dict(Parameters().named_parameters())
    kept = TaskGradients(parameters, GROUPS)
    first, second = (
        backward_and_take(parameters, kept, 0, touched) for touched in ({"matrix", "vector"}, {"vector", "turned"})
    )
    kept.combine(torch.ones(2, 1))
    for name in ("matrix", "vector", "turned"):
        torch.testing.assert_close(parameters[name].grad, first.get(name, 0) + second.get(name, torch.tensor(0.0)))


@pytest.mark.parametrize("size", [1, 7, 8, 9, 30])
def test_products_of_long_gradients_are_summed_in_chunks(monkeypatch, size):
    monkeypatch.setattr(gram_matrix, "CHUNK", 8)
    gradients = torch.randn(3, size)
    torch.testing.assert_close(products(list(gradients)), gradients @ gradients.T)


def test_float32_gradients_are_kept_without_a_copy():
    parameters = dict(Parameters().named_parameters())
    kept = TaskGradients(parameters, GROUPS)
    backward(parameters, 0, {"vector"})
    place = parameters["vector"].grad.data_ptr()
    kept.take("de")
    assert kept.memory == 7 * 4
    kept.combine(torch.ones(2, 1))
    assert parameters["vector"].grad.data_ptr() == place


def test_bfloat16_halves_the_memory():
    parameters = dict(Parameters().named_parameters())
    kept = TaskGradients(parameters, GROUPS, dtype=torch.bfloat16)
    values = backward_and_take(parameters, kept, 0, {"vector"})
    assert kept.memory == 7 * 2
    assert kept.grams().dtype == torch.float32
    torch.testing.assert_close(kept.grams()[1, 0, 0], values["vector"].square().sum(), rtol=2**-7, atol=0)
    kept.combine(torch.ones(2, 1))
    assert parameters["vector"].grad.dtype == torch.float32
    torch.testing.assert_close(parameters["vector"].grad, values["vector"], rtol=2**-8, atol=0)


def test_gradients_of_a_model_in_bfloat16_wait_and_are_summed_in_float32():
    """1 + 2^-8 is no bfloat16, and two halves of it are."""
    parameters = dict(Parameters().bfloat16().named_parameters())
    kept = TaskGradients(parameters, GROUPS)
    for task, value in {"de": 1.0, "en": 2.0**-8, "sw": 2.0**-8}.items():
        (parameters["vector"].sum() * value).backward()
        kept.take(task)
    assert kept.memory == 3 * 7 * 4
    kept.combine(torch.ones(2, 3))
    assert parameters["vector"].grad.dtype == torch.bfloat16
    assert (parameters["vector"].grad == 1 + 2**-7).all()


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("bert.embeddings.word_embeddings.weight", "bert.embeddings"),
        ("bert.embeddings.LayerNorm.bias", "bert.embeddings"),
        ("bert.encoder.layer.11.attention.self.query.weight", "bert.encoder.layer.11"),
        ("bert.encoder.layer.11.output.dense.bias", "bert.encoder.layer.11"),
        ("bert.pooler.dense.weight", "bert.pooler"),
        ("classifier.weight", "classifier"),
        ("classifier.2.weight", "classifier.2"),
        ("encoder.block.3.layer.1.DenseReluDense.wi.weight", "encoder.block.3"),
        ("base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.default.weight", "bert.encoder.layer.0"),
        ("base_model.model.bert.embeddings.LayerNorm.weight", "bert.embeddings"),
        ("scale", ""),
    ],
)
def test_a_parameters_layer(name, layer):
    assert layers([name]) == {layer: [name]}


def test_every_parameter_is_in_one_layer():
    names = [name for name, _ in tiny.model(layers=3).named_parameters()]
    groups = layers(names)
    assert list(groups) == ["bert.embeddings", *(f"bert.encoder.layer.{i}" for i in range(3)), "classifier"]
    assert sorted(name for group in groups.values() for name in group) == sorted(names)


# Steps of training.


def test_weights_of_one_over_t_are_mtl(tmp_path):
    """To floating-point rounding, over several steps of AdamW, clipped, with tasks drawn twice or not at all."""
    changes = {
        "optim": "adamw_torch", "max_grad_norm": 1.0, "weight_decay": 0.01, "learning_rate": 1e-3, "tasks_per_step": 5,
        "lr_scheduler_type": "linear", "max_steps": 8,
    }  # fmt: skip
    ours = conflicting.trainer(tmp_path, weighting=mean, **changes)
    mtl = conflicting.trainer(tmp_path, "mtl", **changes)
    for trainer in (ours, mtl):
        trainer.train()
    assert tiny.largest_difference(tiny.weights(ours.model), tiny.weights(conflicting.model())) > 1e-3
    assert tiny.largest_difference(tiny.weights(ours.model), tiny.weights(mtl.model)) < 1e-5
    logs = [[(e["loss"], e["grad_norm"]) for e in t.state.log_history if "loss" in e] for t in (ours, mtl)]
    assert logs[0] == [pytest.approx(log, rel=1e-4) for log in logs[1]]


@pytest.mark.parametrize("changes", [{"tasks_per_step": 5}, {"all_tasks_each_step": True}], ids=str)
@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_step_is_the_weighted_sum_of_the_tasks_gradients(tmp_path, changes, accumulation):
    """With five draws of three tasks some are drawn twice; the last step of an epoch has fewer draws."""
    trainer = conflicting.trainer(
        tmp_path, weighting=uneven, gradient_accumulation_steps=accumulation, learning_rate=0.1, **changes
    )
    trainer.train()
    expected = conflicting.descend(trainer, conflicting.model(), combine_unevenly)
    assert tiny.largest_difference(tiny.weights(trainer.model), expected) < 1e-5
    assert tiny.largest_difference(tiny.weights(conflicting.model()), expected) > 0.05


def test_tied_parameters_have_one_gradient(tmp_path):
    """A masked language model's output layer is its embeddings."""

    def tied_model():
        torch.manual_seed(0)
        return BertForMaskedLM(tiny.model(dropout=0.0).config)

    trainer = conflicting.trainer(tmp_path, weighting=uneven, of_model=tied_model(), learning_rate=0.1)
    trainer.train()
    assert trainer.model.cls.predictions.decoder.weight is trainer.model.bert.embeddings.word_embeddings.weight
    expected = conflicting.descend(trainer, tied_model(), combine_unevenly)
    assert tiny.largest_difference(tiny.weights(trainer.model), expected) < 1e-5


def lora_model():
    torch.manual_seed(0)
    config = LoraConfig(task_type="TOKEN_CLS", r=2, lora_dropout=0.0, target_modules=["query", "value"])
    return get_peft_model(tiny.model(dropout=0.0), config)


def test_with_lora_the_adapter_and_the_head_have_gradients(tmp_path):
    seen = []

    def weighting(gram):
        seen.append(trainer._gradients.memory)
        return uneven(gram)

    trainer = conflicting.trainer(
        tmp_path, weighting=weighting, of_model=lora_model(), learning_rate=0.1, all_tasks_each_step=True
    )
    trainer.train()
    expected = conflicting.descend(trainer, lora_model(), combine_unevenly)
    assert tiny.largest_difference(tiny.weights(trainer.model), expected) < 1e-5
    trained = [p for p in trainer.model.parameters() if p.requires_grad]
    assert seen == [3 * 4 * sum(p.numel() for p in trained)] * 6
    changed = [
        name for name, p in lora_model().named_parameters() if not torch.equal(p, trainer.model.get_parameter(name))
    ]
    assert changed and all("lora" in name or "classifier" in name for name in changed)


def test_clipping_sees_the_combined_gradient(tmp_path):
    """Weights of 100/T: each step moves the model by the learning rate times the norm that is allowed."""
    trainer = conflicting.trainer(
        tmp_path, weighting=lambda gram: 100 * mean(gram), max_grad_norm=0.25, learning_rate=0.1, max_steps=1,
        logging_steps=1,
    )  # fmt: skip
    trainer.train()
    (draws,) = conflicting.draws_of(trainer)
    gradients = list(conflicting.gradients_of(conflicting.model(), draws).values())
    expected = conflicting.on_vectors(gradients, lambda vectors: 100 * torch.stack(vectors).mean(0))
    norm = torch.stack([g.norm() for g in expected.values()]).norm()
    assert trainer.state.log_history[0]["grad_norm"] == pytest.approx(norm.item(), rel=1e-4)
    start, end = tiny.weights(conflicting.model()), tiny.weights(trainer.model)
    moved = torch.stack([(end[name] - start[name]).norm() for name in start]).norm().item()
    assert moved == pytest.approx(0.1 * 0.25, rel=1e-3)


@pytest.mark.parametrize("method", ["pcgrad", "gradvac"])
def test_accumulation_changes_nothing(tmp_path, method):
    """Law 6. The sentences differ in length, so a mean of micro-batch means would be another number."""
    runs = []
    for batch, accumulation in ((8, 1), (2, 4)):
        trainer = conflicting.trainer(
            tmp_path, method, per_device_train_batch_size=batch, gradient_accumulation_steps=accumulation,
            tasks_per_step=5, logging_steps=1, learning_rate=0.2,
        )  # fmt: skip
        trainer.train()
        logged = [(e["loss"], e["grad_norm"]) for e in trainer.state.log_history if "loss" in e]
        runs.append((tiny.weights(trainer.model), logged))
    (one, logs), (four, other_logs) = runs
    assert tiny.largest_difference(one, four) < 1e-5
    assert logs == [pytest.approx(log, rel=1e-4) for log in other_logs]


class Untouched(TrainerCallback):
    """Notes the parameters without a gradient, step by step."""

    def __init__(self):
        self.names = []

    def on_pre_optimizer_step(self, args, state, control, model, **kwargs):
        self.names.append({name for name, p in model.named_parameters() if p.grad is None})


@pytest.mark.parametrize("method", ["pcgrad", "gradvac"])
def test_what_no_task_touches_has_no_gradient_and_does_not_move(tmp_path, method):
    """Weight decay would move it if its gradient were zero. What one task of three touches moves with that task."""
    touching = conflicting.task(1, 24, firsts=[conflicting.RARE])
    others = {name: conflicting.task(label, 24, firsts=[conflicting.COMMON]) for label, name in enumerate("ab", 2)}
    trainer = conflicting.trainer(
        tmp_path, method, train={"touching": touching, **others}, optim="adamw_torch", weight_decay=0.5,
        learning_rate=0.01, tasks_per_step=2, max_steps=9,
    )  # fmt: skip
    watch = Untouched()
    trainer.add_callback(watch)
    trainer.train()
    start, end = tiny.weights(conflicting.model()), tiny.weights(trainer.model)
    assert [name for name in start if torch.equal(start[name], end[name])] == ["unused.weight", "unused.bias"]
    drawn = [{task for task, _ in draws} for draws in conflicting.draws_of(trainer)]
    assert {"touching" in tasks for tasks in drawn} == {True, False}
    for tasks, without in zip(drawn, watch.names, strict=True):
        rare = set() if "touching" in tasks else {"rare.weight", "rare.bias"}
        assert without == {"unused.weight", "unused.bias"} | rare


@pytest.mark.parametrize("method", ["pcgrad", "gradvac"])
def test_gradients_may_wait_elsewhere(tmp_path, method):
    beside, on_cpu = (conflicting.trainer(tmp_path, method, task_gradients_device=d) for d in (None, "cpu"))
    for trainer in (beside, on_cpu):
        trainer.train()
    tiny.assert_equal(tiny.weights(beside.model), tiny.weights(on_cpu.model))


@pytest.mark.parametrize("method", ["pcgrad", "gradvac"])
def test_gradients_may_wait_in_bfloat16(tmp_path, method):
    """After one step the difference is bfloat16's rounding, 2^-8 of each number at most, times what is summed."""
    ends, memory = [], []
    for dtype in ("float32", "bfloat16"):
        trainer = conflicting.trainer(
            tmp_path, method, task_gradients_dtype=dtype, max_steps=1, all_tasks_each_step=True
        )
        random_orders = trainer.random_orders
        trainer.random_orders = lambda n, t=trainer, f=random_orders: memory.append(t._gradients.memory) or f(n)
        trainer.train()
        ends.append(torch.cat([p.detach().flatten() for p in trainer.model.parameters()]))
    start = torch.cat([p.detach().flatten() for p in conflicting.model().parameters()])
    assert 0 < (ends[1] - ends[0]).norm() < 0.01 * (ends[0] - start).norm()
    assert memory[0] == 2 * memory[-1]


@pytest.mark.parametrize("method", ["pcgrad", "gradvac"])
def test_bfloat16_autocast(tmp_path, method):
    plain, autocast = (conflicting.trainer(tmp_path, method, bf16=b, learning_rate=0.1) for b in (False, True))
    for trainer in (plain, autocast):
        trainer.train()
    difference = tiny.largest_difference(tiny.weights(plain.model), tiny.weights(autocast.model))
    assert 0 < difference < 0.02


@pytest.mark.parametrize(
    "how", [{"method": "pcgrad"}, {"method": "gradvac"}, {"weighting": uneven}], ids=["pcgrad", "gradvac", "uneven"]
)
def test_a_loss_scale_changes_nothing(tmp_path, how):
    """As of fp16; a power of two is exact, so the result is the same bit for bit. Weightings see the true lengths."""
    plain, scaled = (conflicting.trainer(tmp_path, **how, tasks_per_step=5, learning_rate=0.1) for _ in range(2))
    scaled.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
    for trainer in (plain, scaled):
        trainer.train()
    assert scaled.accelerator.scaler.get_scale() == 2.0**12
    tiny.assert_equal(tiny.weights(plain.model), tiny.weights(scaled.model))


@pytest.mark.parametrize("method", ["pcgrad", "gradvac"])
def test_steps_whose_scaled_gradients_overflow_are_skipped(tmp_path, method):
    trainer = conflicting.trainer(tmp_path, method, max_steps=2)
    trainer.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=3e38, backoff_factor=0.5)
    trainer.train()
    tiny.assert_equal(tiny.weights(trainer.model), tiny.weights(conflicting.model()))
    assert trainer.accelerator.scaler.get_scale() == pytest.approx(3e38 / 4)
    assert trainer.multitask_state().get("gradvac_targets", {}) == {}


def test_a_run_that_was_interrupted_in_a_step_leaves_nothing_behind(tmp_path, monkeypatch):
    """As a notebook's user does: stop, then train again."""
    whole, again = (conflicting.trainer(tmp_path) for _ in range(2))
    whole.train()

    def take_and_stop(gradients, task, take=TaskGradients.take):
        take(gradients, task)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TaskGradients, "take", take_and_stop)
        with pytest.raises(KeyboardInterrupt):
            again.train()
    again.train()
    tiny.assert_equal(tiny.weights(again.model), tiny.weights(whole.model))


# Resuming.


@pytest.mark.parametrize(
    ("method", "stopped_at"),
    [
        ("pcgrad", 2), pytest.param("gradvac", 2, marks=pytest.mark.slow), ("gradvac", 3),
        pytest.param("gradvac", 6, marks=pytest.mark.slow), ("torchjd:MGDA", 2),
    ],
)  # fmt: skip
def test_a_resumed_run_ends_where_the_uninterrupted_one_ends(tmp_path, method, stopped_at):
    """Law 4: in the middle of an epoch of three steps, at its end, and at the end of the run."""
    if method.startswith("torchjd"):
        pytest.importorskip("torchjd", reason="optional: TorchJD's weightings")
    changes = {
        "save_strategy": "steps", "save_steps": 1, "optim": "adamw_torch", "learning_rate": 1e-2, "max_grad_norm": 1.0,
        "lr_scheduler_type": "linear", "tasks_per_step": 6, "max_steps": 6,
    }  # fmt: skip
    whole = conflicting.trainer(tmp_path / "whole", method, of_model=tiny.model(), **changes)
    tiny.train(whole)
    shutil.copytree(tmp_path / "whole" / f"checkpoint-{stopped_at}", tmp_path / "again" / f"checkpoint-{stopped_at}")
    resumed = conflicting.trainer(tmp_path / "again", method, of_model=tiny.model(), **changes)
    tiny.train(resumed, resume_from_checkpoint=True)
    assert whole.state.epoch == resumed.state.epoch == 2
    tiny.assert_equal(tiny.weights(resumed.model), tiny.weights(whole.model))
    last = [
        json.loads((tmp_path / name / "checkpoint-6" / "multitask_state.json").read_text())
        for name in ("whole", "again")
    ]
    assert last[0] == last[1]


# Two processes (law 5).


@pytest.mark.slow
def test_two_processes_end_where_one_ends(tmp_path):
    """At half the batch; a layer that one process's examples alone touch included. They resume bit for bit, too."""
    methods = ["pcgrad", "gradvac"]
    process = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2",
         conflicting.__file__, str(tmp_path), *methods],
        cwd=scripts.ROOT, env=os.environ | {"PYTHONPATH": str(scripts.ROOT), "HF_HUB_OFFLINE": "1"},
        capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    start = tiny.weights(conflicting.model())
    for method in methods:
        first, second = (load_file(tmp_path / f"{method}-{process}") for process in range(2))
        tiny.assert_equal(first, second)
        of_one = tiny.weights(conflicting.train_and_resume(tmp_path / "one" / method, method, batch=2).model)
        assert tiny.largest_difference(of_one, first) < 1e-5
        assert tiny.largest_difference(of_one, start) > 0.1


# Arguments.


def test_the_plan_says_what_the_gradients_take(tmp_path):
    model = tiny.model()
    model.large = nn.Linear(1024, 1024, bias=False)
    for dtype, size in {"float32": 4, "bfloat16": 2}.items():
        trainer = conflicting.trainer(tmp_path, of_model=model, tasks_per_step=2, task_gradients_dtype=dtype)
        assert f"up to 2 of {size} MiB on cpu" in str(trainer.plan(10))
    assert "up to 3 of 4 MiB" in str(conflicting.trainer(tmp_path, of_model=model, tasks_per_step=8).plan(10))
    model.large.requires_grad_(False)
    assert "up to 3 of 0 MiB" in str(conflicting.trainer(tmp_path, of_model=model, tasks_per_step=8).plan(10))


def test_settings_of_gradients_are_refused_where_there_are_none(tmp_path):
    for name, value in {"task_gradients_device": "cpu", "task_gradients_dtype": "bfloat16"}.items():
        with pytest.raises(InputError, match=f"--{name} is a setting of --method pcgrad"):
            tiny.trainer(tmp_path, method="mtl", **{name: value})


def test_the_gradients_of_a_weighting_of_ones_own_may_wait_in_bfloat16(tmp_path):
    trainer = conflicting.trainer(tmp_path, weighting=uneven, task_gradients_dtype="bfloat16")
    trainer.train()
    assert trainer._gradients._dtype == torch.bfloat16


def test_a_trainer_without_a_weighting_is_refused_before_it_trains(tmp_path):
    with pytest.raises(InputError, match=r"TaskGradientTrainer needs a weighting: .*shape \(T, T\)"):
        tiny.trainer(tmp_path, method="task_gradients", trainer_class=TaskGradientTrainer)


@pytest.mark.parametrize(
    ("weighting", "returned"),
    [
        (lambda gram: gram, r"<lambda> returned \[\["),
        (lambda gram: mean(gram)[1:], "<lambda> returned"),
        (lambda gram: gram.sum(), "<lambda> returned"),
        (lambda gram: mean(gram) / 0, "inf"),
        (lambda gram: mean(gram) * float("nan"), "nan"),
        (nn.Softmax(dim=1), "Softmax returned"),
    ],
)
def test_a_weighting_that_gives_anything_but_a_number_for_each_task_is_named(tmp_path, weighting, returned):
    trainer = conflicting.trainer(tmp_path, weighting=weighting, all_tasks_each_step=True)
    with pytest.raises(InputError, match=rf"The weighting .*{returned}.* for 3 tasks; it must return a finite number"):
        trainer.train()


def test_orders_are_random_and_depend_on_seed_and_step_alone(tmp_path):
    """Every order of the other tasks comes about as often."""
    trainer, same, other = (conflicting.trainer(tmp_path, seed=seed) for seed in (1, 1, 2))
    seen = []
    for step in range(600):
        for t in (trainer, same, other):
            t.state.global_step = step
        assert trainer.random_orders(4) == same.random_orders(4)
        seen.append(trainer.random_orders(4))
        assert all(sorted([i, *order]) == [0, 1, 2, 3] for i, order in enumerate(seen[-1]))
    assert trainer.random_orders(4) != other.random_orders(4) or trainer.random_orders(5) != other.random_orders(5)
    for i in range(4):
        counts = [sum(tuple(orders[i]) == order for orders in seen) for order in {tuple(o[i]) for o in seen}]
        assert len(counts) == 6 and all(60 < count < 140 for count in counts)


def test_a_method_of_ones_own_says_how_weights_follow(tmp_path):
    """For each group of parameters from its own products: here the head is weighted, and all else is MTL's."""

    class Mine(TaskGradientMixin):
        def parameter_groups(self, names):
            return {
                is_head: [name for name in names if name.startswith("classifier") == is_head] for is_head in (0, 1)
            }

        def task_weights(self, gram, tasks, group):
            return uneven(gram) if group else mean(gram)

    def combine(step, gradients):
        combined = conflicting.on_vectors(list(gradients.values()), lambda vectors: sum(vectors) / len(vectors))
        return combined | combine_unevenly(step, gradients, ["classifier.weight", "classifier.bias"])

    trainer = conflicting.trainer(tmp_path, "task_gradients", trainer_class=Mine, tasks_per_step=5)
    trainer.train()
    expected = conflicting.descend(trainer, conflicting.model(), combine)
    assert tiny.largest_difference(tiny.weights(trainer.model), expected) < 1e-5
