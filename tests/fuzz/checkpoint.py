"""Checkpoint folders: what decides whether a run continues from one."""

import json
from pathlib import Path

import torch
from safetensors.torch import save
from torch import nn
from transformers.trainer import TRAINER_STATE_NAME

from hf_seqreptile.methods.optimizer_state import load_optimizer_state
from hf_seqreptile.methods.slow_weights import TRAJECTORY_FILE, SlowWeights
from hf_seqreptile.training.checkpoint_damage import damage_explained
from hf_seqreptile.training.checkpoints import MULTITASK_STATE_FILE, last_complete_checkpoint, read_multitask_state
from tests.fuzz.reader import Reader

STATE = {"run": {"method": "seq_reptile", "tasks": {"de": 3}}, "trajectory": {"inner_step": 2, "outer_updates": 1}}
WORDS = (b"{", b"}", b"[", b"]", b'"run": ', b"null", b"0", b"9" * 5000, b"[" * 2000, b'"\\ud800"', b"\0")


def read_state(data: bytes, folder: Path) -> None:
    """The package's own state; what is read has the run's identity."""
    (folder / TRAINER_STATE_NAME).write_text('{"global_step": 2}')
    (folder / MULTITASK_STATE_FILE).write_bytes(data)
    assert isinstance(read_multitask_state(folder)["run"], dict)


def find_last(data: bytes, folder: Path) -> None:
    """The stock trainer's state, which marks a checkpoint as complete: an incomplete one is skipped, or refused."""
    newest = folder / "checkpoint-2"
    for checkpoint in (newest, folder / "checkpoint-1"):
        checkpoint.mkdir(exist_ok=True)
        (checkpoint / TRAINER_STATE_NAME).write_text("{}")
        (checkpoint / MULTITASK_STATE_FILE).write_text(json.dumps(STATE))
    (newest / TRAINER_STATE_NAME).write_bytes(data)
    assert last_complete_checkpoint(folder) is not None
    read_multitask_state(newest)


def read_trajectory(data: bytes, folder: Path) -> None:
    """The fast weights."""
    (folder / TRAJECTORY_FILE).write_bytes(data)
    with damage_explained(folder):
        SlowWeights({"w": nn.Parameter(torch.zeros(3))}).load(folder, on_trajectory=True)


def read_optimizer(data: bytes, folder: Path) -> None:
    """One process's optimizer state."""
    (folder / "optimizer_0.safetensors").write_bytes(data)
    with damage_explained(folder):
        load_optimizer_state(torch.optim.AdamW([nn.Parameter(torch.zeros(3))]), folder, 0)


def _header(text: str) -> bytes:
    return len(text).to_bytes(8, "little") + text.encode()


TENSORS = (b'"F32"', b'"shape"', b'"data_offsets"', b"[0,12]", b"{", b"}", b"\xff" * 8, bytes(8))
STATE_READER = Reader(read_state, seeds=(json.dumps(STATE).encode(), b"[]", b'{"run": []}'), words=WORDS)
LAST = Reader(find_last, seeds=(b'{"epoch": 1.0, "global_step": 2}', b"[]", b"{}", b'{"a": 1}'), words=WORDS)
TRAJECTORY = Reader(
    read_trajectory,
    seeds=(save({"fast.w": torch.ones(3)}), save({"fast.w": torch.ones(4)}), b"\xff" * 8 + b"{}", _header("{}")),
    words=(b"fast.w", b"slow.w", *TENSORS),
)
OPTIMIZER = Reader(
    read_optimizer,
    seeds=(
        save({"0.exp_avg": torch.ones(3), "0.exp_avg_sq": torch.ones(3)}, metadata={"others": '{"0.step": 1}'}),
        save({"w": torch.ones(3)}),
    ),
    words=(b"0.exp_avg", b"others", b'{\\"0.step\\": 1}', *TENSORS),
)
