"""Inner steps on the tiny tasks written out, for the reference loops of the methods with slow weights."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from datasets import Dataset
from torch import nn
from transformers import DataCollatorForTokenClassification

from hf_seqreptile.training.sampling import TaskStream
from tests import tiny

Weights = Mapping[str, torch.Tensor]
Batch = Mapping[str, torch.Tensor]


def draws_of(
    name: str,
    dataset: Dataset,
    batch_size: int = 4,
    seed: int = 42,
    collate: Callable[[list[Any]], Batch] | None = None,
) -> Callable[[int], Batch]:
    """A task's batch of each number, as trainers with these arguments take them."""
    collate = collate or DataCollatorForTokenClassification(tiny.tokenizer())
    lengths = [len(ids) for ids in dataset["input_ids"]]
    stream = TaskStream(name, len(dataset), batch_size, seed, lengths)
    return lambda number: collate([dataset[int(row)] for row in stream.draw(number)])


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    """Plain gradient descent."""
    return torch.optim.SGD(model.parameters(), lr=0.1)


def adamw(model: nn.Module, beta1: float = 0.9) -> torch.optim.Optimizer:
    """AdamW, which decays matrices other than LayerNorm's weights."""
    decayed = [p for n, p in model.named_parameters() if n.endswith("weight") and "LayerNorm" not in n]
    others = [p for n, p in model.named_parameters() if not (n.endswith("weight") and "LayerNorm" not in n)]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=1e-2, betas=(beta1, 0.999), eps=1e-5)


def trajectory(
    start: Weights, batches: Iterable[Batch], optimizer: torch.optim.Optimizer, model: nn.Module
) -> Weights:
    """θ: where a step of `optimizer` on the gradient of each batch leads, clipped to norm 1, from `start`."""
    model.load_state_dict(start, strict=False)
    for batch in batches:
        optimizer.zero_grad()
        model(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return tiny.weights(model)


def outer_update(phi: Weights, ends: list[Weights], eta: float) -> Weights:
    """φ − η mean(φ − θ) over the trajectories' ends θ."""
    return {name: phi[name] - eta * torch.stack([phi[name] - end[name] for end in ends]).mean(dim=0) for name in phi}
