"""One process's optimizer state on disk, where it differs from the main process's."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

Optimizer = Any
"""A torch optimizer, or accelerate's wrapper of one."""


def save_optimizer_state(optimizer: Optimizer, folder: Path, process: int) -> None:
    """Write the state of `optimizer` into `folder`, which other processes write into as well."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors, others = {}, {}
    for number, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            key = f"{number}.{name}"
            if isinstance(value, torch.Tensor):
                # A copy: optimizers may share a tensor between parameters, and the file's format does not.
                tensors[key] = value.to("cpu", copy=True).contiguous()
            else:
                others[key] = value
    save_file(tensors, _path(folder, process), metadata={"others": json.dumps(others)})


def load_optimizer_state(optimizer: Optimizer, folder: Path, process: int) -> None:
    """Restore what [`save_optimizer_state`] wrote."""
    state: dict[int, dict[str, Any]] = {}
    with safe_open(_path(folder, process), framework="pt") as file:
        names = file.keys()
        values = {name: file.get_tensor(name) for name in names} | json.loads(file.metadata()["others"])
    for key, value in values.items():
        number, name = key.split(".", 1)
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})


def _path(folder: Path, process: int) -> Path:
    return folder / f"optimizer_{process}.safetensors"
