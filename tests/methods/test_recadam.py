"""RecAdam: against its equations written out, against AdamW where they are AdamW's, and its place in the trainer."""

import math
import re
import shutil
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from transformers import BertModel

from hf_seqreptile import InputError
from hf_seqreptile.methods.recadam import RecAdamTrainer, annealing_notes, fingerprint, pretrained_parameters
from hf_seqreptile.methods.recadam_optimizer import RecAdam, annealing
from tests import tiny
from tests.methods.test_seq_reptile import backward, batches_of

FUSED = pytest.mark.parametrize("fused", [False, True])
ALWAYS_LEARNS, NEVER_LEARNS = -1e6, 1e6
"""t0 with which λ is 1 or 0 in every step."""


def trainer_of(folder, **changes):
    """A short run in the middle of which λ rises."""
    defaults = {"learning_rate": 1e-2, "recadam_gamma": 50.0, "recadam_t0": 6.0, "tasks_per_step": 2}
    return tiny.trainer(folder, method="recadam", trainer_class=RecAdamTrainer, **defaults | changes)


def reference(theta, star, gradients, rates, k, t0, gamma, betas, eps, decay):
    """The docstring's equations for one tensor; `star` is None for a head, and a gradient where there is none."""
    m, v, adam_steps = torch.zeros_like(theta), torch.zeros_like(theta), 0
    for t, (g, lr) in enumerate(zip(gradients, rates, strict=True), start=1):
        if g is None:
            continue
        adam_steps += 1
        lam = 1.0 if star is None else 1 / (1 + math.exp(-k * (t - t0)))
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        m_hat, v_hat = m / (1 - betas[0] ** adam_steps), v / (1 - betas[1] ** adam_steps)
        theta = theta - lr * decay * theta
        theta = theta - lr * lam * m_hat / (v_hat.sqrt() + eps)
        if star is not None:
            theta = theta - lr * (1 - lam) * gamma * (theta - star)
    return theta


@given(st.data())
@settings(max_examples=40)
def test_the_optimizer_is_its_equations(data):
    """Several tensors and groups, some without θ*, with gradients missing now and then, and changing rates."""
    number = lambda low, high: data.draw(st.floats(low, high))  # noqa: E731
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 999)))
    shapes = data.draw(st.lists(st.sampled_from([(), (3,), (2, 4), (0,)]), min_size=1, max_size=4))
    steps = data.draw(st.integers(1, 12))
    random = lambda shape: torch.randn(shape, generator=generator, dtype=torch.float64)  # noqa: E731
    start, star = [random(s) for s in shapes], [random(s) if data.draw(st.booleans()) else None for s in shapes]
    gradients = [[random(s) if number(0, 1) < 0.8 else None for _ in range(steps)] for s in shapes]
    rates = [number(1e-4, 1e-1) for _ in range(steps)]
    shared = {"k": number(0.01, 5), "t0": number(-5, 15), "gamma": number(0, 15)}
    adam = {"betas": (number(0, 0.95), number(0.5, 0.999)), "eps": number(1e-8, 1e-2)}
    decays = [number(0, 0.5), 0.0]

    parameters = [torch.nn.Parameter(value.clone()) for value in start]
    optimizer = RecAdam(
        [{"params": parameters[i::2], "weight_decay": decays[i]} for i in range(2)],
        {p: value for p, value in zip(parameters, star, strict=True) if value is not None},
        lr=1.0, fused=data.draw(st.booleans()), **shared, **adam,
    )  # fmt: skip
    for step in range(steps):
        for p, of_p in zip(parameters, gradients, strict=True):
            p.grad = of_p[step]
        for group in optimizer.param_groups:
            group["lr"] = rates[step]
        optimizer.step()
    for i, p in enumerate(parameters):
        expected = reference(start[i], star[i], gradients[i], rates, **shared, **adam, decay=decays[i % 2])
        torch.testing.assert_close(p.detach(), expected, rtol=1e-9, atol=1e-9)


@given(st.floats(1e-3, 100), st.floats(-1e5, 1e5), st.integers(1, 10**6))
def test_lambda_rises_from_0_to_1_through_a_half_at_t0(k, t0, step):
    """Also where e^(k(t0 − t)) overflows."""
    share = annealing(step, k, t0)
    assert 0 <= share <= annealing(step + 1, k, t0) <= 1
    assert share + annealing(step, k, 2 * step - t0) == pytest.approx(1)
    assert annealing(step, k, step) == 0.5
    assert math.isclose(annealing(251, 0.5, 250), 0.6224593312)


