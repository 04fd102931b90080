"""LoRA: small matrices beside the encoder's layers, trained with the head in place of the whole model."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from ..errors import InputError
from ..ranges import AT_LEAST_1, POSITIVE, Range, check_ranges
from .multi_head import MultiHeadModel, multi_head
from .multi_head_folder import ADAPTER_WEIGHTS, ENCODER, heads_in, replace_heads
from .run_encoder import run_of

ADAPTER_CONFIG = "adapter_config.json"
MODEL_CONFIG = "model_config.json"
"""The configuration of the whole model, with its labels. It is not called config.json: a folder with that name is one
of a whole model for transformers."""
ALL_LINEAR = "all-linear"
TASK_TYPES = {"ForTokenClassification": "TOKEN_CLS", "ForSequenceClassification": "SEQ_CLS"}
"""PEFT's name for a problem, by what a model's class is called. Others have none; PEFT's class for QUESTION_ANS would
not pass `token_type_ids` on to the model."""
_DROPOUT: Range = (lambda x: 0 <= x < 1, "in [0, 1)")
_RANGES = (("lora_r", "", AT_LEAST_1), ("lora_alpha", "", POSITIVE), ("lora_dropout", "", _DROPOUT))
_OF_PEFT = "base_model.model."
"""What PEFT puts before a weight's name."""
_ADAPTABLE = (nn.Linear, nn.Embedding, Conv1D)


@dataclass(kw_only=True)
class LoraArguments:
    """Whether the encoder stays as it is and LoRA's adapters are trained, and which; names and defaults as TRL's."""

    use_peft: bool = field(
        default=False,
        metadata={"help": "Train LoRA's adapters and the head, and leave the encoder as it is (extra `peft`)."},
    )
    lora_r: int = field(default=16, metadata={"help": "Rank of the adapters."})
    lora_alpha: int = field(default=32, metadata={"help": "What an adapter adds is scaled by lora_alpha / lora_r."})
    lora_dropout: float = field(default=0.05, metadata={"help": "Dropout in front of the adapters."})
    lora_target_modules: list[str] | None = field(
        default=None,
        metadata={
            "nargs": "+",
            "help": f"The encoder's layers that get adapters, by the ends of their names, or `{ALL_LINEAR}`. Default: "
            f"those that PEFT names for the kind of model, such as query and value.",
        },
    )


def check_lora_arguments(args: LoraArguments, will_train: bool) -> None:
    """Refuse values that no model could make sense of, and LoRA where nothing trains or PEFT is not installed.

    Raises:
        InputError: as said.
    """
    if not args.use_peft:
        for name, argument in LoraArguments.__dataclass_fields__.items():
            if getattr(args, name) != argument.default:
                raise InputError(f"--{name} has no effect without --use_peft; add that, or remove it.")
        return
    if not will_train:
        raise InputError(
            "--use_peft makes adapters to train, and there is no --do_train; remove it. To evaluate the adapters of a "
            "finished folder, give that as --model_name_or_path."
        )
    path = str(getattr(args, "model_name_or_path", None))
    if (run := run_of(path)) is not None and heads_in(run) is None:
        raise InputError(
            f"--use_peft: adapters name the folder of their model, and {path} is none: {run} has its encoder and its "
            f"head together. Save the encoder on its own, by AutoModel.from_pretrained({str(run)!r}) and "
            f"save_pretrained, and the tokenizer beside it."
        )
    check_ranges(args, _RANGES)
    if importlib.util.find_spec("peft") is None:
        raise InputError("--use_peft needs the package peft, which is missing: pip install 'hf-seqreptile[peft]'")


def adapters_in_words(args: LoraArguments) -> str:
    """The adapters that the arguments ask for, for a dry run."""
    where = ", ".join(args.lora_target_modules or ["the layers that PEFT names for the kind of model"])
    return (
        f"LoRA: lora_r {args.lora_r}, lora_alpha {args.lora_alpha}, lora_dropout {args.lora_dropout:g}, on {where}; "
        f"the head is trained whole"
    )


