"""One encoder under several heads, each of them a model of transformers."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from ..errors import InputError
from .multi_head_folder import ENCODER, HEADS_FILE, check_head_name, heads_in, replace_heads

OF_A_HEAD = ("architectures", "id2label", "label2id", "problem_type")
"""What the heads' configurations may differ in, whatever becomes of the encoder's."""


class MultiHeadModel(nn.Module):
    """One encoder, and by name the heads above it.

    A head is an `AutoModelFor…` object of transformers without an encoder of its own: it finds the common one where
    its class looks for it, but does not hold it among its modules. So parameters and `state_dict` have the encoder
    once, as `encoder.…`, and the heads as `heads.NAME_head.…`.

    Args:
        models: by head, whole models that were loaded from one encoder. They are taken apart: the common encoder is
            that of the first which has all parts (such as BERT's pooler) that any of them has.

    Raises:
        InputError: no models, a name that no folder can have, or encoders that differ.
    """

    def __init__(self, models: Mapping[str, PreTrainedModel]) -> None:
        super().__init__()
        if not models:
            raise InputError("A MultiHeadModel needs a head or more: {name: AutoModelFor….from_pretrained(…)}.")
        for name, model in models.items():
            check_head_name(name)
            if model.base_model is model:
                raise InputError(f"Head {name!r}: {type(model).__name__} is no encoder with a head above it.")
        self._keys = {name: list(model.state_dict()) for name, model in models.items()}
        donor = max(models.values(), key=lambda model: len(model.base_model.state_dict()))
        self.encoder: PreTrainedModel = getattr(donor, donor.base_model_prefix)
        for name, model in models.items():
            _check_same(name, getattr(model, model.base_model_prefix), self.encoder)
            # Models may share one, and a `forward` may write what kind of labels its first batch has into it.
            model.config = copy.deepcopy(model.config)
            del model._modules[model.base_model_prefix]
            # Found by the head, and not among its modules.
            model.__dict__[model.base_model_prefix] = self.encoder
        self.heads = nn.ModuleDict({_key(name): model for name, model in models.items()})
        self.encoder.config.problem_type, self.encoder.config.num_labels = None, 2
        self._config_before = self.encoder.config.to_dict()

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "MultiHeadModel":
        """The model that [`save_pretrained`] wrote.

        Raises:
            InputError: the folder holds none.
        """
        heads = heads_in(Path(folder))
        if heads is None:
            raise InputError(f"{folder} holds no model with several heads: it has no {HEADS_FILE}.")
        models = {}
        for name in heads:
            config = transformers.AutoConfig.from_pretrained(Path(folder) / name)
            model_class = getattr(transformers, config.architectures[0])
            models[name] = model_class.from_pretrained(Path(folder) / name, dtype=torch.float32)
        return cls(models)

    def forward(self, head: str, **inputs: Any) -> Any:
        """What the head's own `forward` returns for `inputs`. Errors are those of [`head`]."""
        return self.head(head)(**inputs)

    @property
    def head_names(self) -> list[str]:
        """The heads, in their order."""
        return list(self._keys)

    def head(self, name: str) -> PreTrainedModel:
        """The head of that name.

        Raises:
            InputError: there is none, or it is no longer one above the encoder.
        """
        if name not in self._keys:
            raise InputError(f"The model has no head {name!r}. Known: {', '.join(self._keys)}.")
        module = self.heads[_key(name)]
        if not isinstance(module, PreTrainedModel) or module.base_model is not self.encoder:
            raise InputError(
                f"Head {name!r} is not above the model's encoder any more: it was copied apart, as PEFT does with a "
                f"whole head in modules_to_save. Name the layers within the heads: modules_to_save=['classifier']."
            )
        return module

    # What trainers and methods ask of a model of transformers; all of it is the encoder's.

    @property
    def base_model(self) -> PreTrainedModel:
        """The encoder."""
        return self.encoder

    @property
    def config(self) -> PreTrainedConfig:
        """The encoder's."""
        return self.encoder.config

    @property
    def main_input_name(self) -> str:
        """The encoder's: what a batch's tokens are counted by."""
        return self.encoder.main_input_name

    @property
    def name_or_path(self) -> str:
        """What the encoder was loaded from."""
        return str(self.encoder.name_or_path)

    @property
    def device(self) -> torch.device:
        """The encoder's."""
        return self.encoder.device

    @property
    def is_activation_checkpointing(self) -> bool:
        """Whether the encoder computes its activations anew in the backward pass."""
        return self.encoder.is_activation_checkpointing

    @property
    def is_gradient_checkpointing(self) -> bool:
        """The same, as PEFT asks for it."""
        return self.is_activation_checkpointing

    def activation_checkpointing_enable(self, *args: Any, **kwargs: Any) -> None:
        """As of any model of transformers."""
        self.encoder.activation_checkpointing_enable(*args, **kwargs)

    def enable_input_require_grads(self) -> None:
        """As of any model of transformers."""
        self.encoder.enable_input_require_grads()

    def get_input_embeddings(self) -> nn.Module:
        """The encoder's word embeddings."""
        return self.encoder.get_input_embeddings()

    # Its folders.

    def name_in_folder(self, name: str, folder: str) -> str | None:
        """What a weight of this model is called in the folder of a head, or the encoder's; `None` if it is not in it.

        Args:
            name: as in `state_dict`, or of a weight that was added beside those.
            folder: of a head, or `encoder`.
        """
        part, _, rest = name.partition(".")
        if part == "encoder":
            prefix = "" if folder == ENCODER else f"{self.head(folder).base_model_prefix}."
            pooler = f"{prefix}pooler."
            # Heads on all tokens have none.
            lacks = folder != ENCODER and not any(key.startswith(pooler) for key in self._keys[folder])
            return None if lacks and f"{prefix}{rest}".startswith(pooler) else f"{prefix}{rest}"
        key, _, rest = rest.partition(".")
        return rest if folder != ENCODER and key == _key(folder) else None

    def save_pretrained(self, folder: str | Path, tokenizers: Mapping[str, Any] | None = None) -> None:
        """Write a folder for each head, which transformers alone loads, and the encoder's, `encoder`.

        They appear together: where writing fails, as on a full disk, those of before are still there. Heads of an
        earlier model are removed.

        Args:
            folder: where; `heads.json` names the heads.
            tokenizers: or image processors, of each head; the encoder gets the first one's. Default: none is written.

        Raises:
            InputError: an adapter is in the model.
        """
        replace_heads(Path(folder), self.head_names, lambda place: self._write(place, tokenizers or {}))

    def _write(self, folder: Path, tokenizers: Mapping[str, Any]) -> None:
        for name in self._keys:
            with self._whole(name) as model:
                tensors = model.state_dict()
                if any(key not in tensors for key in self._keys[name]):
                    raise InputError(
                        f"Head {name!r} cannot be written: its layers are not those that it was made of, as where an "
                        f"adapter (PEFT, LoRA) is in them. Merge it first: model.merge_and_unload()."
                    )
                model.save_pretrained(folder / name, state_dict={key: tensors[key] for key in self._keys[name]})
            if name in tokenizers:
                tokenizers[name].save_pretrained(folder / name)
        self.encoder.save_pretrained(folder / ENCODER)
        for tokenizer in list(tokenizers.values())[:1]:
            tokenizer.save_pretrained(folder / ENCODER)

    @contextmanager
    def _whole(self, name: str) -> Iterator[PreTrainedModel]:
        """Within, the head is a whole model of transformers, with the configuration that its encoder has by now."""
        head = self.head(name)
        now = self.encoder.config.to_dict()
        for key, value in now.items():
            if key not in OF_A_HEAD and self._config_before.get(key) != value:
                setattr(head.config, key, value)
        prefix, modules = head.base_model_prefix, head._modules
        head._modules = {prefix: self.encoder, **modules}
        del head.__dict__[prefix]
        try:
            yield head
        finally:
            head._modules = modules
            head.__dict__[prefix] = self.encoder


def multi_head(model: Any) -> MultiHeadModel | None:
    """The model with several heads that `model` is, or that it wraps, as PEFT does; `None` if there is none."""
    modules = model.modules() if isinstance(model, nn.Module) else ()
    return next((module for module in modules if isinstance(module, MultiHeadModel)), None)


def _key(name: str) -> str:
    """A head's name among the modules, where a bare `type` or `a.b` is not allowed."""
    return name.replace("%", "%25").replace(".", "%2E") + "_head"


def _check_same(name: str, encoder: PreTrainedModel, common: PreTrainedModel) -> None:
    if encoder is common:
        return
    ours, others = dict(common.named_parameters()), dict(encoder.named_parameters())
    # A pooler may be new in each of them.
    shared = [key for key in others if "pooler" not in key]
    if type(encoder) is type(common) and all(
        key in ours and ours[key].shape == others[key].shape and torch.equal(ours[key], others[key]) for key in shared
    ):
        return
    raise InputError(
        f"The encoder of head {name!r} is not that of the others; load all of them from the same pretrained model."
    )
