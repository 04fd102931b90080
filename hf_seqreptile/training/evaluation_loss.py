"""The loss of an evaluation: the mean over all labels, whatever the batches."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from transformers.trainer_pt_utils import find_batch_size


class LabelMean:
    """Gathers the mean losses of batches, and gives the mean over their labels.

    Args:
        skips_not_finite: whether batches whose loss is not finite are left out, unless none is
            (`logging_nan_inf_filter`).
    """

    def __init__(self, skips_not_finite: bool) -> None:
        self.skips_not_finite = skips_not_finite
        self._losses: list[torch.Tensor] = []
        self._labels: list[int] = []

    def add(self, loss: torch.Tensor, labels: int) -> None:
        """Take note of a batch: its mean loss, and the number of its labels."""
        self._losses.append(loss.detach().float())
        self._labels.append(labels)

    def over_processes(self, accelerator: Accelerator) -> float | None:
        """The mean over the batches of all processes, `None` where there were none; NaN if no batch has labels."""
        if not self._losses:
            return None
        losses, labels = torch.stack(self._losses).double().cpu(), torch.tensor(self._labels)
        # A batch without labels has no mean.
        counted = labels > 0
        finite = losses.isfinite() & counted
        sums = [[float((losses * labels)[mask].sum()), float(labels[mask].sum())] for mask in (finite, counted)]
        if accelerator.num_processes > 1:
            sums = torch.tensor(gather_object([sums]), dtype=torch.float64).sum(dim=0).tolist()
        (total, number), (total_of_all, number_of_all) = sums
        if not (self.skips_not_finite and number):
            total, number = total_of_all, number_of_all
        return total / number if number else float("nan")


class OwnRows(NamedTuple):
    """The part of a batch that no other batch repeats.

    Args:
        inputs: the batch without its other rows, but with one row at least, so that all processes have work.
        number: how many rows that are; 0 where `inputs` only has the row that is repeated.
    """

    inputs: dict[str, Any]
    number: int


def own_rows(inputs: Mapping[str, Any], accelerator: Accelerator) -> OwnRows | None:
    """A batch without the rows that only fill it up; `None` where no process has such rows.

    Several processes take equally many batches, of which the last are filled up with rows of the data's begin.
    """
    state = accelerator.gradient_state
    rows = find_batch_size(inputs)
    if accelerator.num_processes == 1 or rows is None or not state.end_of_dataloader or state.remainder <= 0:
        return None
    number = min(max(state.remainder - accelerator.process_index * rows, 0), rows)
    own = {
        name: value[: max(number, 1)] if isinstance(value, torch.Tensor) and value.shape[:1] == (rows,) else value
        for name, value in inputs.items()
    }
    return OwnRows(own, number)
