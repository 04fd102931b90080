"""A process's optimizer state on disk."""

import copy

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW
from transformers import Adafactor

from hf_seqreptile.methods.optimizer_state import load_optimizer_state, save_optimizer_state


def step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    torch.manual_seed(seed)
    model(torch.randn(4, 3).to(model[0].weight)).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()


@pytest.mark.parametrize(
    ("optimizer_class", "settings"),
    [(AdamW, {"amsgrad": True}), (SGD, {"momentum": 0.9}), (SGD, {}), (Adafactor, {"relative_step": False})],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_loaded_is_what_torch_would_have_loaded(tmp_path, optimizer_class, settings, dtype):
    """Adafactor's state has numbers beside tensors, SGD's may have neither."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2)).to(dtype)
    optimizer = optimizer_class(model.parameters(), lr=0.1, **settings)
    for seed in range(3):
        step(model, optimizer, seed)
    save_optimizer_state(optimizer, tmp_path / "new", process=3)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["optimizer_3.safetensors"]

    ours, torchs = copy.deepcopy(model), copy.deepcopy(model)
    for twin in (ours, torchs):
        restored = optimizer_class(twin.parameters(), lr=0.1, **settings)
        if twin is ours:
            load_optimizer_state(restored, tmp_path / "new", process=3)
        else:
            restored.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        step(twin, restored, 4)
    for one, other in zip(ours.parameters(), torchs.parameters(), strict=True):
        assert torch.equal(one, other)


def test_an_optimizer_that_has_made_no_step_has_no_state(tmp_path):
    model = nn.Sequential(nn.Linear(3, 2))
    optimizer = AdamW(model.parameters())
    save_optimizer_state(optimizer, tmp_path, process=1)
    step(model, optimizer, 0)
    load_optimizer_state(optimizer, tmp_path, process=1)
    assert not optimizer.state


def test_tensors_that_parameters_share_are_saved(tmp_path):
    """As the tables of 8-bit optimizers are; safetensors would refuse them."""
    model = nn.Sequential(nn.Linear(3, 2))
    optimizer = AdamW(model.parameters())
    step(model, optimizer, 0)
    table = torch.arange(4.0)
    for state in optimizer.state.values():
        state["table"] = table
    save_optimizer_state(optimizer, tmp_path, process=1)
    load_optimizer_state(optimizer, tmp_path, process=1)
    assert all(torch.equal(state["table"], table) for state in optimizer.state.values())
