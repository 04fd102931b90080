"""The pretrained model and its tokenizer, from the Hub, a folder, or the bundled offline encoder."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from .errors import InputError
from .offline_encoder import OFFLINE_ENCODER, build_offline_encoder

PREFIX_SPACE_MODELS = {"bloom", "gpt2", "roberta", "deberta"}
"""Models whose tokenizers take words one by one only if each begins with a space."""


@dataclass
class ModelArguments:
    """Which pretrained model to fine-tune."""

    model_name_or_path: str | None = field(
        default=None,
        metadata={"help": f"A model of the Hub, a local folder, or `{OFFLINE_ENCODER}` (extra `offline`)."},
    )
    config_name: str | None = field(default=None, metadata={"help": "Its configuration, if it lies elsewhere."})
    tokenizer_name: str | None = field(default=None, metadata={"help": "Its tokenizer, if it lies elsewhere."})
    cache_dir: str | None = field(default=None, metadata={"help": "Where downloads are kept."})
    model_revision: str = field(default="main", metadata={"help": "Branch, tag or commit of the model."})
    token: str | None = field(default=None, metadata={"help": "Token for private repositories. Default: as stored."})
    trust_remote_code: bool = field(
        default=False, metadata={"help": "Run Python code that the model's or the data's repository brings along."}
    )
    ignore_mismatched_sizes: bool = field(
        default=False, metadata={"help": "Replace a head of another size by a new one."}
    )
    trim_vocabulary: bool = field(
        default=False,
        metadata={
            "help": f"`{OFFLINE_ENCODER}` only: keep the vocabulary that the tasks' texts use. Steps on a CPU take "
            f"half the time; texts in other languages are no longer served."
        },
    )


def load_model(
    auto_class: type, args: ModelArguments, labels: Sequence[str], texts: Callable[[], Iterable[str]]
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model with a head for `labels`, in float32, and its tokenizer.

    Args:
        auto_class: the `AutoModelFor…` of the problem.
        args: which model.
        labels: names of the classes, in the order of their ids.
        texts: gives the tasks' texts, for `trim_vocabulary`.

    Raises:
        InputError: no such model, or one that does not fit.
    """
    if args.model_name_or_path is None:
        raise InputError(f"--model_name_or_path is missing; {OFFLINE_ENCODER} needs no model hub.")
    if args.trim_vocabulary and args.model_name_or_path != OFFLINE_ENCODER:
        raise InputError(f"--trim_vocabulary works with --model_name_or_path {OFFLINE_ENCODER} only.")
    path = args.model_name_or_path
    if path == OFFLINE_ENCODER:
        path = str(build_offline_encoder(texts() if args.trim_vocabulary else None))
    hub = {
        "cache_dir": args.cache_dir,
        "revision": args.model_revision,
        "token": args.token,
        "trust_remote_code": args.trust_remote_code,
    }
    config = _from_pretrained(AutoConfig, args.config_name or path, **hub)
    label2id = {label: i for i, label in enumerate(labels)}
    config.label2id, config.id2label = label2id, {i: label for label, i in label2id.items()}
    prefix: dict[str, Any] = {"add_prefix_space": True} if config.model_type in PREFIX_SPACE_MODELS else {}
    tokenizer = _from_pretrained(AutoTokenizer, args.tokenizer_name or path, use_fast=True, **prefix, **hub)
    if not tokenizer.is_fast:
        raise InputError(f"{path} has no fast tokenizer, which this script needs to match words and subwords.")
    model = _from_pretrained(
        auto_class,
        path,
        config=config,
        dtype=torch.float32,  # the default follows the checkpoint, and φ must not be rounded to bf16
        ignore_mismatched_sizes=args.ignore_mismatched_sizes,
        **hub,
    )
    return model, tokenizer


def _from_pretrained(auto_class: Any, path: str, **kwargs: Any) -> Any:
    try:
        return auto_class.from_pretrained(path, **kwargs)
    except RuntimeError as error:
        if "ignore_mismatched_sizes" in str(error):
            raise InputError(
                f"The head of {path} has another size than these labels need; add --ignore_mismatched_sizes to "
                f"start with a new head."
            ) from error
        raise
    except (OSError, ValueError) as error:
        missing = Path(path).is_absolute() and not Path(path).exists()
        reason = "no such folder" if missing else str(error).strip().splitlines()[0]
        raise InputError(f"--model_name_or_path {path} cannot be loaded: {reason}") from error
