"""Options of the stock trainer that meet the methods: they work, or are refused by name."""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import BertForTokenClassification, TrainerCallback

from hf_seqreptile import InputError
from hf_seqreptile.training.trainer import MultiTaskMixin
from tests import tiny
from tests.stock_runs import after_forward_passes, memory_for_two

KINDS = pytest.mark.parametrize("method", ["seq_reptile", "mtl", "pcgrad"])
"""A method of each kind, where the others have nothing of their own."""


def saving(method: str, **changes: Any) -> dict[str, Any]:
    """Arguments of a run that writes a checkpoint at step 12, where all methods can, and goes on for some more."""
    return {"method": method, "save_strategy": "steps", "save_steps": 12, "max_steps": 17} | changes


@pytest.mark.parametrize("method", tiny.methods("seq_reptile", "mtl", "pcgrad"))
def test_bf16(tmp_path, method):
    trainer = tiny.train(tiny.trainer(tmp_path, method=method, bf16=True, learning_rate=1e-3))
    assert all(p.dtype == torch.float32 for p in trainer.model.parameters())
    plain = tiny.train(tiny.trainer(tmp_path, method=method, learning_rate=1e-3))
    assert 0 < tiny.largest_difference(tiny.weights(trainer.model), tiny.weights(plain.model)) < 0.02


@pytest.mark.parametrize("method", tiny.methods("seq_reptile", "mtl", "pcgrad"))
def test_a_model_in_bf16(tmp_path, method):
    trainer = tiny.trainer(tmp_path, of_model=tiny.model().to(torch.bfloat16), method=method)
    start = tiny.weights(trainer.model)
    tiny.train(trainer)
    assert all(p.dtype == torch.bfloat16 for p in trainer.model.parameters())
    assert tiny.largest_difference(tiny.weights(trainer.model), start) > 0


@KINDS
def test_save_total_limit(tmp_path, method):
    tiny.train(tiny.trainer(tmp_path, **saving(method, max_steps=36, save_total_limit=2)))
    assert sorted(p.name for p in tmp_path.glob("checkpoint-*")) == ["checkpoint-24", "checkpoint-36"]


@KINDS
def test_max_steps_and_epochs(tmp_path, method):
    by_steps = tiny.train(tiny.trainer(tmp_path, method=method, max_steps=5, num_train_epochs=50))
    assert by_steps.state.global_step == 5
    by_epochs = tiny.train(tiny.trainer(tmp_path, method=method, max_steps=-1, num_train_epochs=0.5))
    draws = math.ceil(sum(by_epochs.tasks.sizes.values()) / 4)
    assert by_epochs.state.global_step == math.ceil(math.ceil(draws / by_epochs.tasks_per_step) / 2)


@KINDS
def test_activation_checkpointing_changes_nothing(tmp_path, method):
    with_it, without = (
        tiny.train(tiny.trainer(tmp_path, method=method, activation_checkpointing=on)) for on in (True, False)
    )
    assert tiny.largest_difference(tiny.weights(with_it.model), tiny.weights(without.model)) < 1e-6


@pytest.mark.parametrize("method", ["seq_reptile", "mtl", "pcgrad", "swep"])
@pytest.mark.slow
def test_torch_compile(tmp_path, method):
    compiled, plain = (
        tiny.train(
            tiny.trainer(
                tmp_path, method=method, torch_compile=on, dropout=0.0, learning_rate=1e-3,
                eval_strategy="steps", eval_steps=6, init={"eval_dataset": {"de": tiny.task(8, 5)}},
            )
        )
        for on in (True, False)
    )  # fmt: skip
    assert tiny.largest_difference(tiny.weights(compiled.model), tiny.weights(plain.model)) < 1e-3


@pytest.mark.slow
def test_swep_perturbs_a_compiled_model_after_another_was_compiled(tmp_path):
    """Of the same shapes: SWEP's batches are twice as large."""
    compiled = {"torch_compile": True, "tasks_per_step": 1, "max_steps": 3}
    for size in (8, 4):
        tiny.train(tiny.trainer(tmp_path, method="mtl", per_device_train_batch_size=size, **compiled))
    trainer = tiny.train(tiny.trainer(tmp_path, method="swep", per_device_train_batch_size=4, **compiled))
    assert trainer.state.global_step == 3


def lora() -> PeftModel:
    config = LoraConfig(task_type="TOKEN_CLS", r=2, target_modules=["query", "value"], init_lora_weights=True)
    torch.manual_seed(0)
    return get_peft_model(tiny.model(), config)