def steps_on(parameters, optimizer, steps=20):
    """Steps on gradients that are the same for the same place and shape, and the rates of a linear schedule."""
    generator = torch.Generator().manual_seed(0)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, total_iters=steps)
    for _ in range(steps):
        for p in parameters:
            p.grad = torch.randn(p.shape, generator=generator)
        optimizer.step()
        schedule.step()
    return [p.detach() for p in parameters]


def parameters_of(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in [(5, 3), (7,)]]


def run(fused=False, pretrained=True, **changes):
    parameters = parameters_of()
    stars = dict(zip(parameters, (p.detach() for p in parameters_of(1)), strict=True)) if pretrained else {}
    settings_ = {"lr": 1e-3, "k": 0.5, "t0": 10.0, "gamma": 100.0, "fused": fused} | changes
    return steps_on(parameters, RecAdam(parameters, stars, **settings_))


def adamw(fused=False, **changes):
    parameters = parameters_of()
    return steps_on(
        parameters, torch.optim.AdamW(parameters, **{"lr": 1e-3, "weight_decay": 0.0} | changes, fused=fused)
    )


@FUSED
def test_where_lambda_is_1_it_is_adamw_bit_for_bit(fused):
    for one, other in zip(run(fused, t0=ALWAYS_LEARNS), adamw(fused), strict=True):
        assert torch.equal(one, other)
    decay = {"weight_decay": 0.1}
    for one, other in zip(run(fused, t0=ALWAYS_LEARNS, **decay), adamw(fused, **decay), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


@FUSED
def test_a_head_has_plain_adamw(fused):
    for one, other in zip(run(fused, pretrained=False), adamw(fused), strict=True):
        assert torch.equal(one, other)


@FUSED
def test_without_a_pull_lambda_is_a_factor_of_the_learning_rate(fused):
    """With k next to 0, λ is a half in every step."""
    for one, other in zip(run(fused, gamma=0.0, k=1e-12), adamw(fused, lr=5e-4), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-7)


@given(st.floats(0, 1.9))
@settings(max_examples=20)
def test_where_lambda_is_0_the_distance_shrinks_by_the_same_factor_in_every_step(pull):
    parameter, star = torch.nn.Parameter(torch.tensor([3.0, -1.0]).double()), torch.tensor([1.0, 1.0]).double()
    optimizer = RecAdam([parameter], {parameter: star}, lr=1e-2, k=0.5, t0=NEVER_LEARNS, gamma=pull / 1e-2)
    for _ in range(9):
        parameter.grad = torch.full((2,), 1e3).double()
        optimizer.step()
    expected = star + (1 - pull) ** 9 * torch.tensor([2.0, -2.0]).double()
    torch.testing.assert_close(parameter.detach(), expected, rtol=1e-9, atol=1e-9)


@FUSED
def test_the_state_survives_a_round_trip_and_holds_no_pretrained_weights(fused, tmp_path):
    def made():
        parameters = parameters_of()
        stars = dict(zip(parameters, (p.detach() for p in parameters_of(1)), strict=True))
        return parameters, RecAdam(parameters, stars, lr=1e-2, k=0.5, t0=10, gamma=50.0, fused=fused)

    (whole, of_whole), (resumed, of_resumed) = made(), made()
    steps_on(whole, of_whole, 12)
    torch.save({"optimizer": of_whole.state_dict(), "weights": [p.detach() for p in whole]}, tmp_path / "x.pt")
    saved = torch.load(tmp_path / "x.pt", weights_only=True)
    of_resumed.load_state_dict(saved["optimizer"])
    for p, value in zip(resumed, saved["weights"], strict=True):
        p.data.copy_(value)
    for one, other in zip(steps_on(whole, of_whole, 5), steps_on(resumed, of_resumed, 5), strict=True):
        assert torch.equal(one, other)
    assert {name for state in of_whole.state.values() for name in state} == {"step", "exp_avg", "exp_avg_sq"}
    assert not any(isinstance(value, torch.Tensor) for name, value in of_whole.param_groups[0].items())


@FUSED
def test_a_step_that_the_loss_scaler_skips_pulls_nothing_and_does_not_count(fused):
    (parameter, _), stars = parameters_of(), parameters_of(1)
    optimizer = RecAdam([parameter], {parameter: stars[0].detach()}, lr=1e-2, k=0.5, t0=10, gamma=50.0, fused=fused)
    scaler, before = torch.amp.GradScaler("cpu"), parameter.detach().clone()
    for factor, counted in ((math.inf, 0), (1.0, 1)):
        optimizer.zero_grad()
        scaler.scale((parameter * factor).sum()).backward()
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        assert optimizer.param_groups[0].get("steps", 0) == counted
        assert torch.equal(parameter, before) is (counted == 0)


def test_sparse_gradients_are_refused():
    embedding = torch.nn.Embedding(5, 2, sparse=True)
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(InputError, match="sparse=False"):
        RecAdam(embedding.parameters(), {}, lr=0.1, k=0.5, t0=10, gamma=50.0).step()


def test_pretrained_is_what_lies_in_the_base_model_and_is_trained():
    model = tiny.model()
    assert set(dict(model.named_parameters())) - set(pretrained_parameters(model)) == {
        "classifier.weight", "classifier.bias",
    }  # fmt: skip
    model.bert.embeddings.requires_grad_(False)
    assert not any("embeddings" in name for name in pretrained_parameters(model))
    for without_head in (BertModel(model.config), torch.nn.Linear(2, 2)):
        assert set(pretrained_parameters(without_head)) == set(dict(without_head.named_parameters()))


def test_a_run_ends_where_the_equations_end(tmp_path):
    """With M draws a step, clipping, weight decay where the stock trainer has it, and a linear schedule."""
    steps, settings_ = 12, {"k": 0.7, "t0": 6.0, "gamma": 60.0}
    trainer = trainer_of(
        tmp_path, of_model=tiny.model(dropout=0.0).double(), max_steps=steps, weight_decay=0.1, recadam_k=0.7,
        recadam_gamma=60.0, adam_beta1=0.8, adam_beta2=0.95, adam_epsilon=1e-6, max_grad_norm=0.5,
    )  # fmt: skip
    decayed = trainer.get_decay_parameter_names(trainer.model)
    draws = batches_of(trainer, 2 * steps)
    rates = [1e-2 * (1 - i / steps) for i in range(steps)]

    model = tiny.model(dropout=0.0).double()
    start = tiny.weights(model)
    seen = {name: [] for name in start}
    for step in range(steps):
        model.zero_grad()
        for draw in draws[2 * step : 2 * step + 2]:
            backward(model, draw)
        for p in model.parameters():
            p.grad /= 2
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        for name, p in model.named_parameters():
            seen[name].append(p.grad.clone())
            star = start[name] if name.startswith("bert.") else None
            p.data = reference(
                start[name], star, seen[name], rates[: step + 1], **settings_, betas=(0.8, 0.95), eps=1e-6,
                decay=0.1 if name in decayed else 0.0,
            )  # fmt: skip
    trainer.train()
    assert tiny.largest_difference(tiny.weights(trainer.model), tiny.weights(model)) < 1e-10
    assert tiny.largest_difference(tiny.weights(model), start) > 1e-2


@pytest.mark.parametrize("optim", ["adamw_torch", "adamw_torch_fused"])
def test_a_run_in_which_lambda_is_1_is_mtl_bit_for_bit(tmp_path, optim):
    recadam = tiny.train(trainer_of(tmp_path, recadam_t0=ALWAYS_LEARNS, optim=optim))
    mtl = tiny.train(tiny.trainer(tmp_path, method="mtl", tasks_per_step=2, optim=optim))
    tiny.assert_equal(tiny.weights(recadam.model), tiny.weights(mtl.model))


def test_until_lambda_rises_only_the_head_is_trained(tmp_path):
    trainer = trainer_of(tmp_path, recadam_t0=NEVER_LEARNS)
    start = tiny.weights(trainer.model)
    tiny.train(trainer)
    moved = {name for name, value in tiny.weights(trainer.model).items() if not torch.equal(value, start[name])}
    assert moved == {"classifier.weight", "classifier.bias"}


def test_bf16(tmp_path):
    """Under autocast, and with the model itself in it."""
    trainer = tiny.train(trainer_of(tmp_path, bf16=True))
    assert all(p.dtype == torch.float32 for p in trainer.model.parameters())
    plain = tiny.train(trainer_of(tmp_path))
    assert 0 < tiny.largest_difference(tiny.weights(trainer.model), tiny.weights(plain.model)) < 0.1
    in_bf16 = trainer_of(tmp_path, of_model=tiny.model().to(torch.bfloat16), recadam_t0=0.0)
    start = tiny.weights(in_bf16.model)
    assert 0 < tiny.largest_difference(tiny.weights(tiny.train(in_bf16).model), start) < 1


SAVING = {"save_strategy": "steps", "save_steps": 1, "max_steps": 11, "per_device_train_batch_size": 8}


@pytest.mark.parametrize(
    ("stopped_at", "optim"), [(2, "adamw_torch_fused"), (5, "adamw_torch"), (9, "adamw_torch_fused")]
)
def test_a_resumed_run_ends_bit_for_bit_where_the_uninterrupted_one_ends(tmp_path, stopped_at, optim):
    """Law 4; before, while and after λ rises, in the middle of an epoch of 7 steps. Another head is no other start."""
    changes = SAVING | {"optim": optim, "recadam_k": 1.0}
    whole = tiny.train(trainer_of(tmp_path / "whole", **changes))
    shutil.copytree(tmp_path / "whole" / f"checkpoint-{stopped_at}", tmp_path / "resumed" / f"checkpoint-{stopped_at}")
    model = tiny.model()
    torch.nn.init.ones_(model.classifier.weight)
    resumed = tiny.train(trainer_of(tmp_path / "resumed", of_model=model, **changes), resume_from_checkpoint=True)
    assert resumed.optimizer.param_groups[0]["steps"] == resumed.state.global_step == 11
    tiny.assert_equal(tiny.weights(resumed.model), tiny.weights(whole.model))


def test_a_resume_from_other_pretrained_weights_is_refused(tmp_path):
    tiny.train(trainer_of(tmp_path, **SAVING | {"max_steps": 2}))
    other = tiny.model()
    with torch.no_grad():
        other.bert.encoder.layer[0].output.dense.bias[0] += 1e-7
    with pytest.raises(InputError, match=r"pretrained_weights: '[0-9a-f]{16}' in the checkpoint, '[0-9a-f]{16}' now"):
        trainer_of(tmp_path, of_model=other, **SAVING).train(resume_from_checkpoint=True)


def test_a_checkpoint_is_no_larger_than_with_adamw(tmp_path):
    sizes = {}
    for method in ("recadam", "mtl"):
        make = trainer_of if method == "recadam" else partial(tiny.trainer, method=method, tasks_per_step=2)
        tiny.train(make(tmp_path / method, save_strategy="steps", max_steps=2))
        files = (tmp_path / method / "checkpoint-2").glob("*")
        sizes[method] = {path.name: path.stat().st_size for path in files}
    assert sizes["recadam"].keys() == sizes["mtl"].keys()
    # θ* would be another 30 KiB.
    assert sizes["recadam"]["optimizer.pt"] <= sizes["mtl"]["optimizer.pt"] + 512


def test_training_again_begins_with_the_first_step(tmp_path):
    trainer = tiny.train(trainer_of(tmp_path, max_steps=5))
    trainer.train()
    assert [group["steps"] for group in trainer.optimizer.param_groups] == [5, 5]


def test_the_fingerprint_sees_every_bit_and_name():
    tensors = {"a": torch.zeros(3), "b": torch.tensor(1.0), "c": torch.ones(2, 2, dtype=torch.bfloat16)}
    prints = {
        fingerprint(tensors),
        fingerprint(tensors | {"a": -torch.zeros(3)}),
        fingerprint(tensors | {"b": torch.tensor(1.0).nextafter(torch.tensor(2.0))}),
        fingerprint(tensors | {"c": torch.ones(4, dtype=torch.bfloat16)}),
        fingerprint({name.upper(): value for name, value in tensors.items()}),
    }
    assert len(prints) == 5
    assert fingerprint({name: value.clone() for name, value in tensors.items()}) in prints
    assert fingerprint(tensors | {"c": torch.ones(2, 2, dtype=torch.bfloat16).T}) in prints


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"learning_rate": 1e-3, "recadam_gamma": 5000.0, "recadam_t0": 250.0},
            "Lower --recadam_gamma to 1000 or --learning_rate to 0.0002",
        ),
        ({"learning_rate": 0.021, "recadam_gamma": 100.0, "recadam_t0": 99.0}, "--learning_rate 0.021 is too large"),
        ({"optim": "sgd"}, "--optim sgd has no effect with --method recadam.*remove it"),
        ({"init": {"optimizers": (torch.optim.SGD([torch.zeros(1)]), None)}}, "makes its own optimizer.*`optimizers`"),
        ({"of_model": "lora"}, "does not support adapters"),
        ({"recadam_k": 0.0}, r"--recadam_k \(k\) is 0.0; it must be above 0"),
    ],
)
def test_what_cannot_work_is_refused_before_training(tmp_path, changes, message):
    if changes.get("of_model"):
        lora = LoraConfig(task_type="TOKEN_CLS", r=2, target_modules=["query"], init_lora_weights=True)
        changes = {"of_model": get_peft_model(tiny.model(), lora)}
    with pytest.raises(InputError, match=message):
        trainer_of(tmp_path, **changes)


