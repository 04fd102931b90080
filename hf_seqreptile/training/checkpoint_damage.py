"""Damaged checkpoints: whatever a broken or missing file raises while one is read names the checkpoint."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import Trainer

from ..errors import InputError

STOCK_STATE = ("optimizer.*", "scheduler.*", "rng_state*")
"""What the stock trainer writes into each checkpoint, and without which it goes on to another result."""


@contextmanager
def damage_explained(checkpoint: str | Path | None) -> Iterator[None]:
    """Turn whatever a damaged file raises while `checkpoint` is read, if there is one, into an InputError."""
    try:
        yield
    except (InputError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        # An OSError names its file, but that of torch for a file cut short.
        if checkpoint is None or (isinstance(error, OSError) and error.filename):
            raise
        # Each of JSON, safetensors and torch has its own, and values of another form than ours meet with any other.
        raise InputError(
            f"{checkpoint} is damaged, or of another model: {type(error).__name__}: {error}. Give its model, or an "
            f"earlier checkpoint as --resume_from_checkpoint; one that is damaged can be deleted."
        ) from error


class DamageExplainedMixin(Trainer):
    """Explains the damage where the stock trainer reads a checkpoint. Methods that read files of their own do too."""

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        with damage_explained(resume_from_checkpoint):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _init_training_state(
        self, max_steps: int, steps_per_epoch: int, epochs: int, resume_from_checkpoint: str | None, trial: Any
    ) -> tuple[int, int]:
        with damage_explained(resume_from_checkpoint):
            return super()._init_training_state(max_steps, steps_per_epoch, epochs, resume_from_checkpoint, trial)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        with damage_explained(checkpoint):
            if checkpoint is not None:
                _check_stock_state(Path(checkpoint))
            super()._load_optimizer_and_scheduler(checkpoint)

    def _load_scaler(self, checkpoint: str | None) -> None:
        with damage_explained(checkpoint):
            super()._load_scaler(checkpoint)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        with damage_explained(checkpoint):
            super()._load_rng_state(checkpoint)


def _check_stock_state(checkpoint: Path) -> None:
    for name in STOCK_STATE:
        if not any(checkpoint.glob(name)):
            raise ValueError(f"it has no {name}")