@pytest.mark.parametrize("method", tiny.methods("seq_reptile", "pcgrad", "recadam", "stl"))
def test_lora_trains_and_saves_the_adapter_alone_and_resumes_bit_for_bit(tmp_path, method):
    if method == "recadam":
        with pytest.raises(InputError, match="recadam"):
            tiny.trainer(tmp_path, of_model=lora(), method=method)
        return
    trainer = tiny.trainer(tmp_path, of_model=lora(), **saving(method))
    start = tiny.weights(trainer.model)
    tiny.train(trainer)
    end = tiny.weights(trainer.model)
    moved = {name for name in start if not torch.equal(start[name], end[name])}
    assert moved and all("lora_" in name or "modules_to_save" in name for name in moved)
    trainer.save_model()
    restored = PeftModel.from_pretrained(tiny.model(), tmp_path)
    tiny.assert_equal(tiny.weights(restored), end)

    resumed = tiny.trainer(tmp_path, of_model=lora(), **saving(method))
    tiny.train(resumed, resume_from_checkpoint=str(tmp_path / "checkpoint-12"))
    tiny.assert_equal(tiny.weights(resumed.model), end)


def test_phi_and_theta_of_a_lora_model_are_the_adapters(tmp_path):
    trainer = tiny.trainer(tmp_path, of_model=lora(), save_strategy="steps", save_steps=3, max_steps=7)
    tiny.train(trainer)
    trained = {name: p for name, p in trainer.model.named_parameters() if p.requires_grad}
    assert trainer.slow_weights.memory == 4 * sum(p.numel() for p in trained.values())
    theta = load_file(tmp_path / "checkpoint-3" / "trajectory.safetensors")
    assert {name.removeprefix("fast.") for name in theta} == set(trained)


@pytest.mark.parametrize("method", tiny.methods("stl", "torchjd:MGDA"))
def test_a_resumed_run_ends_bit_for_bit_where_the_uninterrupted_one_ends(tmp_path, method):
    """Law 4 for every method; tests/training/test_checkpoints.py and the others' own tests stop in more places."""
    whole, resumed = (tiny.trainer(tmp_path, **saving(method)) for _ in range(2))
    tiny.train(whole)
    tiny.train(resumed, resume_from_checkpoint=str(tmp_path / "checkpoint-12"))
    tiny.assert_equal(tiny.weights(resumed.model), tiny.weights(whole.model))


@pytest.mark.parametrize("method", tiny.methods("seq_reptile", "reptile", "mtl"))
def test_accumulation_gives_the_same_weights_and_the_same_loss(tmp_path, method):
    """Law 6 for every method. SWEP draws its noise for each micro-batch, so there only the first losses agree."""
    runs = []
    for batch, accumulation in ((8, 1), (2, 4)):
        trainer = tiny.trainer(
            tmp_path, dropout=0.0, method=method, per_device_train_batch_size=batch, logging_steps=1, max_steps=12,
            gradient_accumulation_steps=accumulation, learning_rate=1e-3, optim="adamw_torch",
        )  # fmt: skip
        tiny.train(trainer)
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        runs.append((tiny.weights(trainer.model), losses))
    (one, losses), (four, other_losses) = runs
    assert other_losses == pytest.approx(losses, abs=0.1 if method == "swep" else 1e-4)
    if method != "swep":
        assert tiny.largest_difference(one, four) < 1e-4


@pytest.mark.parametrize("method", tiny.methods("seq_reptile", "gradnorm"))
def test_a_finished_folder_holds_the_models_weights_alone(tmp_path, method):
    """Laws 1 and 8: nothing that a method trains beside the model is in what it publishes."""
    trainer = tiny.train(tiny.trainer(tmp_path, method=method))
    trainer.save_model()
    assert load_file(tmp_path / "model.safetensors").keys() == tiny.weights(tiny.model()).keys()
    restored = BertForTokenClassification.from_pretrained(tmp_path)
    tiny.assert_equal(tiny.weights(restored), tiny.weights(trainer.model))


@pytest.mark.parametrize("method", tiny.methods("seq_reptile", "mtl", "swep"))
def test_the_same_seed_gives_the_same_run(tmp_path, method):
    """Law 7."""
    runs = [tiny.train(tiny.trainer(tmp_path, method=method, seed=seed)) for seed in (1, 1, 2)]
    tiny.assert_equal(tiny.weights(runs[0].model), tiny.weights(runs[1].model))
    assert tiny.largest_difference(tiny.weights(runs[0].model), tiny.weights(runs[2].model)) > 0


@KINDS
@pytest.mark.parametrize("workers", [2])
def test_loader_processes_change_nothing(tmp_path, method, workers):
    alone = tiny.train(tiny.trainer(tmp_path, method=method))
    helped = tiny.train(tiny.trainer(tmp_path, method=method, dataloader_num_workers=workers))
    tiny.assert_equal(tiny.weights(alone.model), tiny.weights(helped.model))


