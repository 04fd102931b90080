"""What data and models consist of, as short texts that differ where they do."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

ROWS_AT_ONCE = 1000


def digest(*parts: Any) -> str:
    """A SHA-256 over values that JSON can write."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def dataset_digest(dataset: Dataset) -> str:
    """A SHA-256 over columns, types and all rows, however the dataset was put together."""
    sha = hashlib.sha256(repr(dataset.features).encode())
    for table in tables(dataset):
        # Built anew row by row: the bytes of a slice tell where it was cut from.
        for batch in table.combine_chunks().take(np.arange(len(table))).to_batches():
            sha.update(batch.serialize())
    return sha.hexdigest()


def tables(dataset: Dataset) -> Iterator[Any]:
    """The rows as Arrow tables, a thousand or fewer at once."""
    return dataset.with_format("arrow").iter(batch_size=ROWS_AT_ONCE)


def model_digest(model: PreTrainedModel) -> str:
    """A SHA-256 over an encoder's class, configuration and weights."""
    config = {k: v for k, v in model.config.to_dict().items() if k not in ("_name_or_path", "transformers_version")}
    sha = hashlib.sha256(json.dumps([type(model).__name__, config], sort_keys=True, default=str).encode())
    for name, tensor in model.state_dict().items():
        # Many checkpoints lack a pooler, which then is random; it comes after the last hidden states.
        if name.startswith("pooler."):
            continue
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return sha.hexdigest()


def fingerprint(tensors: Mapping[str, torch.Tensor]) -> str:
    """16 hexadecimal digits that change with any name, type or bit of `tensors`; some 0.3 s for 100M numbers.

    Sharded tensors are gathered one after another, so all processes must call this together.
    """
    blake = hashlib.blake2b(digest_size=8)
    for name, tensor in tensors.items():
        tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        blake.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        blake.update(tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return blake.hexdigest()
