"""The pretrained model and its tokenizer, from the Hub, a folder, or the bundled offline encoder."""

import dataclasses
import importlib.util
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    AutoModelForQuestionAnswering,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import CONFIG_NAME
from transformers.utils.hub import cached_file
from transformers.utils.peft_utils import find_adapter_config_file

from ..errors import InputError
from ..json_text import parse_json
from .adapters import MODEL_CONFIG, LoraArguments, merged
from .class_head import label_names, load_with_labels
from .multi_head_folder import ENCODER, heads_in, holds_model
from .offline_encoder import OFFLINE_ENCODER, build_offline_encoder
from .run_encoder import encoder_folder, without_head
from .word_tokens import load_for_words

logger = logging.getLogger(__name__)

MODEL = "model_name_or_path"
ProblemType = Literal["regression", "single_label_classification"]
"""By which a model of sequences chooses its loss: it predicts a number, or one of several classes."""


@dataclass
class ModelArguments(LoraArguments):
    """Which pretrained model to fine-tune."""

    takes_words: ClassVar[bool] = False
    """Whether texts are given as words, whose tokens must be those of the sentence that they make."""

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
        default=False,
        metadata={"help": "Replace a head of another size by a new one; labels that both have keep their rows."},
    )
    trim_vocabulary: bool = field(
        default=False,
        metadata={
            "help": f"`{OFFLINE_ENCODER}` only: keep the vocabulary that the tasks' texts use. Steps on a CPU take "
            f"half the time; texts in other languages are no longer served."
        },
    )

    def tokenizer_options(self) -> dict[str, Any]:
        """How the tokenizer is to differ from the saved one."""
        return {}


def load_head(
    args: ModelArguments, head: str, fits: Callable[[PreTrainedConfig], bool], will_train: bool = True
) -> ModelArguments:
    """The arguments for one head of several: of a finished run, the folder of that head.

    A head that the run does not have is new, on its encoder, and a warning tells. The head of a run with a single one
    goes on where it fits.

    Args:
        args: which model.
        head: its name.
        fits: whether a model of this configuration has such a head, for the same labels.
        will_train: whether a new head would learn anything.

    Raises:
        InputError: the run does not have the head, which will not be trained.
    """
    path = Path(str(args.model_name_or_path))
    heads = heads_in(path)
    if heads is None:
        if will_train and holds_model(path) and (path / CONFIG_NAME).is_file():
            config = _load_config(args, str(path))
            if not _is_pretrained(config) and not fits(config):
                return dataclasses.replace(args, model_name_or_path=str(path / ENCODER))
        return args
    if head not in heads:
        lacks = f"--{MODEL} {path} has no head {head!r}, only {', '.join(heads)}"
        if not will_train:
            raise InputError(
                f"{lacks}. Evaluate tasks that these were trained on, or say in a file for run_multitask.py which "
                f"`head` a task has."
            )
        logger.warning("%s: it begins anew, on the encoder.", lacks)
    return dataclasses.replace(args, model_name_or_path=str(path / (head if head in heads else ENCODER)))


def has_head(
    config: PreTrainedConfig, auto_class: Any, labels: Sequence[str] | None, problem_type: ProblemType | None
) -> bool:
    """Whether a model has a head of a kind, for these labels.

    Args:
        config: of the model.
        auto_class: the `AutoModelFor…` of the kind.
        labels: names of the classes; `None` for a kind without.
        problem_type: as in [`load_model`].
    """
    if config.architectures != [_architecture(auto_class, config)]:
        return False
    if problem_type == "regression" or config.problem_type == "regression":
        return problem_type == config.problem_type
    own = {label.strip().casefold() for label in label_names(config)}
    return labels is None or own == {label.strip().casefold() for label in labels}


def _is_pretrained(config: PreTrainedConfig) -> bool:
    """Whether the model has no head but that of its pretraining."""
    kinds = (AutoModel, AutoModelForMaskedLM, AutoModelForPreTraining)
    return any(config.architectures == [_architecture(kind, config)] for kind in kinds)


