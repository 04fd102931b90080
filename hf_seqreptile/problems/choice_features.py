"""Multiple choice as inputs of a model, and as its loss: rows may have different numbers of choices."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional
from transformers import PreTrainedTokenizerBase
from transformers.data.data_collator import pad_without_fast_tokenizer_warning

from ..models.class_head import NEVER
from .choice_rows import ChoiceColumns, read_row
from .problem import IS_CUT
from .text_features import LABEL_IDS
from .text_labels import NO_LABEL

NUM_CHOICES = "num_choices"
"""The column of features with the number of a row's choices."""
LENGTH = "length"
"""The column of features with the number of a row's tokens, all choices together."""


def encode_choices(
    rows: dict[str, list],
    indices: list[int],
    tokenizer: PreTrainedTokenizerBase,
    columns: ChoiceColumns,
    rows_in_data: Sequence[int],
    where: str,
    max_length: int,
    padding: str | bool,
) -> dict[str, list]:
    """Features of a batch of rows: for each the model's inputs of all choices, `labels`, and numbers of its own.

    Args:
        rows: of one task's split.
        indices: their numbers among those that are encoded.
        tokenizer: of the model.
        columns: where what is.
        rows_in_data: the numbers in the data of the rows that are encoded.
        where: task and split, for messages.
        max_length: tokens after which the longer of context and choice is cut.
        padding: the tokenizer's.

    Raises:
        InputError: a row that is wrong; names task, split and row.
    """
    read = [
        read_row(dict(zip(rows, values, strict=True)), columns, f"{where}, row {rows_in_data[index] + 1}")
        for index, *values in zip(indices, *rows.values(), strict=True)
    ]
    counts = [len(row.seconds) for row in read]
    inputs = tokenizer(
        [row.first for row in read for _ in row.seconds],
        [second for row in read for second in row.seconds],
        truncation=True,
        max_length=max_length,
        padding=padding,
    )
    is_cut = [bool(encoding.overflowing) for encoding in inputs.encodings or ()]
    features = {name: _by_row(values, counts) for name, values in inputs.items()}
    return features | {
        LABEL_IDS: [NO_LABEL if row.label is None else row.label for row in read],
        NUM_CHOICES: counts,
        LENGTH: [sum(map(len, of_row)) for of_row in features["input_ids"]],
        IS_CUT: [any(of_row) for of_row in _by_row(is_cut, counts)],
    }


def _by_row(values: Sequence[Any], counts: Sequence[int]) -> list[list[Any]]:
    rest = iter(values)
    return [[next(rest) for _ in range(count)] for count in counts]


class ChoiceCollator:
    """Pads choices to the longest of a batch, and rows to the most choices; a choice that was added has one token.

    Args:
        tokenizer: of the model.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Inputs of (rows, choices, tokens), and `labels` of (rows,) where there are any."""
        names = [name for name in self.tokenizer.model_input_names if name in features[0]]
        most = max(len(row["input_ids"]) for row in features)
        # One token is seen, for no attention at all has no mean.
        added = {"input_ids": [self.tokenizer.pad_token_id], "attention_mask": [1], "token_type_ids": [0]}
        choices = [
            {name: row[name][i] if i < len(row["input_ids"]) else added[name] for name in names}
            for row in features
            for i in range(most)
        ]
        padded = pad_without_fast_tokenizer_warning(self.tokenizer, choices, padding=True, return_tensors="pt")
        batch = {name: values.view(len(features), most, -1) for name, values in padded.items()}
        if LABEL_IDS in features[0]:
            batch[LABEL_IDS] = torch.tensor([row[LABEL_IDS] for row in features])
        return batch


def choice_loss(outputs: Mapping[str, torch.Tensor], inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Mean cross-entropy of the right choices, each among those of its row.

    The models' own loss takes the choices that a batch was filled up with for possible answers too.

    Args:
        outputs: `logits`, (rows, choices).
        inputs: `attention_mask`, (rows, choices, tokens), and `labels`, (rows,).
    """
    added = inputs["attention_mask"].sum(dim=-1) == 1
    return functional.cross_entropy(outputs["logits"].float().masked_fill(added, NEVER), inputs[LABEL_IDS])