@given(st.floats(1e-5, 1e-1), st.floats(2.001, 1e3), st.floats(0.05, 2), st.floats(-5, 300))
def test_what_the_refusal_proposes_is_accepted(lr, pull, k, t0):
    gamma = pull / (lr * (1 - annealing(1, k, t0)))
    settings_ = {"method": "recadam", "recadam_k": k, "recadam_t0": t0}
    with pytest.raises(InputError) as refusal:
        RecAdamTrainer.check_arguments(tiny.arguments("x", learning_rate=lr, recadam_gamma=gamma, **settings_))
    proposed = re.findall(r"--(\w+) to (\S+[0-9])", str(refusal.value))
    assert [name for name, _ in proposed] == ["recadam_gamma", "learning_rate"]
    for name, value in proposed:
        changed = {"learning_rate": lr, "recadam_gamma": gamma, name: float(value)}
        RecAdamTrainer.check_arguments(tiny.arguments("x", **changed, **settings_))


def test_the_default_rates_and_those_of_a_short_run_are_accepted():
    for lr in (3e-5, 3e-4):
        RecAdamTrainer.check_arguments(tiny.arguments("x", method="recadam", learning_rate=lr))


def test_a_pull_that_is_gone_by_the_first_step_is_not_refused():
    RecAdamTrainer.check_arguments(
        tiny.arguments("x", method="recadam", learning_rate=1e-2, recadam_gamma=5e3, recadam_t0=-100.0)
    )


