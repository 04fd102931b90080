"""The masked-language-model head of a base model that has none: fitted once on its encoder, then kept."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import torch
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm.auto import tqdm
from transformers import (
    DataCollatorForLanguageModeling,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    get_linear_schedule_with_warmup,
)

from ..cache import cache_folder
from ..digests import digest, model_digest
from ..durable import write_whole
from ..errors import InputError
from .masked_language_model import BATCH, MASKED, SEED, on_device, tokenize

logger = logging.getLogger(__name__)

MASKINGS, EPOCHS, FIT_BATCH, LEARNING_RATE = 2, 8, 128, 1e-3
HEADS = "heads"
"""In the cache's folder: a file for each head."""
_RECIPE = [1, MASKINGS, EPOCHS, FIT_BATCH, LEARNING_RATE, MASKED, BATCH, SEED]
"""Goes into a head's key; its first number is to be raised when heads are fitted otherwise."""


def fit_head_once(
    model: PreTrainedModel, texts: Mapping[str, Sequence[str]], tokenizer: PreTrainedTokenizerBase
) -> None:
    """As [`fit_head`], which is called only where the cache has no head of the same model, texts and tokens.

    Args:
        model: with a head that starts anew.
        texts: sentences by language, all mixed.
        tokenizer: of the model.

    Raises:
        InputError: as in [`fit_head`].
    """
    head = _head(model)
    path = cache_folder() / HEADS / f"{_key(model, texts, tokenizer)}.safetensors"
    if _read(path, head):
        return
    fit_head(model, texts, tokenizer)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Calls that fitted it at the same time write it one after another.
        with FileLock(path.with_suffix(".lock")):
            write_whole(path, save({name: p.detach().cpu().contiguous() for name, p in _fitted(head).items()}))
    except OSError as error:
        logger.warning(
            "The fitted head could not be kept in %s (%s), so the next call fits it anew. The environment variable "
            "HF_SEQREPTILE_CACHE names another folder.",
            path.parent,
            error.strerror or error,
        )


def _key(model: PreTrainedModel, texts: Mapping[str, Sequence[str]], tokenizer: PreTrainedTokenizerBase) -> str:
    ids = [feature["input_ids"] for feature in _features(texts, tokenizer)]
    tokens = [tokenizer.mask_token_id, *sorted(tokenizer.all_special_ids), len(tokenizer)]
    return digest(_RECIPE, type(model).__name__, model_digest(cast(PreTrainedModel, model.base_model)), tokens, ids)


def _read(path: Path, head: nn.Module) -> bool:
    """Whether the file holds the head's parameters, which then are those."""
    fitted = _fitted(head)
    try:
        kept = load_file(path)
    except (OSError, SafetensorError):
        return False
    if {name: t.shape for name, t in kept.items()} != {name: p.shape for name, p in fitted.items()}:
        return False
    for name, parameter in fitted.items():
        parameter.data.copy_(kept[name])
    return True


def fit_head(model: PreTrainedModel, texts: Mapping[str, Sequence[str]], tokenizer: PreTrainedTokenizerBase) -> None:
    """Train what lies over the encoder, and leave the encoder (and embeddings that the head shares) as they are.

    AdamW over the encoder's states of the masked tokens, which are computed once for each of `MASKINGS` maskings.

    Args:
        model: with a head that starts anew.
        texts: sentences by language, all mixed.
        tokenizer: of the model.

    Raises:
        InputError: the head has several parts, as DistilBERT's.
    """
    head = _head(model)
    optimizer = torch.optim.AdamW([p for p in head.parameters() if p.requires_grad], LEARNING_RATE)
    states, labels = _masked_states(model, texts, tokenizer)
    steps = EPOCHS * -(-len(states) // FIT_BATCH)
    schedule = get_linear_schedule_with_warmup(optimizer, steps // 10, steps)
    order = torch.Generator().manual_seed(SEED)
    with tqdm(total=steps, desc="Fitting a head on the start encoder", unit=" steps") as progress:
        for _ in range(EPOCHS):
            for chosen in torch.randperm(len(states), generator=order).split(FIT_BATCH):
                cross_entropy(head(states[chosen]), labels[chosen]).backward()
                optimizer.step()
                optimizer.zero_grad()
                schedule.step()
                progress.update()


def _head(model: PreTrainedModel) -> nn.Module:
    """What lies over the encoder, whose parameters, those that the head shares included, are no longer trained."""
    heads = [module for module in model.children() if module is not model.base_model]
    if len(heads) != 1:
        raise InputError(f"no head can be fitted for a {type(model).__name__}; choose a base model that has one.")
    model.base_model.requires_grad_(False)
    return heads[0]


def _fitted(head: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in head.named_parameters() if parameter.requires_grad}


def _features(texts: Mapping[str, Sequence[str]], tokenizer: PreTrainedTokenizerBase) -> list[dict[str, list[int]]]:
    return tokenize([sentence for of_language in texts.values() for sentence in of_language], tokenizer)[0]


@torch.no_grad()
def _masked_states(
    model: PreTrainedModel, texts: Mapping[str, Sequence[str]], tokenizer: PreTrainedTokenizerBase
) -> tuple[Tensor, Tensor]:
    """The encoder's states of masked tokens, and those tokens: shapes (tokens, hidden size) and (tokens)."""
    features = _features(texts, tokenizer)
    collate = DataCollatorForLanguageModeling(tokenizer, mlm_probability=MASKED, seed=SEED)
    starts = [i for _ in range(MASKINGS) for i in range(0, len(features), BATCH)]
    states, tokens = [], []
    for i in tqdm(starts, desc="Encoding texts to fit a head on", unit=" batches"):
        labels, inputs = on_device(collate(features[i : i + BATCH]), model)
        masked = labels != -100
        states.append(model.base_model(**inputs)[0][masked])
        tokens.append(labels[masked])
    return torch.cat(states), torch.cat(tokens)
