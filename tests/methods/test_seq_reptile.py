"""Sequential Reptile: against Algorithm 1 written out, against Lookahead, and its place in the stock loop."""

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytorch_optimizer import Lookahead
from safetensors.torch import load_file
from transformers import EarlyStoppingCallback, TrainerCallback

from hf_seqreptile import InputError
from hf_seqreptile.training.plan import reach_notes
from tests import tiny


def batches_of(trainer, steps):
    """The draws that training will see, each a list of micro-batches without the task's name."""
    per_draw = trainer.args.gradient_accumulation_steps
    loader = trainer.get_train_dataloader()
    flat = []
    for epoch in range(100):
        trainer._sampler.set_epoch(epoch)
        flat += [{k: v for k, v in batch.items() if k not in ("task", "labels_in_batch")} for batch in loader]
        if len(flat) >= steps * per_draw:
            return [flat[i : i + per_draw] for i in range(0, steps * per_draw, per_draw)]
    raise AssertionError("the loader never gave enough batches")


def backward(model, micro_batches):
    """Gradient of the mean loss over all labels of a draw."""
    losses = [model(**b).loss * (b["labels"] != -100).sum() for b in micro_batches]
    (sum(losses) / sum((b["labels"] != -100).sum() for b in micro_batches)).backward()


