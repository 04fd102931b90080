"""The loss of extractive question answering."""

from collections.abc import Mapping

import torch
from torch.nn import functional


def answer_loss(outputs: Mapping[str, torch.Tensor], inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Mean cross-entropy of the answers' first and last tokens, each among the tokens that are no padding.

    The models' own loss takes padding for possible answers too, so that it depends on how far a batch is padded, and
    the same examples in other batches would train otherwise.

    Args:
        outputs: `start_logits` and `end_logits`, (features, length).
        inputs: `attention_mask`, (features, length), `start_positions` and `end_positions`, (features,).
    """
    padding = inputs["attention_mask"] == 0
    losses = [
        functional.cross_entropy(
            outputs[f"{end}_logits"].float().masked_fill(padding, -torch.inf), inputs[f"{end}_positions"]
        )
        for end in ("start", "end")
    ]
    return torch.stack(losses).mean()
