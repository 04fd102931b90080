"""Masked-language-model loss: fixed masks, and a model with a head."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from tqdm.auto import tqdm
from transformers import (
    AutoConfig,
    AutoModelForMaskedLM,
    BatchEncoding,
    DataCollatorForLanguageModeling,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ..errors import InputError
from .encoders import Encoder

MASKED = 0.15
MOST_SUBWORDS = 128
"""A longer text is cut."""
BATCH = 16
SEED = 0


@dataclass(frozen=True)
class MaskedTexts:
    """Masked sentences of several languages, the same for every model.

    Args:
        batches: by language, as a collator made them; `labels` are -100 where nothing was masked.
        unknown: the share of unknown tokens in each language, special ones aside.
    """

    batches: Mapping[str, Sequence[BatchEncoding]]
    unknown: Mapping[str, float]

    @property
    def masked(self) -> dict[str, int]:
        """The number of masked tokens by language."""
        return {lang: sum(int((b["labels"] != -100).sum()) for b in batches) for lang, batches in self.batches.items()}


def mask_texts(texts: Mapping[str, Sequence[str]], tokenizer: PreTrainedTokenizerBase) -> MaskedTexts:
    """Tokenize and mask, with 15 % of the tokens masked as in BERT's training (80 % mask, 10 % random, 10 % kept).

    Special and unknown tokens are never masked: there is nothing to predict. A language's masks depend on its own
    texts and the vocabulary alone.

    Args:
        texts: sentences by language.
        tokenizer: has a mask token.

    Raises:
        InputError: the tokenizer has no mask token.
    """
    if tokenizer.mask_token is None:
        raise InputError(f"The tokenizer of {tokenizer.name_or_path} has no mask token.")
    batches, unknown = {}, {}
    for language, sentences in texts.items():
        features, unknown[language] = tokenize(sentences, tokenizer)
        collate = DataCollatorForLanguageModeling(tokenizer, mlm_probability=MASKED, seed=SEED)
        batches[language] = [collate(features[i : i + BATCH]) for i in range(0, len(features), BATCH)]
    return MaskedTexts(batches, unknown)


def tokenize(sentences: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> tuple[list[dict[str, list[int]]], float]:
    """Sentences by length, with what must not be masked; and the share of unknown tokens, special ones aside."""
    longest = min(MOST_SUBWORDS, tokenizer.model_max_length)
    encoded = tokenizer(list(sentences), truncation=True, max_length=longest, return_special_tokens_mask=True)
    features, tokens, unknown = [], 0, 0
    for ids, special in zip(encoded["input_ids"], encoded["special_tokens_mask"], strict=True):
        is_unknown = [i == tokenizer.unk_token_id for i in ids]
        tokens += len(ids) - sum(special)
        unknown += sum(is_unknown)
        unmasked = [int(s or u) for s, u in zip(special, is_unknown, strict=True)]
        features.append({"input_ids": ids, "attention_mask": [1] * len(ids), "special_tokens_mask": unmasked})
    return sorted(features, key=lambda feature: len(feature["input_ids"])), unknown / max(tokens, 1)


def model_with_head(start: Encoder) -> tuple[PreTrainedModel, bool]:
    """A masked language model over the encoder, and whether the head is the base model's own.

    A head that the base model lacks, or that was made for another vocabulary, starts anew, and must be fitted.

    Args:
        start: the base model's encoder, with the vocabulary of the runs.

    Raises:
        InputError: transformers has no masked language model of this kind.
    """
    try:
        config = AutoConfig.from_pretrained(start.path)
        model, found = AutoModelForMaskedLM.from_pretrained(start.path, dtype=torch.float32, output_loading_info=True)
        is_own = not found["missing_keys"] and config.vocab_size == len(start.weights[start.embeddings])
        if not is_own:
            config.vocab_size = len(start.weights[start.embeddings])
            with torch.random.fork_rng():
                torch.manual_seed(SEED)
                model = AutoModelForMaskedLM.from_config(config)
            set_encoder(model, start)
    except ValueError as error:
        raise InputError(f"{start.path} has no masked language model in transformers.") from error
    return model.to(_device()).eval(), is_own


def set_encoder(model: PreTrainedModel, encoder: Encoder) -> None:
    """Put the encoder's weights under the head; a head that shares the embeddings follows them.

    Raises:
        InputError: another architecture.
    """
    try:
        left = model.base_model.load_state_dict(dict(encoder.weights), strict=False)
    except RuntimeError as error:
        raise InputError(f"{encoder.path} has weights of other shapes than the base model.") from error
    lacking = [name for name, _ in model.base_model.named_parameters() if name in left.missing_keys]
    if lacking:
        raise InputError(f"{encoder.path} lacks {lacking[0]}, which the base model has.")


@torch.no_grad()
def masked_losses(model: PreTrainedModel, texts: MaskedTexts, progress: tqdm) -> dict[str, float]:
    """The mean cross-entropy, in nats, over all masked tokens of each language that has any.

    Args:
        model: with a head.
        texts: masked.
        progress: advanced by one for each batch.
    """
    losses = {}
    for language, batches in texts.batches.items():
        total = 0.0
        for batch in batches:
            total += cross_entropy(*_predict(model, batch), reduction="sum").item()
            progress.update()
        if count := texts.masked[language]:
            losses[language] = total / count
    return losses


def _predict(model: PreTrainedModel, batch: BatchEncoding) -> tuple[Tensor, Tensor]:
    """Logits and labels of the masked tokens alone: shapes (masked, vocabulary) and (masked)."""
    labels, inputs = on_device(batch, model)
    masked = labels != -100
    with _only(masked, model):
        return model(**inputs).logits, labels[masked]


def on_device(batch: BatchEncoding, model: PreTrainedModel) -> tuple[Tensor, dict[str, Tensor]]:
    """A collator's labels and inputs, where the model is."""
    inputs = {name: values.to(model.device) for name, values in batch.items()}
    return inputs.pop("labels"), inputs


@contextmanager
def _only(masked: Tensor, model: PreTrainedModel) -> Iterator[None]:
    """Within, the model's output layer sees the masked tokens alone: over a large vocabulary it is the costly part."""
    hook = model.get_output_embeddings().register_forward_pre_hook(lambda _, inputs: (inputs[0][masked],))
    try:
        yield
    finally:
        hook.remove()


def _device() -> torch.device:
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return accelerator or torch.device("cpu")
