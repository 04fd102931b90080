"""What a run's checkpoints will take on the disk, for its plan."""

import math
import shutil
from typing import Any, cast

import torch
from transformers import Trainer
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from .checkpoints import ResumableMixin

ADAMS_STATES = 2.0
"""Numbers that Adam keeps for each parameter."""
PROPOSED_LIMIT = 2
"""The newest, and the one before it, to which a damaged one leaves the run."""


def checkpoint_notes(trainer: ResumableMixin, optimizer_steps: int, steps_per_epoch: int) -> list[str]:
    """The plan's line on the checkpoints, and a warning where the disk has no room for them.

    Args:
        trainer: has its model, and its optimizer or the arguments for it.
        optimizer_steps: of the whole run.
        steps_per_epoch: of these, in an epoch.
    """
    args = trainer.args
    saved = number_of_checkpoints(trainer, optimizer_steps, steps_per_epoch)
    if not saved:
        return []
    each, limit = checkpoint_bytes(trainer), args.save_total_limit or 0
    # The stock trainer never deletes the newest, nor the best that it knows.
    kept = min(saved, max(limit, 2 if args.metric_for_best_model else 1)) if limit > 0 else saved
    number = f"{saved:,} of them" if kept == saved else f"at most {kept:,} of {saved:,} kept"
    note = f"checkpoints: about {in_units(each)} each, {number}, {in_units(kept * each)} in all"
    if kept > PROPOSED_LIMIT:
        note += f"; --save_total_limit {PROPOSED_LIMIT} keeps the newest {PROPOSED_LIMIT}"
    # One more is written before an earlier one is deleted.
    most = min(saved, kept + 1) * each
    existing = next(folder for folder in (args.folder, *args.folder.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(existing).free
    if most <= free:
        return [note]
    return [note, f"warning: they need up to {in_units(most)}, and the disk of {existing} has {in_units(free)} left"]


def number_of_checkpoints(trainer: ResumableMixin, optimizer_steps: int, steps_per_epoch: int) -> int:
    """How many checkpoints a run saves, at most; what is saved on SIGTERM does not count."""
    args = trainer.args
    strategy, every = args.save_strategy, args.save_steps
    if strategy == SaveStrategy.BEST:
        # Of the evaluations, those that are better than all before them.
        strategy, every = SaveStrategy(IntervalStrategy(args.eval_strategy).value), args.eval_steps or 0
    if strategy == SaveStrategy.NO or optimizer_steps < 1:
        return 0
    if strategy == SaveStrategy.EPOCH:
        return math.ceil(optimizer_steps / steps_per_epoch)
    # Below 1 it is a part of the run; the last step saves in any case.
    return math.ceil(optimizer_steps / (every if every >= 1 else math.ceil(optimizer_steps * every)))


def checkpoint_bytes(trainer: ResumableMixin) -> int:
    """The bytes of a checkpoint's tensors, of the largest where some hold less."""
    model = trainer.model
    assert model is not None
    trained = [p for p in model.parameters() if p.requires_grad]
    of_trained = sum(p.numel() * p.element_size() for p in trained)
    # Of an adapter, the base model is not saved.
    is_adapter = hasattr(model, "peft_config")
    weights = of_trained if is_adapter else sum(p.numel() * p.element_size() for p in model.parameters())
    if trainer.args.save_only_model:
        return weights
    states = trainer.optimizers_in_checkpoint * optimizer_states(trainer)
    # Weights that the model rounds are there once more in float32.
    rounded = 4 * sum(p.numel() for p in trained if p.element_size() < 4)
    return int(weights + states * of_trained + trainer.weights_in_checkpoint * (of_trained + rounded))


def optimizer_states(trainer: Trainer) -> float:
    """Bytes that the optimizer keeps for each of a parameter's, tried on a small one; Adam's where that fails."""
    try:
        if trainer.optimizer is not None:
            optimizer = getattr(trainer.optimizer, "optimizer", trainer.optimizer)
            kind, settings = type(optimizer), optimizer.defaults
        else:
            given = trainer.optimizer_cls_and_kwargs
            kind, settings = given or trainer.get_optimizer_cls_and_kwargs(trainer.args, cast(Any, trainer.model))
        weight = torch.nn.Parameter(torch.zeros(64, 64, device=trainer.args.device))
        weight.grad = torch.zeros_like(weight)
        tried = kind([weight], **settings)
        tried.step()
        tensors = [value for value in tried.state[weight].values() if isinstance(value, torch.Tensor)]
        return sum(t.numel() * t.element_size() for t in tensors) / (weight.numel() * weight.element_size())
    except Exception:
        return ADAMS_STATES


def in_units(size: int) -> str:
    """Bytes as people read them: 479 MB."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{max(1, round(size / 1e6)):,} MB"
