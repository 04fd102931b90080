"""Tiny encoders under several heads, and tasks for them."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from datasets import Dataset
from transformers import (
    BertConfig,
    DataCollatorForTokenClassification,
    DataCollatorWithPadding,
    PreTrainedConfig,
    PreTrainedModel,
)

from hf_seqreptile.methods import method_class
from hf_seqreptile.models.multi_head import MultiHeadModel
from hf_seqreptile.training.trainer import MultiTaskMixin
from tests import tiny

TOKENS, TEXTS, ANSWERS = "TokenClassification", "SequenceClassification", "QuestionAnswering"
KINDS = {"tags": TOKENS, "topics": TEXTS, "answers": ANSWERS}
"""Heads by name, and what follows `AutoModelFor` in the name of each one's class."""
TWO = {"tags": TOKENS, "topics": TEXTS}
LABELS = {"tags": tiny.LABELS, "topics": ["sports", "food", "art"]}
TASK_HEADS = {"de": "tags", "en": "topics", "sw": "tags", "ko": "answers"}
"""The head of each of [`tasks`]."""


def config(dropout: float = 0.0, layers: int = 1) -> BertConfig:
    """Of a BERT of a few thousand parameters."""
    return BertConfig(
        vocab_size=len(tiny.WORDS), hidden_size=16, num_hidden_layers=layers, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=64, hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )  # fmt: skip


def models(
    of: PreTrainedConfig | None = None, kinds: Mapping[str, str] | None = None, seed: int = 0
) -> dict[str, PreTrainedModel]:
    """By head, whole models with one encoder's weights; the same for the same seed."""
    torch.manual_seed(seed)
    common = config() if of is None else of
    encoder = transformers.AutoModel.from_config(common).state_dict()
    made = {}
    for name, kind in (KINDS if kinds is None else kinds).items():
        own = copy.deepcopy(common)
        if name in LABELS:
            own.id2label = dict(enumerate(LABELS[name]))
            own.label2id = {label: i for i, label in own.id2label.items()}
        made[name] = getattr(transformers, f"AutoModelFor{kind}").from_config(own)
        made[name].base_model.load_state_dict(encoder, strict=False)
    return made


def model(of: PreTrainedConfig | None = None, kinds: Mapping[str, str] | None = None) -> MultiHeadModel:
    """The same each time."""
    return MultiHeadModel(models(of, kinds))


def topics(size: int, seed: int) -> Dataset:
    """Sentences, each of a class that its words tell."""
    rows = tiny.task(size, seed).to_dict()
    return Dataset.from_dict(rows | {"labels": [(ids[0] + seed) % 3 for ids in rows["input_ids"]]})


def answers(size: int, seed: int) -> Dataset:
    """Sentences with the place of an answer."""
    rows = tiny.task(size, seed).to_dict()
    del rows["labels"]
    ends = [1 + ids[0] % 2 for ids in rows["input_ids"]]
    return Dataset.from_dict(rows | {"start_positions": [1] * size, "end_positions": ends})


def tasks(*names: str, factor: int = 1) -> dict[str, Dataset]:
    """Of unequal size, two of them of one head; all, or those of `names`."""
    every = {
        "de": tiny.task(23 * factor, 1), "en": topics(17 * factor, 2), "sw": tiny.task(9 * factor, 3),
        "ko": answers(11 * factor, 4),
    }  # fmt: skip
    return {name: every[name] for name in names or every}


def collators(names: Any = TASK_HEADS) -> dict[str, Any]:
    """Of each task."""
    of_tokens, others = DataCollatorForTokenClassification(tiny.tokenizer()), DataCollatorWithPadding(tiny.tokenizer())
    return {name: of_tokens if TASK_HEADS.get(name) == "tags" else others for name in names}


def trainer(
    folder: Path,
    train: Mapping[str, Dataset] | None = None,
    of_model: torch.nn.Module | None = None,
    trainer_class: type[MultiTaskMixin] | None = None,
    init: dict[str, Any] | None = None,
    **changes: Any,
) -> MultiTaskMixin:
    """A trainer of three tasks on two heads; `changes` go to the arguments, `init` to the trainer."""
    args = tiny.arguments(folder, **changes)
    train = tasks("de", "en", "sw") if train is None else train
    if args.method == "stl":
        train = dict(list(train.items())[:1])
    settings: dict[str, Any] = {"data_collator": collators(), "task_heads": TASK_HEADS}
    if of_model is None:
        of_model = model(kinds={TASK_HEADS[task]: KINDS[TASK_HEADS[task]] for task in train})
    return (trainer_class or method_class(args.method))(
        model=of_model,
        args=args,
        train_dataset=train,
        **settings | (init or {}),
    )
