"""A model and tasks small enough that a test trains them in a second."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from _pytest.mark import ParameterSet
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForTokenClassification,
    DataCollatorForTokenClassification,
    PreTrainedTokenizerFast,
    set_seed,
)

from hf_seqreptile import METHODS, MultiTaskTrainingArguments
from hf_seqreptile.methods import method_class
from hf_seqreptile.problems.token_classification import TokenClassification, TokenClassificationArguments
from hf_seqreptile.training.trainer import MultiTaskMixin

LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{i}" for i in range(60))]

EVERY_METHOD = [method if method != "torchjd" else "torchjd:MGDA" for method in METHODS]
"""What can be typed after `--method`, with one of TorchJD's weightings."""


def methods(*fast: str) -> list[ParameterSet]:
    """Every method, as the values of a parametrized test; those that are not `fast` are slow."""
    assert {*fast} <= {*EVERY_METHOD}
    return [pytest.param(each, marks=() if each in fast else pytest.mark.slow) for each in EVERY_METHOD]


def tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of whole words."""
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        model_max_length=64,
    )  # fmt: skip


def model(seed: int = 0, dropout: float = 0.1, layers: int = 1) -> BertForTokenClassification:
    """A BERT of a few thousand parameters, the same for the same seed."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout,
        id2label=dict(enumerate(LABELS)), label2id={label: i for i, label in enumerate(LABELS)},
    )  # fmt: skip
    return BertForTokenClassification(config)


@cache
def task(size: int, seed: int) -> Dataset:
    """Sentences of 3 to 12 words whose tags depend on the words, so that there is something to learn."""
    random = np.random.default_rng(seed)
    rows = [random.integers(4, len(WORDS), random.integers(3, 13)).tolist() for _ in range(size)]
    labels = [[(word + seed % 2) % len(LABELS) if word % 3 == 0 else 0 for word in row] for row in rows]
    return Dataset.from_dict({"input_ids": rows, "attention_mask": [[1] * len(r) for r in rows], "labels": labels})


def tasks() -> dict[str, Dataset]:
    """Three tasks of unequal size."""
    return {"de": task(60, 1), "en": task(37, 2), "sw": task(9, 3)}


def problem() -> TokenClassification:
    """That of the tasks, which counts nothing of them."""
    return TokenClassification({}, TokenClassificationArguments())


def arguments(folder: Path, **changes: Any) -> MultiTaskTrainingArguments:
    """Arguments that write nothing and finish fast, but for `changes`."""
    settings: dict[str, Any] = {
        "output_dir": str(folder), "learning_rate": 1e-2, "per_device_train_batch_size": 4, "max_steps": 12,
        "inner_steps": 4, "outer_learning_rate": 0.5, "save_strategy": "no", "logging_steps": 3, "report_to": "none",
        "disable_tqdm": True, "use_cpu": True,
    }  # fmt: skip
    method = changes.get("method", "seq_reptile")
    if method not in ("seq_reptile", "reptile"):
        del settings["inner_steps"], settings["outer_learning_rate"]
        known = METHODS.get(method.partition(":")[0])
        if known and known.default_tasks_per_step == 8 and not changes.get("all_tasks_each_step"):
            # With 8 most of the time of the tests would go into these draws.
            settings["tasks_per_step"] = 3
    if method == "recadam":
        # The defaults are for small learning rates and thousands of steps.
        settings |= {"recadam_gamma": 50.0, "recadam_t0": 6.0}
    return MultiTaskTrainingArguments(**(settings | changes))


def trainer(
    folder: Path,
    train: Mapping[str, Dataset] | None = None,
    of_model: torch.nn.Module | None = None,
    trainer_class: type[MultiTaskMixin] | None = None,
    dropout: float = 0.1,
    init: dict[str, Any] | None = None,
    **changes: Any,
) -> MultiTaskMixin:
    """A trainer of the tiny model on the tiny tasks; `changes` go to the arguments, `init` to the trainer."""
    args = arguments(folder, **changes)
    if train is None:
        train = tasks() if args.method != "stl" else {"de": task(60, 1)}
    return (trainer_class or method_class(args.method))(
        model=model(dropout=dropout) if of_model is None else of_model,
        args=args,
        train_dataset=train,
        data_collator=DataCollatorForTokenClassification(tokenizer()),
        processing_class=tokenizer(),
        **(init or {}),
    )


def train(of_trainer: MultiTaskMixin, **kwargs: Any) -> MultiTaskMixin:
    """Train as in a process of its own: dropout draws from the seed, not from where the test before left off."""
    set_seed(of_trainer.args.seed)
    of_trainer.train(**kwargs)
    return of_trainer


def weights(of_model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of the model's parameters."""
    return {name: p.detach().clone() for name, p in of_model.named_parameters()}


def assert_equal(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> None:
    """The same tensors, bit for bit."""
    assert one.keys() == other.keys()
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert not different, f"{len(different)} of {len(one)} tensors differ, such as {different[0]}"


def largest_difference(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> float:
    """The largest absolute difference of any two numbers."""
    return max((one[name] - other[name]).abs().max().item() for name in one)