def _architecture(auto_class: Any, config: PreTrainedConfig) -> str | None:
    """The name of the model that an `AutoModel…` makes of a configuration; `None` where there is none."""
    kind = auto_class._model_mapping.get(type(config), None)
    # Some have several, of which the first is the usual one.
    kind = kind[0] if isinstance(kind, tuple) else kind
    return None if kind is None else kind.__name__


def load_model(
    auto_class: type,
    args: ModelArguments,
    labels: Sequence[str] | None,
    texts: Callable[[], Iterable[str]],
    will_train: bool = True,
    problem_type: ProblemType | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model with a head for `labels`, in float32, and its tokenizer, which cuts to what the model takes.

    What labels the model has already, and their rows, stay as [`load_with_labels`] says.

    Args:
        auto_class: the `AutoModelFor…` of the problem.
        args: which model.
        labels: names of the classes; `None` for a problem without classes.
        texts: gives the tasks' texts, for `trim_vocabulary`.
        will_train: whether the head can still learn other labels.
        problem_type: what models of sequences choose their loss by: `regression` makes a head for one number. Default:
            the model finds out by its first labels.

    Raises:
        InputError: no such model, or one that does not fit.
    """
    path = check_model_arguments(args)
    if path == OFFLINE_ENCODER:
        path = str(build_offline_encoder(texts() if args.trim_vocabulary else None))
    with without_head(path, args.trust_remote_code) as folder:
        config, hub = load_config(args, folder, will_train)
        if auto_class is AutoModelForQuestionAnswering:
            _set_start_and_end(config, path, will_train)
        if problem_type is not None:
            _set_problem_type(config, problem_type, path, will_train)
        tokenizer = _load_tokenizer(args, folder, config, hub)
        model = load_weights(auto_class, args, folder, config, labels, hub, will_train)
    tokenizer.model_max_length = min(tokenizer.model_max_length, _positions(model))
    return model, tokenizer


def load_config(args: ModelArguments, path: str, will_train: bool = True) -> tuple[PreTrainedConfig, dict[str, Any]]:
    """The configuration of the model at `path`, and the arguments with which all of it is loaded.

    Raises:
        InputError: no model that one head can be put on.
    """
    if (heads := heads_in(Path(path))) is not None:
        raise InputError(
            f"--{MODEL} {path} has several heads ({', '.join(heads)}), and these tasks share one. Give the folder of "
            f"one, {Path(path) / heads[0]}, or {Path(path) / ENCODER} for a new head."
        )
    hub = {**_of_hub(args), "trust_remote_code": args.trust_remote_code}
    config_path = path
    if (adapter := _adapter_config(path, args)) is not None:
        _, config_path = _base_of_adapters(adapter, path, args, will_train)
    return _load_config(args, config_path), hub


def load_weights(
    auto_class: Any,
    args: ModelArguments,
    path: str,
    config: PreTrainedConfig,
    labels: Sequence[str] | None,
    hub: Mapping[str, Any],
    will_train: bool,
) -> PreTrainedModel:
    """The model at `path` in float32, with a head as [`load_model`] says; `config` and `hub` are [`load_config`]'s."""
    base, adapter = path, _adapter_config(path, args)
    if adapter is not None:
        base, _ = _base_of_adapters(adapter, path, args, will_train)

    def load(config: PreTrainedConfig) -> tuple[PreTrainedModel, dict[str, Any]]:
        model, loading = from_pretrained(
            MODEL,
            auto_class,
            base,
            config=config,
            dtype=torch.float32,  # the default follows the checkpoint, and φ must not be rounded to bf16
            ignore_mismatched_sizes=args.ignore_mismatched_sizes,
            output_loading_info=True,
            **hub,
        )
        return (model if adapter is None else merged(model, path, **_of_hub(args))), loading

    if labels is None:
        return load(config)[0]
    return load_with_labels(load, config, labels, path, will_train, args.ignore_mismatched_sizes)


def load_encoder(
    args: ModelArguments, check: Callable[[PreTrainedConfig], None] | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A pretrained model without a head, in float32, and its tokenizer.

    `trim_vocabulary` has no say here: it would not make the encoding faster.

    Args:
        args: which model; of a folder with several heads, the encoder.
        check: is told the configuration before the weights are loaded, which takes longer.

    Raises:
        InputError: no such model, or one with a decoder.
    """
    args = dataclasses.replace(args, trim_vocabulary=False)
    name = path = check_model_arguments(args)
    path = str(build_offline_encoder()) if path == OFFLINE_ENCODER else encoder_folder(path)
    args = dataclasses.replace(args, model_name_or_path=path)
    if _adapter_config(path, args) is not None:
        raise InputError(_ADAPTER.format(path))
    config = _load_config(args, path)
    if config.is_encoder_decoder:
        raise InputError(f"{name} has a decoder; choose an encoder, such as multilingual BERT.")
    if check is not None:
        check(config)
    return load_model(AutoModel, args, labels=None, texts=tuple)


def check_model_arguments(args: ModelArguments) -> str:
    """The model's name or path; InputError where there is none, or arguments that do not go with it."""
    if args.model_name_or_path is None:
        raise InputError(f"--model_name_or_path is missing; {OFFLINE_ENCODER} needs no model hub.")
    if args.trim_vocabulary and args.model_name_or_path != OFFLINE_ENCODER:
        raise InputError(f"--trim_vocabulary works with --model_name_or_path {OFFLINE_ENCODER} only.")
    return args.model_name_or_path


_ADAPTER = (
    f"--{MODEL} {{}} is an adapter, as PEFT saves LoRA's, and no model. Merge it into its model, as docs/lora.md "
    "shows, and give the folder of what comes out."
)


def _of_hub(args: ModelArguments) -> dict[str, Any]:
    return {"cache_dir": args.cache_dir, "revision": args.model_revision, "token": args.token}


def _load_config(args: ModelArguments, path: str) -> PreTrainedConfig:
    argument, path = ("config_name", args.config_name) if args.config_name else (MODEL, path)
    own = _of_hub(args)
    return from_pretrained(argument, AutoConfig, path, **own, trust_remote_code=args.trust_remote_code)


def _adapter_config(path: str, args: ModelArguments) -> str | None:
    """The file that makes a model one of PEFT's adapters, where it is one."""
    try:
        return find_adapter_config_file(path, **_of_hub(args))
    except (OSError, ValueError):
        # Loading the model will say what is wrong with the path.
        return None


def _base_of_adapters(file: str, path: str, args: ModelArguments, will_train: bool) -> tuple[str, str]:
    """The model that adapters were made for, and the file with the configuration of both together."""
    whole = cached_file(path, MODEL_CONFIG, **_of_hub(args), _raise_exceptions_for_missing_entries=False)
    if will_train or whole is None:
        raise InputError(_ADAPTER.format(path))
    if importlib.util.find_spec("peft") is None:
        raise InputError(f"{path} holds PEFT's adapters: pip install 'hf-seqreptile[peft]'")
    base = parse_json(Path(file).read_text(encoding="utf-8")).get("base_model_name_or_path")
    if not isinstance(base, str) or (Path(base).is_absolute() and not Path(base).is_dir()):
        raise InputError(
            f"{file} names {base!r} as the model that the adapters in {path} belong to, and there is none here. Put "
            f"its name or folder there as base_model_name_or_path; that of {OFFLINE_ENCODER} is made again by "
            f"repeating the command of the training in another --output_dir."
        )
    return base, whole


def _set_start_and_end(config: PreTrainedConfig, path: str, will_train: bool) -> None:
    if config.num_labels != 2 and not will_train:
        raise InputError(
            f"--{MODEL} {path} is a {' or '.join(config.architectures or ['model'])} with {config.num_labels} labels; "
            f"an answer has two, its start and its end. Give a model that was trained on questions, or add --do_train."
        )
    config.num_labels = 2


def _set_problem_type(config: PreTrainedConfig, problem_type: ProblemType, path: str, will_train: bool) -> None:
    predicts_number = config.problem_type == "regression" or config.num_labels == 1
    if not will_train and predicts_number != (problem_type == "regression"):
        raise InputError(
            f"--{MODEL} {path} predicts {'a number' if predicts_number else f'one of {config.num_labels} classes'}, "
            f"and the labels of the data are {'classes' if predicts_number else 'numbers'}. Give a model that was "
            f"trained on such labels, or say with --do_regression what they are."
        )
    config.problem_type = problem_type
    if problem_type == "regression" and config.num_labels != 1:
        config.num_labels = 1


def _load_tokenizer(
    args: ModelArguments, path: str, config: PreTrainedConfig, hub: dict[str, Any]
) -> PreTrainedTokenizerBase:
    argument, path = ("tokenizer_name", args.tokenizer_name) if args.tokenizer_name else (MODEL, path)
    options = args.tokenizer_options()
    load = partial(from_pretrained, argument, AutoTokenizer, path, **options, **hub)
    if not args.takes_words:
        tokenizer = load()
    else:
        tokenizer = load_for_words(load, config, trust_remote_code=args.trust_remote_code)
        if tokenizer is None:
            raise InputError(
                f"The tokenizer of --{argument} {path} cuts words into other tokens than the sentence they make, so "
                f"that the model would meet others in a pipeline than in training. Choose another model."
            )
    _check_tokenizer(tokenizer, argument, path)
    # Most classes of tokenizers pass over it.
    if options.get("do_lower_case", _lowers(tokenizer)) != _lowers(tokenizer):
        raise InputError(f"--do_lower_case has no effect on the tokenizer of {path}; remove it.")
    return tokenizer


def _lowers(tokenizer: PreTrainedTokenizerBase) -> bool:
    normalizer = tokenizer.backend_tokenizer.normalizer
    return normalizer is not None and "A" not in normalizer.normalize_str("A")


def _check_tokenizer(tokenizer: PreTrainedTokenizerBase, argument: str, path: str) -> None:
    if not tokenizer.is_fast:
        raise InputError(f"{path} has no fast tokenizer, which this script needs to match words and subwords.")
    # Where a folder has no tokenizer's files, transformers makes one up. "▁" is SentencePiece's sign for a space.
    if set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens) <= {"▁"}:
        is_model = argument == MODEL
        mend = "Copy its files there, or name one with --tokenizer_name." if is_model else "Name another."
        raise InputError(f"--{argument} {path} has no tokenizer: its vocabulary would be special tokens alone. {mend}")


def _positions(model: PreTrainedModel) -> float:
    """The most subwords that the model has absolute positions for; infinite where it has none."""
    tables = [
        module
        for name, module in model.named_modules()
        if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding)
    ]
    # Where a position stands for padding, as in RoBERTa, those up to it are not for words.
    first = [0 if table.padding_idx is None else table.padding_idx + 1 for table in tables]
    return min((t.num_embeddings - start for t, start in zip(tables, first, strict=True)), default=math.inf)


def from_pretrained(argument: str, auto_class: Any, path: str, **kwargs: Any) -> Any:
    """`auto_class.from_pretrained(path, …)`, whose errors are InputErrors; `argument` named the path."""
    try:
        return auto_class.from_pretrained(path, **kwargs)
    except RuntimeError as error:
        if "ignore_mismatched_sizes" in str(error):
            raise InputError(
                f"The head of {path} has another size than these labels need; add --ignore_mismatched_sizes to "
                f"start with a new head."
            ) from error
        raise
    except (OSError, ValueError, ImportError) as error:
        # The Hub's names have the form owner/name.
        is_path = path.startswith((".", "/", "~")) or path.count("/") > 1
        reason = "no such folder." if is_path and not Path(path).exists() else str(error).strip().splitlines()[0]
        raise InputError(
            f"--{argument} {path} cannot be loaded: {reason} Give the name of a model of the Hub (and be online, or "
            f"have it cached), the folder of one, or {OFFLINE_ENCODER}."
        ) from error
