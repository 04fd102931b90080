"""Options of the stock trainer that meet the methods: they work, or are refused by name."""

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file

from tests import tiny

METHODS = pytest.mark.parametrize("method", ["seq_reptile", "mtl"])


@METHODS
def test_bf16(tmp_path, method):
    trainer = tiny.train(tiny.trainer(tmp_path, method=method, bf16=True, learning_rate=1e-3))
    assert all(p.dtype == torch.float32 for p in trainer.model.parameters())
    plain = tiny.train(tiny.trainer(tmp_path, method=method, learning_rate=1e-3))
    assert 0 < tiny.largest_difference(tiny.weights(trainer.model), tiny.weights(plain.model)) < 0.02


@METHODS
def test_a_model_in_bf16(tmp_path, method):
    trainer = tiny.trainer(tmp_path, of_model=tiny.model().to(torch.bfloat16), method=method)
    start = tiny.weights(trainer.model)
    tiny.train(trainer)
    assert all(p.dtype == torch.bfloat16 for p in trainer.model.parameters())
    assert tiny.largest_difference(tiny.weights(trainer.model), start) > 0


@METHODS
def test_save_total_limit(tmp_path, method):
    tiny.train(tiny.trainer(tmp_path, method=method, save_strategy="steps", save_steps=2, save_total_limit=2))
    assert sorted(p.name for p in tmp_path.glob("checkpoint-*")) == ["checkpoint-10", "checkpoint-12"]


@METHODS
def test_max_steps_and_epochs(tmp_path, method):
    by_steps = tiny.train(tiny.trainer(tmp_path, method=method, max_steps=5, num_train_epochs=50))
    assert by_steps.state.global_step == 5
    by_epochs = tiny.train(tiny.trainer(tmp_path, method=method, max_steps=-1, num_train_epochs=0.5))
    assert by_epochs.state.global_step == {"seq_reptile": 14, "mtl": 2}[method]


@METHODS
def test_activation_checkpointing_changes_nothing(tmp_path, method):
    with_it, without = (
        tiny.train(tiny.trainer(tmp_path, method=method, activation_checkpointing=on)) for on in (True, False)
    )
    assert tiny.largest_difference(tiny.weights(with_it.model), tiny.weights(without.model)) < 1e-6


@METHODS
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


def lora() -> PeftModel:
    config = LoraConfig(task_type="TOKEN_CLS", r=2, target_modules=["query", "value"], init_lora_weights=True)
    torch.manual_seed(0)
    return get_peft_model(tiny.model(), config)


@METHODS
def test_lora_trains_and_saves_the_adapter_alone(tmp_path, method):
    trainer = tiny.trainer(tmp_path, of_model=lora(), method=method, save_strategy="steps", save_steps=3, max_steps=7)
    start = tiny.weights(trainer.model)
    tiny.train(trainer)
    end = tiny.weights(trainer.model)
    moved = {name for name in start if not torch.equal(start[name], end[name])}
    assert moved and all("lora_" in name or "modules_to_save" in name for name in moved)
    trainer.save_model()
    restored = PeftModel.from_pretrained(tiny.model(), tmp_path)
    tiny.assert_equal(tiny.weights(restored), end)
    if method == "seq_reptile":
        assert trainer.slow_weights.memory == 4 * sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
        theta = load_file(tmp_path / "checkpoint-3" / "trajectory.safetensors")
        assert {name.removeprefix("fast.") for name in theta} == moved


@METHODS
def test_a_lora_run_resumes_bit_for_bit(tmp_path, method):
    changes = {"method": method, "save_strategy": "steps", "save_steps": 3, "max_steps": 9}
    whole = tiny.train(tiny.trainer(tmp_path, of_model=lora(), **changes))
    resumed = tiny.train(
        tiny.trainer(tmp_path, of_model=lora(), **changes), resume_from_checkpoint=str(tmp_path / "checkpoint-3")
    )
    tiny.assert_equal(tiny.weights(whole.model), tiny.weights(resumed.model))


@METHODS
def test_the_same_seed_gives_the_same_run(tmp_path, method):
    """Law 7."""
    runs = [tiny.train(tiny.trainer(tmp_path, method=method, seed=seed)) for seed in (1, 1, 2)]
    tiny.assert_equal(tiny.weights(runs[0].model), tiny.weights(runs[1].model))
    assert tiny.largest_difference(tiny.weights(runs[0].model), tiny.weights(runs[2].model)) > 0


@METHODS
@pytest.mark.parametrize("workers", [2])
def test_loader_processes_change_nothing(tmp_path, method, workers):
    alone = tiny.train(tiny.trainer(tmp_path, method=method))
    helped = tiny.train(tiny.trainer(tmp_path, method=method, dataloader_num_workers=workers))
    tiny.assert_equal(tiny.weights(alone.model), tiny.weights(helped.model))
