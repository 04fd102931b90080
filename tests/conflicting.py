"""Tasks whose gradients conflict, and steps of gradient descent on them written out.

As a script it is one process of a distributed run: FOLDER METHOD….
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from safetensors.torch import save_file
from torch import nn
from transformers import BertForTokenClassification

from hf_seqreptile.methods.task_gradients import TaskGradientMixin, TaskGradientTrainer, Weighting
from hf_seqreptile.training.trainer import MultiTaskMixin
from tests import tiny

Gradient = dict[str, torch.Tensor]
"""By name of the parameter, without the parameters that the loss does not depend on."""

RARE, COMMON = tiny.WORDS.index("w0"), tiny.WORDS.index("w1")


def task(label: int, size: int, firsts: Sequence[int] = (RARE, COMMON)) -> Dataset:
    """Sentences that give nearly every word the same label, another one in each task.

    Args:
        label: of nearly every word.
        size: number of sentences.
        firsts: the sentences' first words, in turn.
    """
    random = np.random.default_rng(label)
    rows = [random.integers(COMMON, len(tiny.WORDS), random.integers(3, 13)).tolist() for _ in range(size)]
    rows = [[firsts[i % len(firsts)], *row] for i, row in enumerate(rows)]
    labels = [[word % len(tiny.LABELS) if word % 7 == 0 else label for word in row] for row in rows]
    return Dataset.from_dict({"input_ids": rows, "attention_mask": [[1] * len(r) for r in rows], "labels": labels})


def tasks(number: int = 3) -> dict[str, Dataset]:
    """Up to four tasks of unequal size."""
    return {name: task(label, 40 - 8 * label) for label, name in enumerate(["de", "en", "sw", "fr"][:number], 1)}


class Model(BertForTokenClassification):
    """With a layer that nothing passes through, and one that only sentences with the word w0 pass through."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.unused = nn.Linear(4, 4)
        self.rare = nn.Linear(len(tiny.LABELS), len(tiny.LABELS))

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor, **inputs: Any) -> Any:
        outputs = super().forward(input_ids=input_ids, **inputs)
        is_rare = (input_ids == RARE).any(dim=1)
        if is_rare.any():
            outputs.logits = outputs.logits + is_rare[:, None, None] * self.rare(outputs.logits)
        outputs.loss = nn.functional.cross_entropy(outputs.logits.flatten(0, 1), labels.flatten())
        return outputs


def model(layers: int = 1) -> Model:
    """The same each time, without dropout."""
    torch.manual_seed(0)
    return Model(tiny.model(dropout=0.0, layers=layers).config)


def trainer(
    folder: Path, method: str = "pcgrad", weighting: Weighting | None = None, **changes: Any
) -> MultiTaskMixin:
    """A trainer that makes steps of plain gradient descent on three draws each, but for `changes`."""
    settings: dict[str, Any] = {
        "train": tasks(), "of_model": model(), "optim": "sgd", "lr_scheduler_type": "constant", "max_grad_norm": 0.0,
        "learning_rate": 0.5, "tasks_per_step": 3, "max_steps": 6,
    }  # fmt: skip
    if changes.get("all_tasks_each_step"):
        del settings["tasks_per_step"]
    if weighting is not None:
        method = "task_gradients"
        settings |= {"trainer_class": TaskGradientTrainer, "init": {"weighting": weighting}}
    return tiny.trainer(folder, method=method, **settings | changes)


def orders_of(of_trainer: TaskGradientMixin) -> dict[int, list[list[int]]]:
    """Train; by step the orders in which the tasks visited each other."""
    orders, random_orders = {}, of_trainer.random_orders

    def note(number: int) -> list[list[int]]:
        orders[of_trainer.state.global_step] = random_orders(number)
        return orders[of_trainer.state.global_step]

    of_trainer.random_orders = note
    of_trainer.train()
    return orders