def with_adapters(model: Any, args: LoraArguments, revision: str | None = None) -> Any:
    """The model with adapters in its encoder, as PEFT makes them; they and the head are what is trained.

    The head is all that is above the encoder's last layer, a pooler too.

    Args:
        model: of transformers, or a [`MultiHeadModel`].
        args: which adapters; they have been checked.
        revision: of the model on the Hub, which the adapters' folder notes.

    Raises:
        InputError: the encoder has no such layers.
    """
    from peft import LoraConfig, get_peft_model

    encoder = "encoder" if isinstance(model, MultiHeadModel) else model.base_model_prefix
    layers = _adaptable(model)
    in_encoder = [name for name in layers if name.startswith(f"{encoder}.") and ".pooler." not in name]
    wanted = args.lora_target_modules or _usual_targets(model.config.model_type, in_encoder)
    found = _named(wanted, in_encoder, args, layers)
    config = LoraConfig(
        task_type=task_type(model),
        r=args.lora_r,
        lora_alpha=args.lora_alpha,
        lora_dropout=args.lora_dropout,
        target_modules=_shortest(found, layers),
        modules_to_save=_head(model, encoder),
        revision=revision,
    )
    return get_peft_model(model, config)


def task_type(model: Any) -> str | None:
    """PEFT's name for the problem of a model with one head."""
    return next((kind for name, kind in TASK_TYPES.items() if name in type(model).__name__), None)


def adapter_settings(model: Any) -> list[tuple[str, str, Any]]:
    """Of each LoRA adapter in a model its settings: what it is, how it is written, its value. Empty without one."""
    return [
        row
        for config in getattr(model, "peft_config", {}).values()
        if config.peft_type == "LORA"
        for row in (
            ("rank of LoRA's adapters", "lora_r", config.r),
            ("scale of LoRA's adapters", "lora_alpha", config.lora_alpha),
            ("dropout of LoRA's adapters", "lora_dropout", config.lora_dropout),
            ("layers with adapters", "", ", ".join(_ends(config.target_modules))),
        )
    ]


def adapter_notes(model: Any) -> list[str]:
    """What a plan says of adapters; empty without any."""
    settings = adapter_settings(model)
    if not settings:
        return []
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    shown = ", ".join(f"{symbol or words} {value}" for words, symbol, value in settings)
    every = sum(p.numel() for p in model.parameters())
    return [f"LoRA: {shown}; {trained:,} of {every:,} parameters are trained, the head's among them"]


def save_beside_adapters(model: Any, folder: Path, tokenizers: Mapping[str, Any]) -> None:
    """Write what PEFT leaves out: the model's configuration, or of several heads a folder each, as of one.

    Args:
        model: PEFT's, whose adapters are in the folder.
        folder: where to.
        tokenizers: by head; the encoder gets the first one's.
    """
    several = multi_head(model)
    if several is None:
        _write_config(model.get_base_model(), folder)
    else:
        replace_heads(folder, several.head_names, lambda place: _write_heads(model, several, place, tokenizers))


def merged(model: PreTrainedModel, path: str, **hub: Any) -> PreTrainedModel:
    """The model with the adapters and the head that lie in a folder or on the Hub; the same to rounding.

    Args:
        model: what the adapters were made for, with a head of that size.
        path: where they are.
        hub: revision, token and the like.

    Raises:
        InputError: they do not fit.
    """
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(model, path, **hub).merge_and_unload()
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            f"The adapters in {path} do not fit {model.name_or_path}: {str(error).strip().splitlines()[0]}"
        ) from error


def _adaptable(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, _ADAPTABLE)]


def _usual_targets(model_type: str, in_encoder: Sequence[str]) -> Sequence[str]:
    from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as USUAL

    targets = USUAL.get(model_type)
    if targets is None or isinstance(targets, str):
        raise InputError(
            f"PEFT names no layers of a {model_type} model for adapters: say with --lora_target_modules which of "
            f"{', '.join(_ends(in_encoder))}, or {ALL_LINEAR}."
        )
    return list(targets)