@pytest.mark.parametrize(("steps", "trajectory", "eta"), [(12, 4, 0.5), (10, 4, 0.1), (7, 7, 0.3), (3, 1, 1.0)])
def test_sgd_ends_where_algorithm_1_ends(tmp_path, steps, trajectory, eta):
    """Lines 2 to 10 of Algorithm 1; the rest of the steps, fewer than K, make a last outer update."""
    trainer = tiny.trainer(
        tmp_path, dropout=0.0, optim="sgd", lr_scheduler_type="constant", max_grad_norm=0.0, learning_rate=0.1,
        max_steps=steps, inner_steps=trajectory, outer_learning_rate=eta,
    )  # fmt: skip
    draws = batches_of(trainer, steps)

    model = tiny.model(dropout=0.0)
    phi = tiny.weights(model)
    for start in range(0, steps, trajectory):
        theta = dict(model.named_parameters())
        for draw in draws[start : start + trajectory]:
            model.zero_grad()
            backward(model, draw)
            with torch.no_grad():
                for p in theta.values():
                    if p.grad is not None:
                        p -= 0.1 * p.grad
        with torch.no_grad():
            for name in phi:
                phi[name] = phi[name] - eta * (phi[name] - theta[name])
                theta[name].copy_(phi[name])

    trainer.train()
    assert tiny.largest_difference(tiny.weights(trainer.model), phi) < 1e-6
    assert trainer.outer_updates == -(-steps // trajectory)


@pytest.mark.parametrize("accumulation", [1, 4])
def test_adamw_ends_where_lookahead_ends(tmp_path, accumulation):
    """Law 3."""
    trainer = tiny.trainer(
        tmp_path, dropout=0.0, lr_scheduler_type="constant", learning_rate=1e-3, weight_decay=0.01, max_steps=21,
        inner_steps=7, outer_learning_rate=0.3, gradient_accumulation_steps=accumulation, max_grad_norm=1.0,
    )  # fmt: skip
    model = tiny.model(dropout=0.0)
    trainer.create_optimizer()
    decayed = trainer.get_decay_parameter_names(trainer.model)
    groups = [
        {"params": [p for n, p in model.named_parameters() if n in decayed], "weight_decay": 0.01},
        {"params": [p for n, p in model.named_parameters() if n not in decayed], "weight_decay": 0.0},
    ]
    optimizer = Lookahead(torch.optim.AdamW(groups, lr=1e-3), k=7, alpha=0.3)
    for draw in batches_of(trainer, 21):
        optimizer.zero_grad()
        backward(model, draw)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    trainer.train()
    assert tiny.largest_difference(tiny.weights(trainer.model), tiny.weights(model)) < 1e-6


def test_an_outer_learning_rate_of_one_is_mtl_with_one_task_a_step(tmp_path):
    reptile = tiny.trainer(tmp_path, outer_learning_rate=1.0, inner_steps=4)
    mtl = tiny.trainer(tmp_path, method="mtl", tasks_per_step=1)
    for trainer in (reptile, mtl):
        tiny.train(trainer)
    tiny.assert_equal(tiny.weights(reptile.model), tiny.weights(mtl.model))


def test_resetting_the_optimizer_forgets_its_moments(tmp_path):
    kept, reset = (
        tiny.trainer(tmp_path, inner_optimizer_state=state, max_steps=8, inner_steps=4) for state in ("keep", "reset")
    )
    for trainer in (kept, reset):
        tiny.train(trainer)
    assert kept.optimizer.state and not reset.optimizer.state
    assert tiny.largest_difference(tiny.weights(kept.model), tiny.weights(reset.model)) > 1e-4


def test_in_a_trajectory_evaluation_prediction_and_saving_see_phi(tmp_path):
    """Law 1. With K of 100 no outer update comes before the end: until then φ is the start."""
    start = tiny.weights(tiny.model())
    seen = []

    class Watching(type(tiny.trainer(tmp_path))):
        def evaluation_loop(self, *args, **kwargs):
            seen.append(tiny.weights(self.model))
            return super().evaluation_loop(*args, **kwargs)

    trainer = tiny.trainer(
        tmp_path, trainer_class=Watching, max_steps=100, inner_steps=100, save_strategy="steps", save_steps=40,
        eval_strategy="steps", eval_steps=40, init={"eval_dataset": {"de": tiny.task(8, 5), "nl": tiny.task(8, 6)}},
    )  # fmt: skip
    trainer.train()
    tiny.assert_equal(seen[0], start)
    tiny.assert_equal(load_file(tmp_path / "checkpoint-40" / "model.safetensors"), start)
    final = tiny.weights(trainer.model)
    assert tiny.largest_difference(final, start) > 1e-3
    tiny.assert_equal(seen[-1], final)
    tiny.assert_equal(load_file(tmp_path / "checkpoint-100" / "model.safetensors"), final)


def test_the_best_model_is_the_best_phi(tmp_path):
    scores = iter([0.5, 0.9, 0.1])
    trainer = tiny.trainer(
        tmp_path, max_steps=12, inner_steps=4, save_strategy="steps", save_steps=4, eval_strategy="steps",
        eval_steps=4, load_best_model_at_end=True, metric_for_best_model="score", greater_is_better=True,
        init={"eval_dataset": {"de": tiny.task(4, 5)}, "compute_metrics": lambda prediction: {"score": next(scores)}},
    )  # fmt: skip
    trainer.train()
    assert trainer.state.best_model_checkpoint.endswith("checkpoint-8")
    tiny.assert_equal(tiny.weights(trainer.model), load_file(tmp_path / "checkpoint-8" / "model.safetensors"))


def test_an_unchanged_phi_is_not_evaluated_again_and_costs_no_patience(tmp_path):
    """Evaluated every 2 steps with K = 6, early stopping with a patience of 2 would stop at step 6."""
    evaluations = []

    def compute_metrics(prediction):
        evaluations.append(None)
        return {"score": float(len(evaluations))}

    trainer = tiny.trainer(
        tmp_path, max_steps=18, inner_steps=6, eval_strategy="steps", eval_steps=2, save_strategy="steps",
        save_steps=2, load_best_model_at_end=True, metric_for_best_model="score", greater_is_better=True,
        init={
            "eval_dataset": {"de": tiny.task(4, 5)}, "compute_metrics": compute_metrics,
            "callbacks": [EarlyStoppingCallback(early_stopping_patience=2)],
        },
    )  # fmt: skip
    trainer.train()
    assert trainer.state.global_step == 18
    assert len(evaluations) == 1 + 3


def test_early_stopping_folds_the_unfinished_trajectory_in(tmp_path):
    trainer = tiny.trainer(
        tmp_path, max_steps=100, inner_steps=4, eval_strategy="steps", eval_steps=6, save_strategy="steps",
        save_steps=6, metric_for_best_model="score", greater_is_better=True,
        init={
            "eval_dataset": {"de": tiny.task(4, 5)}, "compute_metrics": lambda prediction: {"score": 0.0},
            "callbacks": [EarlyStoppingCallback(early_stopping_patience=2)],
        },
    )  # fmt: skip
    trainer.train()
    assert trainer.state.global_step == 18
    assert trainer.outer_updates == 5
    before_fold = load_file(tmp_path / "checkpoint-18" / "model.safetensors")
    theta = load_file(tmp_path / "checkpoint-18" / "trajectory.safetensors")
    for name, value in tiny.weights(trainer.model).items():
        expected = before_fold[name] + 0.5 * (theta[f"fast.{name}"] - before_fold[name])
        torch.testing.assert_close(value, expected)


def test_phi_may_be_kept_elsewhere(tmp_path):
    beside, on_cpu = tiny.trainer(tmp_path), tiny.trainer(tmp_path, slow_weights_device="cpu")
    for trainer in (beside, on_cpu):
        tiny.train(trainer)
    tiny.assert_equal(tiny.weights(beside.model), tiny.weights(on_cpu.model))


def test_the_plan_tells_what_will_happen(tmp_path, capsys):
    tiny.trainer(tmp_path).train()
    plan = capsys.readouterr().out
    for part in ("12 drawn batches", "outer updates: n = 3 of K = 4", "reach: η·S = 0.5 × 12 = 6", "extra memory: φ"):
        assert part in plan


def warnings(*settings):
    return [note for note in reach_notes(*settings) if "warning" in note]


def test_a_small_reach_is_a_warning_that_proposes_what_was_measured():
    reach, updates = warnings(900, 300, 0.1)
    assert (
        ". --max_steps 5000 brings it to 500; of the short runs" in reach and "learning_rate 0.5 lost least" in reach
    )
    assert updates.startswith("warning: n = 3 outer updates are few") and "--inner_steps 90 makes 10 (" in updates
    assert not warnings(15_000, 1000, 0.1)
    # The learning rate is the user's to choose.
    assert not any("--learning_rate" in note for note in [reach, updates])


def test_few_outer_updates_are_warned_of_at_any_reach():
    (warning,) = warnings(15_000, 7500, 0.1)
    assert "n = 2 outer updates are few" in warning and "--inner_steps 1500 makes 10 (" in warning
    assert not warnings(15_000, 1500, 0.1)


@given(st.integers(1, 4999), st.floats(0.01, 1))
def test_what_is_said_to_bring_the_reach_does(inner_steps, outer_learning_rate):
    for warning in [note for note in warnings(inner_steps, 1, outer_learning_rate) if "reach is small" in note]:
        enough = warning.partition(" brings it to 500")[0]
        proposed = dict(re.findall(r"--(\w+) (\S+)", enough))
        assert not warnings(int(proposed["max_steps"]), 1, outer_learning_rate)
        if "outer_learning_rate" in proposed:
            assert "reach is small" not in str(warnings(inner_steps, 1, float(proposed["outer_learning_rate"])))


@given(st.integers(20, 9999), st.integers(1, 9999))
def test_what_is_said_to_make_more_outer_updates_does(inner_steps, trajectory):
    for warning in [note for note in warnings(inner_steps, trajectory, 1.0) if "are few" in note]:
        shorter, number = re.search(r"--inner_steps (\d+) makes (\d+)", warning).groups()
        assert -(-inner_steps // int(shorter)) == int(number) >= 10


@pytest.mark.parametrize(
    ("inner_steps", "reach"), [(4, "0.1 × 4 = 0.4"), (45, "= 4.5"), (1234, "= 123"), (123_456, "123,456 = 12,346")]
)
def test_the_reach_has_three_digits(inner_steps, reach):
    assert reach_notes(inner_steps, 1, 0.1)[1].endswith(reach)


def test_too_few_steps_are_refused_with_a_number_that_works(tmp_path):
    with pytest.raises(InputError, match=r"Raise --max_steps or --num_train_epochs\.$"):
        tiny.trainer(tmp_path, inner_steps=1000).train()


def test_callbacks_that_hear_of_a_save_see_phi(tmp_path):
    """As one that writes an adapter does, in the middle of a trajectory."""
    seen = {}

    class Sees(TrainerCallback):
        def on_save(self, args, state, control, model=None, **kwargs):
            seen[state.global_step] = tiny.weights(model)

    trainer = tiny.trainer(tmp_path, save_strategy="steps", save_steps=3, max_steps=9, inner_steps=4)
    trainer.add_callback(Sees())
    tiny.train(trainer)
    assert sorted(seen) == [3, 6, 9]
    for step, weights in seen.items():
        saved = load_file(tmp_path / f"checkpoint-{step}" / "model.safetensors")
        tiny.assert_equal(weights, {name: saved[name] for name in weights})
    plain = tiny.train(tiny.trainer(tmp_path / "plain", max_steps=9, inner_steps=4))
    tiny.assert_equal(tiny.weights(trainer.model), tiny.weights(plain.model))


def test_what_is_unfrozen_while_training_gets_its_outer_updates(tmp_path):
    """Gradual unfreezing, with an optimizer that holds all parameters; then as if it had never been frozen."""

    class Unfreeze(TrainerCallback):
        def on_step_begin(self, args, state, control, model=None, **kwargs):
            model.bert.requires_grad_(state.global_step >= 4)

    changes = {"max_steps": 12, "inner_steps": 4, "lr_scheduler_type": "constant"}
    ends = []
    for is_frozen_before in (True, False):
        model = tiny.model()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
        model.bert.requires_grad_(not is_frozen_before)
        trainer = tiny.trainer(
            tmp_path / str(is_frozen_before), of_model=model, dropout=0.0, init={"optimizers": (optimizer, scheduler)},
            **changes,
        )  # fmt: skip
        trainer.add_callback(Unfreeze())
        trainer.train()
        ends.append(tiny.weights(trainer.model))
    start = tiny.weights(tiny.model())
    tiny.assert_equal(*ends)
    assert any((ends[0][name] != start[name]).any() for name in start if name.startswith("bert."))


def test_parameters_that_come_into_the_optimizer_while_training_are_refused(tmp_path):
    class Adds(TrainerCallback):
        def on_step_begin(self, args, state, control, model=None, optimizer=None, **kwargs):
            if state.global_step == 3:
                model.bert.requires_grad_(True)
                optimizer.add_param_group({"params": list(model.bert.parameters())})

    model = tiny.model()
    model.bert.requires_grad_(False)
    trainer = tiny.trainer(tmp_path, of_model=model)
    trainer.add_callback(Adds())
    with pytest.raises(InputError, match="Parameters were added to the optimizer while it trained, and φ has no"):
        trainer.train()