def draws_of(of_trainer: MultiTaskMixin) -> Iterator[list[tuple[str, list[dict[str, torch.Tensor]]]]]:
    """For each step of training its draws: the task and the micro-batches."""
    per_draw = of_trainer.args.gradient_accumulation_steps
    loader = of_trainer.get_train_dataloader()
    steps = 0
    for epoch in range(100):
        of_trainer._sampler.set_epoch(epoch)
        batches = list(loader)
        draws = [(batches[i].pop("task"), batches[i : i + per_draw]) for i in range(0, len(batches), per_draw)]
        for _, micro_batches in draws:
            for batch in micro_batches[1:]:
                del batch["task"]
        for start in range(0, len(draws), of_trainer.tasks_per_step):
            yield draws[start : start + of_trainer.tasks_per_step]
            steps += 1
            if steps == of_trainer.args.max_steps:
                return


def gradients_of(
    of_model: nn.Module, draws: Sequence[tuple[str, list[dict[str, torch.Tensor]]]]
) -> dict[str, Gradient]:
    """By task the gradient of its mean loss over its n of the M draws, times n·T/M."""
    losses: dict[str, list[torch.Tensor]] = {}
    for name, micro_batches in draws:
        labels = [(batch["labels"] != -100).sum() for batch in micro_batches]
        parts = [of_model(**batch).loss * n for batch, n in zip(micro_batches, labels, strict=True)]
        losses.setdefault(name, []).append(sum(parts) / sum(labels))
    parameters = {name: p for name, p in of_model.named_parameters() if p.requires_grad}
    gradients = {}
    for name, of_task in losses.items():
        loss = torch.stack(of_task).mean() * len(of_task) * len(losses) / len(draws)
        parts = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True, retain_graph=True)
        gradients[name] = {p: part for p, part in zip(parameters, parts, strict=True) if part is not None}
    return gradients


def descend(
    of_trainer: MultiTaskMixin, of_model: nn.Module, combine: Callable[[int, dict[str, Gradient]], Gradient]
) -> dict[str, torch.Tensor]:
    """Where `of_model` is after the trainer's steps, each along what `combine` makes of the tasks' gradients.

    Args:
        of_trainer: gives the draws and the learning rate.
        of_model: as the trainer's was before training.
        combine: from the step (0, 1, …) and the gradient of each task that it drew to the step's.
    """
    parameters = dict(of_model.named_parameters())
    for step, draws in enumerate(draws_of(of_trainer)):
        combined = combine(step, gradients_of(of_model, draws))
        with torch.no_grad():
            for name, gradient in combined.items():
                parameters[name] -= of_trainer.args.learning_rate * gradient
    return tiny.weights(of_model)


def on_vectors(
    gradients: Sequence[Gradient], combine: Callable[[list[torch.Tensor]], torch.Tensor], names: Sequence[str] = ()
) -> Gradient:
    """`combine` of the gradients as vectors of float64; of the parameters `names` alone, if given."""
    shapes = {name: part.shape for gradient in gradients for name, part in gradient.items()}
    shapes = {name: shapes[name] for name in names or shapes if name in shapes}
    vectors = [
        torch.cat([g.get(name, torch.zeros(shape)).double().flatten() for name, shape in shapes.items()])
        for g in gradients
    ]
    parts = combine(vectors).split([shape.numel() for shape in shapes.values()])
    return {name: part.view(shape).float() for (name, shape), part in zip(shapes.items(), parts, strict=True)}


def train_and_resume(folder: Path, method: str, batch: int) -> MultiTaskMixin:
    """Five steps of five draws, some of which touch a layer on one of two processes alone.

    Returns:
        A trainer that was trained so from the start; before, another one was, and continued from its second step, and
        they ended at the same weights bit for bit.
    """
    settings = {"per_device_train_batch_size": batch, "tasks_per_step": 5, "max_steps": 5}
    whole = trainer(folder, method, **settings, save_strategy="steps", save_steps=2)
    whole.train()
    resumed = trainer(folder, method, **settings)
    resumed.train(resume_from_checkpoint=str(folder / "checkpoint-2"))
    tiny.assert_equal(tiny.weights(whole.model), tiny.weights(resumed.model))
    return whole


def main(folder: str, *methods: str) -> None:
    """Train with each of `methods`, on micro-batches of one example, and write the weights that this process has."""
    for method in methods:
        end = train_and_resume(Path(folder) / method, method, batch=1)
        save_file(tiny.weights(end.model), Path(folder) / f"{method}-{end.args.process_index}")


if __name__ == "__main__":
    main(*sys.argv[1:])
