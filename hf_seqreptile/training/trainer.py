"""The trainer of every method: several tasks, drawn one after another, under the stock training loop."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from transformers import ProgressCallback, TrainingArguments
from transformers.trainer_utils import TrainOutput, seed_worker

from ..errors import InputError
from ..publishing.training_facts import SettingRow, TrainingFacts
from .backends import check_sharding, refuse_unsupported_backends
from .gradient_alignment import GradientAlignmentMixin
from .interruption import outlive_sigterm
from .method import COMPARED_IN_THE_PAPER, MethodMixin
from .plan import TrainingPlan, short_step_notes
from .progress import TaskProgressCallback
from .sampling import EveryTaskSampler, TaskBatchSampler, task_probabilities
from .task_datasets import OneTaskCollator, TaskDatasets, count_labels
from .training_args import MultiTaskTrainingArguments


class MultiTaskMixin(GradientAlignmentMixin, MethodMixin):
    """What every method needs: tasks drawn with p_t ∝ N_t^q, a loss and metrics for each, exact resume.

    An optimizer step is an accumulation window of M draws (`tasks_per_step`); a draw is
    `gradient_accumulation_steps` micro-batches of one task on every process, and its loss is the mean over the
    labels of all of them. The step's loss is the mean over its draws.

    Combine it with another `Trainer` subclass by naming it first: `class Mine(MultiTaskMixin, TheirTrainer)`.

    Args:
        train_dataset: one dataset for each task, by name; each needs a length. `None` when only evaluating.
        eval_dataset: one dataset for each task, by name, or a single dataset as in the stock trainer.
        compute_batch_loss: the mean loss of a batch from the model's outputs and inputs, in place of the model's own.
        Everything else is as in [`EvaluationMixin`] and `transformers.Trainer`.

    Raises:
        InputError: no or empty tasks, another method's arguments, or a set-up that the method cannot run on.
    """

    loss_is_scaled_for_ga = True
    args: MultiTaskTrainingArguments

    def __init__(
        self,
        model: nn.Module | None = None,
        args: MultiTaskTrainingArguments | None = None,
        data_collator: Any = None,
        train_dataset: Mapping[str, Dataset] | None = None,
        eval_dataset: Mapping[str, Dataset] | Dataset | None = None,
        compute_batch_loss: Callable[[Any, dict[str, Any]], torch.Tensor] | None = None,
        **kwargs: Any,
    ) -> None:
        if args is None:
            args = MultiTaskTrainingArguments(method=self.method, output_dir="tmp_trainer")
        self.check_arguments(args)
        refuse_unsupported_backends(args)
        self.tasks = TaskDatasets(train_dataset) if train_dataset is not None else None
        self.compute_batch_loss = compute_batch_loss
        every_task = len(self.tasks.sizes) if self.tasks is not None and args.all_tasks_each_step else None
        self.tasks_per_step = every_task or args.tasks_per_step or self.default_tasks_per_step
        super().__init__(model, args, data_collator, train_dataset=self.tasks, eval_dataset=eval_dataset, **kwargs)
        assert self.model is not None
        check_sharding(self.model, self.method, args, self.processes_share_draws)
        if self.pop_callback(ProgressCallback):
            self.add_callback(TaskProgressCallback)
        # Model heads differ in what they do with a label count. Without one, all return the mean over the labels of
        # the micro-batch, which `compute_loss` turns into that micro-batch's share of its draw's loss.
        self.model_accepts_loss_kwargs = False
        self._micro_batches_per_draw = args.gradient_accumulation_steps
        self._draws_in_step = self.tasks_per_step
        self._window: Iterator[tuple[int, str, float]] = iter(())
        self._loss_weight: float | None = None
        self._sampler: TaskBatchSampler | None = None
        self._task_losses: dict[str, list[float]] = {}

    @property
    def draws_tasks(self) -> bool:
        """Whether tasks are drawn with p_t ∝ N_t^q; otherwise each has its turn."""
        return not self.args.all_tasks_each_step

    @property
    def processes_share_draws(self) -> bool:
        """Whether all processes work on one draw; otherwise each has its own."""
        return True

    @property
    def trainer_averages_gradients(self) -> bool:
        """Whether the stock trainer averages the processes' gradients; otherwise the method sees to them."""
        return self.processes_share_draws

    @property
    def task_probabilities(self) -> dict[str, float]:
        """p_t of each training task."""
        exponent = self.args.task_sampling_exponent if self.draws_tasks else 0.0
        return task_probabilities(self._training_tasks.sizes, exponent)

    @property
    def examples_per_draw(self) -> int:
        """Examples of one draw: a micro-batch's, times accumulation steps, times the processes that share the draw."""
        shared_by = self.args.world_size if self.processes_share_draws else 1
        return self._train_batch_size * self._micro_batches_per_draw * shared_by

    @property
    def draw_counts(self) -> dict[str, int]:
        """How often each task was drawn so far; empty before training."""
        if self._sampler is None:
            return {}
        return self._sampler.draw_counts(self._sampler.draws_after(self.state.global_step, self.tasks_per_step))

    @property
    def _training_tasks(self) -> TaskDatasets:
        if self.tasks is None:
            raise InputError("Training needs a train_dataset: a dict with one dataset for each task.")
        return self.tasks

    def plan(self, optimizer_steps: int) -> TrainingPlan:
        """What a run of `optimizer_steps` will do; printed before training. A method adds its own notes.

        Raises:
            InputError: the run cannot work as set.
        """
        sampler = self._epoch_sampler() if self._sampler is None else self._sampler
        return TrainingPlan(
            method=self.args.method,
            sizes=self._training_tasks.sizes,
            probabilities=self.task_probabilities,
            expected_draws=sampler.expected_counts(sampler.draws_after(optimizer_steps, self.tasks_per_step)),
            optimizer_steps=optimizer_steps,
            tasks_per_step=self.tasks_per_step,
            parallel_draws=sampler.parallel_draws,
            notes=short_step_notes(sampler, optimizer_steps, self.tasks_per_step) + self._alignment_notes(),
        )

    def describe_training(self) -> str:
        """What an optimizer step is made of, in a sentence or two for the model card."""
        if not self.draws_tasks:
            return f"Each optimizer step took one batch of each of the {self.tasks_per_step} tasks."
        fewer = ", the last step of an epoch what was left of it" if self.tasks_per_step > 1 else ""
        return (
            f"Tasks were drawn with probability {self.describe_probabilities(self.args)}; each optimizer step took "
            f"M = {self.tasks_per_step} of them{fewer}."
        )

    def training_facts(self) -> TrainingFacts:
        """As in the parent.

        Raises:
            InputError: there are no training tasks.
        """
        if self.tasks is None:
            raise InputError("A model card describes a training run, but this trainer has no train_dataset.")
        args, state = self.args, self.state
        best = (state.best_global_step or 0, str(args.metric_for_best_model)) if state.best_model_checkpoint else None
        return TrainingFacts(
            method=args.method,
            title=self.title,
            description=self.describe_training(),
            citation=self.citation,
            tags=self.tags,
            sizes=self.tasks.sizes,
            probabilities=self.task_probabilities,
            draws=self.draw_counts,
            settings=self._rows_of_settings(),
            model=self.model,
            best=best if args.load_best_model_at_end else None,
        )

    def _rows_of_settings(self, step: str = "optimizer step", rate: str = "learning rate") -> list[SettingRow]:
        """All that the result depends on.

        Args:
            step: what the method calls an optimizer step.
            rate: what it calls the learning rate of one.
        """
        args, own = self.args, self.own_settings(type(self.args))
        draws_by_exponent = self.draws_tasks and self.exponent_counts()
        return [
            ("method", "", args.method),
            *((own[name].words, own[name].symbol, value) for name, value in self.settings(args).items()),
            (rate, "α", args.learning_rate),
            ("learning rate schedule", "", args.lr_scheduler_type),
            ("optimizer", "", args.optim),
            (f"drawn tasks of an {step}", "M", self.tasks_per_step),
            *([("task sampling exponent", "q", args.task_sampling_exponent)] if draws_by_exponent else []),
            ("batch: examples of a draw", "B", self.examples_per_draw),
            (f"{step}s of the run", "S", self.state.global_step),
            *self._rows_of_outcome(),
            ("seed", "", str(args.seed)),
        ]

    def _rows_of_outcome(self) -> list[SettingRow]:
        """What a method adds to the number of steps."""
        return []

    # Training: one epoch's micro-batches, and how the stock loop walks them.

    def _inner_training_loop(self, *args: Any, **kwargs: Any) -> TrainOutput:
        with self._accumulating_drawn_tasks():
            return super()._inner_training_loop(*args, **kwargs)

    @contextmanager
    def _accumulating_drawn_tasks(self) -> Iterator[None]:
        # The stock loop knows one kind of accumulation; for its duration that covers the drawn tasks too.
        self._micro_batches_per_draw = self.args.gradient_accumulation_steps
        self.args.gradient_accumulation_steps *= self.tasks_per_step
        try:
            yield
        finally:
            self.args.gradient_accumulation_steps = self._micro_batches_per_draw

    def get_train_dataloader(self) -> DataLoader:
        """The micro-batches of one epoch; each carries its task's name under `task`."""
        args, tasks = self.args, self._training_tasks
        self._sampler = self._epoch_sampler()
        collator = self._get_collator_with_removed_columns(self.data_collator, description="training")
        loader = DataLoader(
            tasks,
            batch_sampler=self._sampler,
            collate_fn=OneTaskCollator(collator),
            num_workers=args.dataloader_num_workers,
            pin_memory=args.dataloader_pin_memory,
            persistent_workers=args.dataloader_persistent_workers,
            prefetch_factor=args.dataloader_prefetch_factor,
            multiprocessing_context=args.dataloader_multiprocessing_context,
            in_order=args.dataloader_in_order,
            worker_init_fn=partial(seed_worker, num_workers=args.dataloader_num_workers, rank=args.process_index),
        )
        return outlive_sigterm(self.accelerator.prepare(loader))

    def _epoch_sampler(self) -> TaskBatchSampler:
        return self._make_sampler(TaskBatchSampler if self.draws_tasks else EveryTaskSampler)

    def _make_sampler(self, sampler_class: Callable[..., TaskBatchSampler], **settings: Any) -> TaskBatchSampler:
        args, tasks = self.args, self._training_tasks
        shared_by = args.world_size if self.processes_share_draws else 1
        return sampler_class(
            tasks.sizes,
            self.task_probabilities,
            batch_size=self._train_batch_size,
            micro_batches=self._micro_batches_per_draw * shared_by,
            seed=self._draw_seed,
            lengths={task: self._lengths(dataset) for task, dataset in tasks.datasets.items()},
            rows=tasks.rows,
            parallel_draws=args.world_size // shared_by,
            **settings,
        )

    def set_initial_training_values(self, args: TrainingArguments, dataloader: DataLoader) -> tuple:
        """As in the stock trainer; the number of steps is now known, so the plan is printed."""
        values = super().set_initial_training_values(args, dataloader)
        plan = self.plan(optimizer_steps=values[-1])
        if self.is_world_process_zero():
            print(plan, flush=True)
        return values

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        # On several processes neither accelerate nor the stock loop reaches the sampler of a mid-epoch resume.
        assert self._sampler is not None
        self._sampler.set_epoch(kwargs["epoch"])
        super()._run_epoch(*args, **kwargs)

    # Losses: a draw's, and each task's for the log.

    def get_batch_samples(
        self, epoch_iterator: Iterator, num_batches: int, device: torch.device
    ) -> tuple[list, torch.Tensor | None]:
        """The window's micro-batches; the weight of each in the step's loss is kept for `compute_loss`."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        tasks = [batch.pop("task") for batch in batches]
        labels = torch.stack([count_labels(batch).to(device) for batch in batches])
        labels = labels.view(-1, self._micro_batches_per_draw)
        of_draw, processes = labels.sum(dim=1, keepdim=True), 1
        self._draws_in_step = len(labels)
        if self.processes_share_draws:
            # Their gradients are averaged, hence the factor of their number.
            of_draw, processes = self.accelerator.reduce(of_draw, reduction="sum"), self.accelerator.num_processes
        weights = labels * processes / (of_draw * self._draws_in_step)
        self._window = iter([(i, *one) for i, one in enumerate(zip(tasks, weights.flatten().tolist(), strict=True))])
        return batches, None

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """Forward and backward pass of one micro-batch; returns its share of the step's loss."""
        number, task, share = next(self._window)
        factor = self.loss_factor(task)
        self._loss_weight = share * factor
        averaging = nullcontext() if self.trainer_averages_gradients else self.accelerator.no_sync(model)
        try:
            with averaging:
                loss = super().training_step(model, inputs, num_items_in_batch) / factor
        finally:
            self._loss_weight = None
        value = loss.item()
        if not math.isfinite(value):
            raise InputError(
                f"The loss of task {task!r} is {value} at step {self.state.global_step + 1}. Lower --learning_rate, "
                f"or look for broken examples in that task. Checkpoints already written are untouched."
            )
        total, draws = self._task_losses.get(task, (0.0, 0.0))
        self._task_losses[task] = [total + value * self._draws_in_step, draws + 1 / self._micro_batches_per_draw]
        draw, last = divmod(number + 1, self._micro_batches_per_draw)
        if not last:
            self.end_draw(task, is_last_of_step=draw == self._draws_in_step)
        return loss

    def loss_factor(self, task: str) -> float:
        """What the method multiplies the task's loss with before the backward pass; logged losses are without it."""
        return 1.0

    def end_draw(self, task: str, is_last_of_step: bool) -> None:
        """Called after the backward pass of a draw's last micro-batch, before gradients are clipped."""

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The stock loss; in training, weighted by the micro-batch's share of the labels of its draw."""
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True)
        if self.compute_batch_loss is not None:
            loss = self.compute_batch_loss(outputs, inputs)
        if self._loss_weight is not None:
            loss = loss * self._loss_weight
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """The stock log; training losses come with `loss/TASK` and the number of draws so far, `draws/TASK`."""
        if "loss" in logs and self._sampler is not None:
            logs |= self._logs_of_tasks()
        super().log(logs, start_time)

    def _logs_of_tasks(self) -> dict[str, float]:
        draws = self.draw_counts
        sums = torch.tensor([self._task_losses.get(t, [0.0, 0.0]) for t in draws], device=self.args.device)
        sums = self.accelerator.reduce(sums, reduction="sum").tolist()
        self._task_losses = {}
        losses = {f"loss/{t}": total / n for t, (total, n) in zip(draws, sums, strict=True) if n}
        return losses | {f"draws/{t}": float(n) for t, n in draws.items()}

    # What a checkpoint must agree in with the run that continues it.

    def run_identity(self) -> dict[str, Any]:
        """Method, tasks, their data, and everything that draws, trajectories or steps depend on."""
        args = self.args
        return {
            **super().run_identity(),
            "method": self.args.method,
            "tasks": dict(self._training_tasks.sizes),
            "rows": dict(self._training_tasks.rows),
            "examples": self._training_tasks.digests,
            "tasks_per_step": self.tasks_per_step,
            "all_tasks_each_step": args.all_tasks_each_step,
            "examples_per_draw": self.examples_per_draw,
            "task_sampling_exponent": args.task_sampling_exponent,
            "seed": self._draw_seed,
            **self.settings(args),
        }

    @property
    def _draw_seed(self) -> int:
        return self.args.seed if self.args.data_seed is None else self.args.data_seed


class MultiTaskTrainer(MultiTaskMixin):
    """The mean of the drawn tasks' losses (Eq. 1 without regularizer): the paper's MTL, and the base of all methods.

    See [`MultiTaskMixin`] for the arguments.
    """

    method = "mtl"
    title = "MTL (multi-task learning without regularizer)"
    citation = COMPARED_IN_THE_PAPER
