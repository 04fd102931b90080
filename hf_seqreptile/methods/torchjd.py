"""`--method torchjd:NAME`: any of TorchJD's weightings by the Gram matrix."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import TrainingArguments

from ..errors import InputError
from ..training.training_args import MultiTaskTrainingArguments
from .task_gradients import TaskGradientMixin, Weighting, weights_by


class TorchJDMixin(TaskGradientMixin):
    """The step's gradient is Σ_i w_i g_i with the weights of TorchJD's `NAMEWeighting`, made with its defaults.

    For other settings of a weighting make it yourself: `TaskGradientTrainer(weighting=CAGradWeighting(c=0.4))`.
    """

    method = "torchjd"
    title = "a weighting of TorchJD"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        name = self.run_args.method.partition(":")[2]
        self.weighting = torchjd_weighting(name)
        self.title = f"{name} (by TorchJD)"

    @classmethod
    def check_arguments(cls, args: TrainingArguments) -> None:
        """As in the parent; refuses a weighting that TorchJD does not have, or not as this needs it."""
        super().check_arguments(args)
        assert isinstance(args, MultiTaskTrainingArguments)
        torchjd_weighting(args.method.partition(":")[2])

    def task_weights(self, gram: torch.Tensor, tasks: Sequence[str], group: str) -> torch.Tensor:
        """As in the parent."""
        return weights_by(self.weighting, gram)


class TorchJDTrainer(TorchJDMixin):
    """A TorchJD weighting over `transformers.Trainer`; `args.method` names it, `torchjd:UPGrad`."""


def torchjd_weighting(name: str) -> Weighting:
    """TorchJD's `NAMEWeighting`.

    Raises:
        InputError: TorchJD is not installed, has none of that name, or one that needs arguments, extras or more than
            one step's Gram matrix.
    """
    try:
        from torchjd import Stateful, aggregation
    except ImportError as error:
        raise InputError(f"--method torchjd:{name} needs TorchJD: pip install 'hf-seqreptile[torchjd]'") from error
    found = {
        key.removesuffix("Weighting"): value
        for key, value in vars(aggregation).items()
        if key.endswith("Weighting") and key != "Weighting" and not issubclass(value, Stateful)
    }
    if name not in found:
        raise InputError(
            f"--method torchjd:{name} is unknown; name one of TorchJD's stateless weightings: {', '.join(found)}."
        )
    try:
        weighting = found[name]()
        with torch.random.fork_rng():
            weighting(torch.eye(2))
    except Exception as error:  # whatever that weighting raises where it lacks an argument or an extra
        raise InputError(
            f"--method torchjd:{name} cannot be used as it is: {error}. In Python, give it what it needs: "
            f"TaskGradientTrainer(weighting={name}Weighting(...))."
        ) from error
    return weighting