def by_epochs(method: str, **changes: Any) -> dict[str, Any]:
    """Arguments of three epochs, with a checkpoint after each."""
    return {"method": method, "max_steps": -1, "num_train_epochs": 3, "save_strategy": "epoch"} | changes


@pytest.mark.slow
@KINDS
def test_loader_processes_that_persist_change_nothing(tmp_path, method):
    """Nor does a run with new ones that continues where an epoch ended."""
    workers = {"dataloader_num_workers": 1, "per_device_train_batch_size": 16}
    alone, helped = (
        tiny.train(tiny.trainer(tmp_path / str(on), **by_epochs(method, dataloader_persistent_workers=on, **workers)))
        for on in (False, True)
    )
    tiny.assert_equal(tiny.weights(alone.model), tiny.weights(helped.model))
    second = sorted(path.name for path in (tmp_path / "True").glob("checkpoint-*"))[1]
    continued = tiny.trainer(tmp_path / "True", **by_epochs(method, dataloader_persistent_workers=True, **workers))
    tiny.train(continued, resume_from_checkpoint=str(tmp_path / "True" / second))
    tiny.assert_equal(tiny.weights(continued.model), tiny.weights(helped.model))


@pytest.mark.parametrize("method", tiny.methods("seq_reptile", "mtl", "pcgrad"))
def test_a_batch_that_was_found_to_fit_is_that_of_the_run(tmp_path, method):
    """It ends where a run with that batch ends, also where it is continued."""
    if method == "swep":
        pytest.skip("passes batches at twice their size")
    settings = saving(method, auto_find_batch_size=True, per_device_train_batch_size=8)
    found, given, continued = (
        tiny.trainer(tmp_path / name, **changes)
        for name, changes in (
            ("found", settings),
            ("given", saving(method, per_device_train_batch_size=2)),
            ("found", settings),
        )
    )
    with memory_for_two():
        for trainer in (found, given):
            tiny.train(trainer)
        assert found._train_batch_size == 2 and found.examples_per_draw == 2
        tiny.train(continued, resume_from_checkpoint=str(tmp_path / "found" / "checkpoint-12"))
    for trainer in (found, continued):
        tiny.assert_equal(tiny.weights(trainer.model), tiny.weights(given.model))


@pytest.mark.parametrize("method", tiny.methods("seq_reptile", "mtl", "gradnorm"))
def test_a_run_begins_anew_where_a_later_batch_does_not_fit(tmp_path, method):
    """From the weights and random numbers of the start; a checkpoint of the attempt that failed leaves no trace."""
    if method == "swep":
        pytest.skip("passes batches at twice their size")
    settings = saving(method, auto_find_batch_size=True, per_device_train_batch_size=4, max_steps=24)
    given = tiny.trainer(tmp_path / "given", **saving(method, per_device_train_batch_size=3, max_steps=24))
    found, continued = (tiny.trainer(tmp_path / "found", **settings) for _ in range(2))
    draws = 14 * found.tasks_per_step
    with memory_for_fewer_rows_later(4, draws):
        tiny.train(found)
        tiny.train(given)
    assert found._train_batch_size == 3
    tiny.assert_equal(tiny.weights(found.model), tiny.weights(given.model))
    # As if it had been killed between its checkpoint and the batch that fails.
    killed = tiny.trainer(tmp_path / "killed", **settings)
    with stops_at(killed, 13), pytest.raises(KeyboardInterrupt):
        tiny.train(killed)
    continued = tiny.trainer(tmp_path / "killed", **settings)
    with memory_for_fewer_rows_later(4, draws - 12 * found.tasks_per_step):
        tiny.train(continued, resume_from_checkpoint=True)
    assert continued._train_batch_size == 3
    tiny.assert_equal(tiny.weights(continued.model), tiny.weights(given.model))


def test_a_batch_of_one_that_does_not_fit_is_said(tmp_path):
    trainer = tiny.trainer(tmp_path, auto_find_batch_size=True)
    with memory_for_fewer_rows_later(1, 0), pytest.raises(InputError, match="Not even a batch of one example fits"):
        trainer.train()


def memory_for_fewer_rows_later(rows: int, batches: int) -> contextlib.AbstractContextManager[None]:
    """Batches of so many rows or more fit into memory for some batches, and then no more."""
    passed = []

    def fail(output: Any, own: int) -> None:
        passed.append(own)
        if own >= rows and len(passed) > batches:
            raise RuntimeError("CUDA out of memory.")

    return after_forward_passes(fail)


@contextlib.contextmanager
def stops_at(trainer: MultiTaskMixin, step: int) -> Iterator[None]:
    """A run that is interrupted in front of that step."""

    class Stop(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == step:
                raise KeyboardInterrupt

    trainer.add_callback(Stop())
    yield
