"""The paper's synthetic problem (section 4.1): three tasks, one optimum each, and the trainers that follow them."""

import io
import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..methods import method_class
from ..methods.outer_loop import OuterLoopMixin
from ..training.trainer import MultiTaskMixin
from ..training.training_args import MultiTaskTrainingArguments

Point = tuple[float, float]

OPTIMA: tuple[Point, ...] = ((0.0, 10.0), (0.0, 0.0), (10.0, 0.0))
"""x_i: where task i's loss has its optimum; the sum of the tasks' losses has a local optimum there too."""
CENTRE: Point = (10 / 3, 10 / 3)
"""The mean of the optima."""
STARTS: tuple[Point, ...] = ((20.0, 5.0), (8.0, 19.0), (-8.0, -6.0))
"""The paper's start, and two of ours, from which MTL ends in the two other optima."""

SETTINGS: dict[str, Any] = {
    "optim": "sgd",
    "learning_rate": 0.1,
    "lr_scheduler_type": "constant",
    "max_grad_norm": 0.0,
    "per_device_train_batch_size": 1,
}
"""Of all methods, unless they have their own. The paper gives none."""
EXAMPLES = 1000
"""Of each task, all the same; with fewer the trainers would spend their time at the ends of epochs."""


def task_losses(points: Tensor) -> Tensor:
    """L_i(φ) = −200 exp(−0.2 ‖φ − x_i‖) of each task i (paper, section 4.1).

    The paper prints the exponent without its sign, and its 2 may be taken for a square; with it there would be no
    gradient left at the paper's start.

    Args:
        points: φ, shape (…, 2).

    Returns:
        The losses, shape (…, 3). Their gradient is taken to be 0 at the optimum, where there is none.
    """
    return -200 * torch.exp(-0.2 * torch.linalg.vector_norm(_from_optima(points), dim=-1))


def total_loss(points: Tensor) -> Tensor:
    """The objective of MTL, Σ_i L_i(φ), shape (…,)."""
    return task_losses(points).sum(dim=-1)


def mean_cosine(points: Tensor) -> Tensor:
    """The mean over the pairs of tasks of the cosine of the angle between their gradients.

    Args:
        points: φ, shape (…, 2).

    Returns:
        Shape (…,), in [−1/2, 1]. At an optimum, the cosines with that task's gradient count as 0.
    """
    # A task's gradient points straight away from its optimum.
    directions = nn.functional.normalize(_from_optima(points), dim=-1)
    one, other = torch.triu_indices(len(OPTIMA), len(OPTIMA), offset=1)
    return (directions[..., one, :] * directions[..., other, :]).sum(dim=-1).mean(dim=-1)


def _from_optima(points: Tensor) -> Tensor:
    return points.unsqueeze(-2) - torch.tensor(OPTIMA, dtype=points.dtype)


class TwoNumbers(nn.Module):
    """A model whose only parameter is φ, and whose loss on a task's batch is that task's."""

    def __init__(self, start: Point) -> None:
        super().__init__()
        self.phi = nn.Parameter(torch.tensor(start, dtype=torch.float32))

    def forward(self, number: Tensor) -> dict[str, Tensor]:
        """The loss; `number` is the task's, once for each example, shape (batch,)."""
        return {"loss": task_losses(self.phi)[number].mean()}


def trainer(method: str, start: Point, **arguments: Any) -> MultiTaskMixin:
    """The package's trainer of `method` for the three tasks.

    Args:
        method: its name, as on the command line.
        start: φ at first.
        arguments: of [`MultiTaskTrainingArguments`], in place of those in `SETTINGS` or beside them.
    """
    with tempfile.TemporaryDirectory() as folder:
        args = MultiTaskTrainingArguments(
            method=method,
            output_dir=folder,
            train_sampling_strategy="random",
            logging_strategy="no",
            save_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
            **(SETTINGS | arguments),
        )
        return method_class(method)(
            model=TwoNumbers(start),
            args=args,
            data_collator=_collate,
            train_dataset={f"x{i + 1}": TensorDataset(torch.full((EXAMPLES,), i)) for i in range(len(OPTIMA))},
        )


def _collate(examples: list[tuple[Tensor]]) -> dict[str, Tensor]:
    return {"number": torch.stack([number for (number,) in examples])}


def path(
    method: str, start: Point = STARTS[0], on_draws: Callable[[int], Any] | None = None, **arguments: Any
) -> Tensor:
    """Train, and follow φ.

    Args:
        method: as for [`trainer`].
        start: φ at first.
        on_draws: called after each optimizer step with the number of tasks that it drew.
        arguments: as for [`trainer`].

    Returns:
        φ at first and after each change of it: after optimizer steps, or outer updates. Shape (points, 2).
    """
    followed = trainer(method, start, **arguments)
    follower = _Follower(followed, on_draws)
    followed.add_callback(follower)
    # The plans and closing lines of all runs would bury the table.
    with redirect_stdout(io.StringIO()):
        followed.train()
    return torch.stack(follower.path)


class _Follower(TrainerCallback):
    """Keeps φ whenever the model is φ."""

    def __init__(self, followed: MultiTaskMixin, on_draws: Callable[[int], Any] | None) -> None:
        self.followed = followed
        self.on_draws = on_draws
        self.path: list[Tensor] = []

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._keep()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.on_draws is not None:
            self.on_draws(self.followed.tasks_per_step)
        if not (isinstance(self.followed, OuterLoopMixin) and self.followed.is_between_outer_updates):
            self._keep()

    def _keep(self) -> None:
        assert isinstance(self.followed.model, TwoNumbers)
        self.path.append(self.followed.model.phi.detach().clone())
