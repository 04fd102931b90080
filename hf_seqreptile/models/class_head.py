"""The last layer of a classifier: which of its rows goes with which label."""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from ..errors import InputError

logger = logging.getLogger(__name__)

_NO_NAME = re.compile(r"(?:LABEL_)?\d+")
NEVER = -1e4
"""The logit of a class that is not to be predicted; finite, so that losses are."""

Load = Callable[[PreTrainedConfig], tuple[PreTrainedModel, Mapping[str, Any]]]
"""A model made as its configuration says, and what `from_pretrained` tells of loading it."""


def label_names(config: PreTrainedConfig) -> list[str]:
    """The names of a model's classes, in the order of their ids."""
    return [label for _, label in sorted((config.id2label or {}).items())]


def load_with_labels(
    load: Load, config: PreTrainedConfig, labels: Sequence[str], path: str, will_train: bool, may_resize: bool
) -> PreTrainedModel:
    """The model with the classes `labels`; one that was trained on some of them keeps their rows, by name.

    Names match whatever their case and the spaces around them, and are then spelled as in `labels`. A model that has
    all of these labels, and perhaps more, keeps its own in its own order, as does any that will not be trained. Of one
    whose labels are numbers (`LABEL_0`), the order of `labels` tells the names.

    Args:
        load: loads the model.
        config: of the model, which has its own labels; is given its new ones.
        labels: of the data; none where it has none.
        path: of the model, for messages.
        will_train: whether the head can still learn other labels.
        may_resize: whether it may have another number of rows than before.

    Raises:
        InputError: it needs another number of rows, and may not.
    """
    own = label_names(config)
    rows = _rows(own, labels)
    if labels and all(row is None for row in rows) and all(_NO_NAME.fullmatch(label) for label in own):
        _set_labels(config, labels)
        model, loading = load(config)
        if not _is_new(_head_name(model), loading):
            names = ", ".join(labels)
            logger.warning("The classes of %s have no names; they are taken for %s, in this order.", path, names)
        return model
    if None not in rows or not will_train:
        spelled = dict(zip(rows, labels, strict=True))
        _set_labels(config, [spelled.get(row, label) for row, label in enumerate(own)])
        return load(config)[0]
    random = torch.get_rng_state()
    model, loading = load(config)
    name = _head_name(model)
    if _is_new(name, loading):
        # Without rows to keep: a new head is drawn as if this were the first time that the model is loaded.
        torch.set_rng_state(random)
        _set_labels(config, labels)
        return load(config)[0]
    kept = [label for label, row in zip(labels, rows, strict=True) if row is not None]
    new = [label for label, row in zip(labels, rows, strict=True) if row is None]
    left = [label for row, label in enumerate(own) if row not in rows]
    told = f"{path} does not know {', '.join(new)}" + (f", and the data has no {', '.join(left)}" if left else "")
    if name is None:
        raise InputError(
            f"{told}; of its kind of head no rows can be kept. Give the pretrained encoder that it was made of."
        )
    if len(labels) != len(own) and not may_resize:
        raise InputError(
            f"{told}. The head of {path} has another size than these labels need; add --ignore_mismatched_sizes to "
            f"start with a new head, which keeps the rows of {', '.join(kept) or 'none'}."
        )
    logger.warning("%s. Its head keeps the rows of %s; all others are new.", told, ", ".join(kept) or "none")
    _replace_rows(model, name, labels, rows)
    return model


def add_unpredicted(model: PreTrainedModel, labels: Sequence[str]) -> None:
    """Give the model classes that it never predicts, so that data which has them can be scored."""
    if not labels:
        return
    own = label_names(model.config)
    name, names = _head_name(model), ", ".join(labels)
    if name is None:
        raise InputError(f"The model does not know {names}, and its head is of a kind that takes no more labels.")
    head = _replace_rows(model, name, [*own, *labels], [*range(len(own)), *[None] * len(labels)], has_bias=True)
    with torch.no_grad():
        head.weight[len(own) :] = 0
        head.bias[len(own) :] = NEVER
    logger.warning("The model does not know %s, and never predicts it: where the data has it, it is wrong.", names)


def _set_labels(config: PreTrainedConfig, labels: Sequence[str]) -> None:
    config.label2id = {label: i for i, label in enumerate(labels)}
    config.id2label = dict(enumerate(labels))


def _rows(own: Sequence[str], labels: Sequence[str]) -> list[int | None]:
    """The row of each label in a head for `own`; `None` where it has none."""
    by_name = {label: row for row, label in enumerate(own)}
    whatever_case = {label.strip().casefold(): row for label, row in by_name.items()}
    return [by_name.get(label, whatever_case.get(label.strip().casefold())) for label in labels]


def _head_name(model: PreTrainedModel) -> str | None:
    """The path of the last layer, which has a row for each class; `None` where there is no such layer."""
    inside = f"{model.base_model_prefix}."
    names = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and module.out_features == model.config.num_labels
        and not name.startswith(inside)
    ]
    return names[-1] if names else None


def _is_new(name: str | None, loading: Mapping[str, Any]) -> bool:
    """Whether the weights of the layer `name` were drawn, not loaded."""
    drawn = {*loading["missing_keys"], *(key for key, *_ in loading["mismatched_keys"])}
    return f"{name}.weight" in drawn


def _replace_rows(
    model: PreTrainedModel, name: str, labels: Sequence[str], rows: Sequence[int | None], has_bias: bool = False
) -> nn.Linear:
    """Give the head rows for `labels`: its own of these numbers, and new ones."""
    old = model.get_submodule(name)
    assert isinstance(old, nn.Linear)
    new = nn.Linear(old.in_features, len(labels), bias=has_bias or old.bias is not None)
    kept = [i for i, row in enumerate(rows) if row is not None]
    with torch.no_grad():
        new.weight.normal_(std=getattr(model.config, "initializer_range", 0.02))
        new.weight[kept] = old.weight[[row for row in rows if row is not None]]
        if new.bias is not None:
            new.bias.zero_()
        if old.bias is not None:
            new.bias[kept] = old.bias[[row for row in rows if row is not None]]
    model.set_submodule(name, new)
    for module in model.modules():
        if getattr(module, "num_labels", None) == old.out_features:
            module.num_labels = len(labels)  # type: ignore[assignment]
    _set_labels(model.config, labels)
    return new