def test_a_parameter_that_was_frozen_when_theta_star_was_taken_is_refused(tmp_path):
    model = tiny.model()
    model.bert.embeddings.requires_grad_(False)
    trainer = trainer_of(tmp_path, of_model=model)
    model.bert.embeddings.requires_grad_(True)
    with pytest.raises(InputError, match="set requires_grad before making the trainer"):
        trainer.train()


def test_the_plan_shows_lambda_and_the_memory(tmp_path, capsys):
    tiny.train(trainer_of(tmp_path, max_steps=3))
    plan = capsys.readouterr().out
    assert "λ = 0.076 at the first optimizer step, 0.5 at t0 = 6, 0.18 at the last" in plan
    assert "warning: λ ends at 0.18" in plan
    assert "extra memory: θ*, 0 MiB on cpu" in plan


def test_the_trap_of_a_short_run_is_a_warning():
    (warning,) = [note for note in annealing_notes(112, 0.5, 250) if "warning" in note]
    assert "λ ends at 1.1e-30" in warning
    assert "--recadam_t0 28 ends at 1 " in warning
    assert not any("warning" in note for note in annealing_notes(1000, 0.5, 250))


@given(st.integers(1, 10**5), st.floats(0.01, 5), st.floats(-100, 10**5))
def test_the_proposed_t0_needs_no_warning(steps, k, t0):
    warnings = [note for note in annealing_notes(steps, k, t0) if "warning" in note]
    assert bool(warnings) == (annealing(steps, k, t0) < 0.9)
    for warning in warnings:
        proposed = int(warning.split("--recadam_t0 ")[1].split()[0])
        assert not any("warning" in note for note in annealing_notes(steps, k, proposed))
