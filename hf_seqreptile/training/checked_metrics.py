"""Metrics that a user's function computes, as logs and files can hold them."""

import json
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import numpy as np
import torch
from transformers.trainer_utils import denumpify_detensorize

from ..errors import InputError


def checked(compute: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    """`compute`, whose metrics are numbers, text, or lists and dicts of them, as files and logs need them.

    Raises:
        InputError: when called, and it returned something else.
    """

    @wraps(compute)
    def computed(*args: Any, **kwargs: Any) -> dict[str, Any]:
        metrics = compute(*args, **kwargs)
        if kwargs.get("compute_result") is False:
            # With `batch_eval_metrics`, of the last batch alone there is a result.
            return metrics
        name = getattr(compute, "__name__", "compute_metrics")
        if not isinstance(metrics, Mapping) or not all(isinstance(key, str) for key in metrics):
            raise InputError(f"{name} returned {metrics!r}; it must return a dict of metrics by their names.")
        plain = denumpify_detensorize({key: _as_lists(value) for key, value in metrics.items()})
        for key, value in plain.items():
            try:
                json.dumps(value)
            except (TypeError, ValueError) as error:
                raise InputError(
                    f"{name} returned a {type(value).__name__} for {key!r}, which no file of results can hold; "
                    f"return a number, or text, lists or dicts."
                ) from error
        return plain

    return computed


def _as_lists(value: Any) -> Any:
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        return value.item()
    if isinstance(value, np.ndarray | torch.Tensor):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: _as_lists(item) for key, item in value.items()}
    return [_as_lists(item) for item in value] if isinstance(value, list | tuple) else value