def _named(names: Sequence[str], in_encoder: Sequence[str], args: LoraArguments, every: Sequence[str]) -> list[str]:
    """The encoder's layers whose names end so."""
    if list(names) == [ALL_LINEAR]:
        return [name for name in in_encoder if "embedding" not in name]
    for wanted in names:
        if not any(_is_called(name, wanted) for name in in_encoder):
            of_head = any(_is_called(name, wanted) for name in every)
            why = "is of the head, which is trained whole" if of_head else "is the name of no layer of the encoder"
            given = "--lora_target_modules" if args.lora_target_modules else "PEFT's choice for this kind of model"
            raise InputError(
                f"{given}: {wanted!r} {why}. It has {', '.join(_ends(in_encoder))}; {ALL_LINEAR} stands for all that "
                f"are linear."
            )
    return [name for name in in_encoder if any(_is_called(name, wanted) for wanted in names)]


def _is_called(name: str, wanted: str) -> bool:
    return name == wanted or name.endswith(f".{wanted}")


def _ends(names: Iterable[str]) -> list[str]:
    """The last parts of layers' names."""
    return sorted({name.rpartition(".")[2] for name in names})


def _shortest(names: Sequence[str], every: Sequence[str]) -> list[str]:
    """What PEFT finds just these layers by: the ends of their names, where no other layer has one of these."""
    ends = _ends(names)
    return ends if {name for name in every if name.rpartition(".")[2] in ends} == {*names} else sorted(names)


def _head(model: Any, encoder: str) -> list[str]:
    """The modules above the encoder's last layer."""
    if isinstance(model, MultiHeadModel):
        found = [f"heads.{key}.{part}" for key, head in model.heads.items() for part in _with_parameters(head)]
    else:
        found = [part for part in _with_parameters(model) if part != encoder]
    pooler = getattr(model.get_submodule(encoder), "pooler", None)
    return [*found, f"{encoder}.pooler"] if isinstance(pooler, nn.Module) else found


def _write_config(model: PreTrainedModel, folder: Path) -> None:
    config = copy.deepcopy(model.config)
    config.architectures = [type(model).__name__]
    config.to_json_file(folder / MODEL_CONFIG)


def _write_heads(model: Any, several: MultiHeadModel, folder: Path, tokenizers: Mapping[str, Any]) -> None:
    """A folder for each head, and the encoder's: the adapters, named as in a model of one head."""
    from peft import get_peft_model_state_dict
    from peft.tuners.tuners_utils import BaseTunerLayer

    tensors = {name.removeprefix(_OF_PEFT): tensor for name, tensor in get_peft_model_state_dict(model).items()}
    (config,) = model.peft_config.values()
    adapted = [name for name, module in several.encoder.named_modules() if isinstance(module, BaseTunerLayer)]
    are_ends = all("." not in name for name in config.target_modules)
    for name in (*several.head_names, ENCODER):
        whole: Any = several.encoder if name == ENCODER else several.head(name)
        prefix = "" if name == ENCODER else f"{whole.base_model_prefix}."
        renamed = ((several.name_in_folder(old, name), tensor) for old, tensor in tensors.items())
        own = {new: tensor for new, tensor in renamed if new is not None}
        of_head = copy.copy(config)
        of_head.task_type = task_type(whole)
        of_head.auto_mapping = {"base_model_class": type(whole).__name__, "parent_library": type(whole).__module__}
        of_head.base_model_name_or_path = several.name_or_path
        of_head.target_modules = config.target_modules if are_ends else {f"{prefix}{layer}" for layer in adapted}
        parts = [] if name == ENCODER else _with_parameters(whole)
        pooler = [f"{prefix}pooler"] if any(new.startswith(f"{prefix}pooler.") for new in own) else []
        of_head.modules_to_save = [*parts, *pooler] or None
        place = folder / name
        of_head.save_pretrained(str(place))
        named = {f"{_OF_PEFT}{new}": tensor.contiguous() for new, tensor in own.items()}
        save_file(named, place / ADAPTER_WEIGHTS, metadata={"format": "pt"})
        _write_config(whole, place)
        tokenizer = tokenizers.get(name, next(iter(tokenizers.values()), None))
        if tokenizer is not None:
            tokenizer.save_pretrained(place)


def _with_parameters(module: nn.Module) -> list[str]:
    return [name for name, part in module.named_children() if any(True for _ in part.parameters())]
