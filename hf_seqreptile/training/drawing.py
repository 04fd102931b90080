"""Which batches training gets: tasks drawn for each optimizer step, under the stock loop and after a resume alike."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import datasets
import torch
from torch.utils.data import DataLoader, Dataset
from transformers.trainer_utils import TrainOutput, seed_worker

from ..errors import InputError
from .batch_attempts import BatchAttemptsMixin
from .draw_losses import DrawLossMixin
from .drawn_examples import DrawnExamples, has_transform
from .gradient_alignment import GradientAlignmentMixin
from .interruption import outlive_sigterm
from .method import MethodMixin
from .plan import steps_of_budget
from .sampling import EveryTaskSampler, TaskBatchSampler, draws_for_the_data, task_probabilities
from .search import SearchMixin
from .task_datasets import OneTaskCollator, TaskDatasets
from .task_shares import capped, numbers_by_task
from .training_args import MultiTaskTrainingArguments


class EpochInProgress(NamedTuple):
    """An epoch's number, the optimizer steps before it, and how often each task was drawn before it."""

    epoch: int
    step: int
    counts: dict[str, int]


class DrawingMixin(GradientAlignmentMixin, BatchAttemptsMixin, MethodMixin, DrawLossMixin, SearchMixin):
    """Draws the tasks of each optimizer step, and hands their micro-batches to the stock loop.

    An epoch's draws follow from the seed, the tasks' sizes and the epoch; how often each task was drawn before the
    epoch in progress is in checkpoints.

    Everything else is as in [`DrawLossMixin`], [`EvaluationMixin`] and `transformers.Trainer`.
    """

    run_args: MultiTaskTrainingArguments
    tasks: TaskDatasets | None
    _sampler: TaskBatchSampler | None = None
    _epoch_in_progress: EpochInProgress | None = None
    _resumed_in: EpochInProgress | None = None

    def _spend_budget(self) -> None:
        """Set `max_steps` to what `max_gradient_computations` affords."""
        if self.run_args.max_gradient_computations is not None:
            self.run_args.max_steps = steps_of_budget(self.run_args.max_gradient_computations, self._draws_of_a_step)

    @property
    def _draws_of_a_step(self) -> int:
        """Of an optimizer step, all processes together."""
        return self.tasks_per_step * (self.args.world_size // self._processes_of_a_draw)

    @property
    def tasks_per_step(self) -> int:
        """M of the run: tasks drawn for one optimizer step."""
        if self.run_args.all_tasks_each_step and self.tasks is not None:
            return len(self.tasks.sizes)
        return self.run_args.tasks_per_step or self.default_tasks_per_step

    @property
    def draws_tasks(self) -> bool:
        """Whether tasks are drawn with p_t ∝ N_t^q; otherwise each has its turn."""
        return not self.run_args.all_tasks_each_step

    @property
    def task_probabilities(self) -> dict[str, float]:
        """p_t of each training task."""
        args, sizes = self.run_args, self._training_tasks.sizes
        if not self.draws_tasks:
            return task_probabilities(sizes, 0.0)
        weights = numbers_by_task("task_weights", args.task_weights, whole=False)
        total = sum(weights.values())
        shares = {task: weights[task] / total for task in sizes} if weights else None
        probabilities = shares or task_probabilities(sizes, args.task_sampling_exponent)
        if args.max_task_passes is None:
            return probabilities
        draws, rows = self._draws_of_the_run(), self._training_tasks.rows
        most = {task: args.max_task_passes * rows[task] / self.examples_of_draw(task) / draws for task in sizes}
        return capped(probabilities, most)

    def _draws_of_the_run(self) -> int:
        """Of all processes, as the arguments tell it."""
        args, draws_of_step = self.run_args, self._draws_of_a_step
        if args.max_steps > 0:
            return args.max_steps * draws_of_step
        sizes = {task: self.examples_of_draw(task) for task in self._training_tasks.sizes}
        steps = -(-draws_for_the_data(self._training_tasks.sizes, sizes) // draws_of_step)
        return math.ceil(args.num_train_epochs * steps) * draws_of_step

    @property
    def _processes_of_a_draw(self) -> int:
        return self.args.world_size if self.processes_share_draws else 1

    @property
    def examples_per_draw(self) -> int:
        """Examples of one draw: a micro-batch's, times accumulation steps, times the processes that share the draw."""
        return self._train_batch_size * self._micro_batches_per_draw * self._processes_of_a_draw

    def examples_of_draw(self, task: str) -> int:
        """As [`examples_per_draw`], of a task that may have a batch size of its own."""
        return self.batch_size_of(task) * self._micro_batches_per_draw * self._processes_of_a_draw

    def batch_size_of(self, task: str) -> int:
        """As in the parent; the task's own, where it has one."""
        return self._batch_sizes.get(task, super().batch_size_of(task))

    @property
    def _batch_sizes(self) -> dict[str, int]:
        """The tasks' own."""
        sizes = numbers_by_task("task_batch_sizes", self.run_args.task_batch_sizes, whole=True)
        return {task: int(size) for task, size in sizes.items()}

    @property
    def draw_counts(self) -> dict[str, int]:
        """How often each task was drawn so far; empty before training."""
        sampler, step = self._sampler, self.state.global_step
        if sampler is None:
            return {}
        if self._resumed_in is None and self._epoch_in_progress is None:
            # No epoch was started, as where a finished run of version 0.1.0 is run again.
            return sampler.draw_counts(step * sampler.draws_per_step)
        return sampler.counts_after(step)

    @property
    def _training_tasks(self) -> TaskDatasets:
        if self.tasks is None:
            raise InputError("Training needs a train_dataset: a dict with one dataset for each task.")
        return self.tasks

    def _inner_training_loop(self, *args: Any, **kwargs: Any) -> TrainOutput:
        # Again, since a search may have changed M.
        self._spend_budget()
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
        """The micro-batches of one epoch; each carries its task's name under `task`, and its `labels_in_batch`."""
        args, tasks = self.args, self._training_tasks
        read, collators = {}, {}
        for task, dataset in tasks.datasets.items():
            with self.serving(task):
                read[task], collators[task] = self._without_unused_columns(dataset)
        self._sampler, self._epoch_in_progress = self._epoch_sampler(), None
        saved = (self._saved_state or {}).get("epoch")
        self._resumed_in = EpochInProgress(**saved) if saved else None
        if self._resumed_in is not None:
            # A run that had finished starts no epoch.
            self._sampler.start_epoch(*self._resumed_in)
        loader = DataLoader(
            DrawnExamples(read, len(tasks), self._draw_seed),
            batch_sampler=self._sampler,
            collate_fn=OneTaskCollator(collators),
            num_workers=args.dataloader_num_workers,
            pin_memory=args.dataloader_pin_memory,
            persistent_workers=args.dataloader_persistent_workers,
            prefetch_factor=args.dataloader_prefetch_factor,
            multiprocessing_context=args.dataloader_multiprocessing_context,
            in_order=args.dataloader_in_order,
            worker_init_fn=partial(seed_worker, num_workers=args.dataloader_num_workers, rank=args.process_index),
        )
        return outlive_sigterm(self.accelerator.prepare(loader))

    def _without_unused_columns(self, dataset: Dataset) -> tuple[Dataset, Callable]:
        """The dataset and its collator, one of which leaves out the columns that the model does not take."""
        if isinstance(dataset, datasets.Dataset) and not has_transform(dataset):
            # Once for all batches, and what is left out is not read.
            return self._remove_unused_columns(dataset, description="training"), self.data_collator
        self.check_columns(dataset)
        return dataset, self._get_collator_with_removed_columns(self.data_collator, description="training")

    def _epoch_sampler(self) -> TaskBatchSampler:
        return self._make_sampler(TaskBatchSampler if self.draws_tasks else EveryTaskSampler)

    def _make_sampler(self, sampler_class: Callable[..., TaskBatchSampler], **settings: Any) -> TaskBatchSampler:
        args, tasks, shared_by = self.args, self._training_tasks, self._processes_of_a_draw
        return sampler_class(
            tasks.sizes,
            self.task_probabilities,
            batch_size=self._train_batch_size,
            micro_batches=self._micro_batches_per_draw * shared_by,
            seed=self._draw_seed,
            lengths={task: self._lengths(dataset) for task, dataset in tasks.datasets.items()},
            rows=tasks.rows,
            tasks_per_step=self.tasks_per_step,
            parallel_draws=args.world_size // shared_by,
            batch_sizes=self._batch_sizes,
            **settings,
        )

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        # On several processes neither accelerate nor the stock loop reaches the sampler of a mid-epoch resume.
        self._start_epoch(kwargs["epoch"])
        if getattr(kwargs["train_dataloader"], "_iterator", None) is not None:
            # New workers get a seed from the random numbers of training. Those that persist do not, after which a run
            # that is continued from here, with new ones, would go on with other numbers.
            torch.empty((), dtype=torch.int64).random_()
        super()._run_epoch(*args, **kwargs)

    def _start_epoch(self, epoch: int) -> None:
        """Tell the sampler where in the run it is; where epochs were whole, it would know by itself."""
        sampler, step = self._sampler, self.state.global_step
        assert sampler is not None
        if self._resumed_in is not None:
            before, self._resumed_in = self._resumed_in, None
            if epoch != before.epoch + (step - before.step) // sampler.steps_per_epoch:
                raise InputError(
                    "The run that is to be continued ended an epoch before its last step, as a callback may, and the "
                    "stock trainer cannot tell in which epoch it is. Start a new run."
                )
            if epoch == before.epoch:
                self._epoch_in_progress = before
                return
        elif step and self._epoch_in_progress is None:
            steps_for_the_data = -(-sampler.draws_for_the_data // sampler.parallel_draws)
            if self.draws_tasks and steps_for_the_data % sampler.tasks_per_step:
                raise InputError(
                    "The checkpoint is of version 0.1.0, where an epoch's last step took fewer draws than the others; "
                    "now every step takes as many, so the run cannot be continued as it began. Start a new run."
                )
            sampler.set_epoch(epoch)
            step -= step % sampler.steps_per_epoch
        started = EpochInProgress(epoch, step, sampler.counts_after(step))
        sampler.start_epoch(*started)
        self._epoch_in_progress = started

    def multitask_state(self) -> dict[str, Any]:
        """As in the parent, with the draws before the epoch in progress."""
        state = super().multitask_state()
        return state | ({"epoch": self._epoch_in_progress._asdict()} if self._epoch_in_progress else {})

    def restore_multitask_state(self, saved: dict[str, Any] | None) -> None:
        """As in the parent; nothing of an earlier run stays."""
        super().restore_multitask_state(saved)
        self._forget_losses()

    @property
    def _draw_seed(self) -> int:
        return self.run_args.seed if self.run_args.data_seed is None else self.run_args.data_seed
