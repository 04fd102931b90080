"""The trainer of every method: several tasks, drawn one after another, under the stock training loop."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from transformers import ProgressCallback, TrainingArguments
from transformers.trainer_utils import TrainOutput, seed_worker

from ..errors import InputError
from ..models.adapters import adapter_notes, adapter_settings, save_beside_adapters
from ..models.batch_norm import normalises_by_batch
from ..models.multi_head import MultiHeadModel
from ..publishing.training_facts import SettingRow, TrainingFacts
from .backends import check_sharding, refuse_unsupported_backends
from .batch_attempts import BatchAttemptsMixin
from .checkpoint_size import checkpoint_notes
from .checkpoints import failed_writes_explained
from .draw_losses import DrawLossMixin
from .drawn_examples import DrawnExamples
from .gradient_alignment import GradientAlignmentMixin
from .interruption import outlive_sigterm
from .method import COMPARED_IN_THE_PAPER, MethodMixin
from .plan import TrainingPlan, few_steps_notes, one_task_notes, steps_of_budget
from .progress import TaskProgressCallback
from .sampling import EveryTaskSampler, TaskBatchSampler, draws_for_the_data, task_probabilities
from .search import SearchMixin
from .task_datasets import OneTaskCollator, TaskDatasets
from .task_shares import SHARES, capped, check_tasks_of, numbers_by_task
from .training_args import BY_TASK, MultiTaskTrainingArguments

DRAWS_BY_TASK = (*SHARES, "task_batch_sizes")
"""Arguments that draws depend on where they are given."""


class EpochInProgress(NamedTuple):
    """An epoch's number, the optimizer steps before it, and how often each task was drawn before it."""

    epoch: int
    step: int
    counts: dict[str, int]


class MultiTaskMixin(GradientAlignmentMixin, BatchAttemptsMixin, MethodMixin, DrawLossMixin, SearchMixin):
    """What every method needs: tasks drawn with p_t ∝ N_t^q, a loss and metrics for each, exact resume.

    An optimizer step is an accumulation window of M draws (`tasks_per_step`); a draw is
    `gradient_accumulation_steps` micro-batches of one task on every process.

    Combine it with another `Trainer` subclass by naming it first: `class Mine(MultiTaskMixin, TheirTrainer)`.

    Args:
        train_dataset: one dataset for each task, by name; each needs a length. `None` when only evaluating.
        eval_dataset: one dataset for each task, by name, or a single dataset as in the stock trainer.
        Everything else is as in [`DrawLossMixin`], [`EvaluationMixin`] and `transformers.Trainer`.

    Raises:
        InputError: no or empty tasks, another method's arguments, or a set-up that the method cannot run on.
    """

    args: MultiTaskTrainingArguments

    def __init__(
        self,
        model: nn.Module | None = None,
        args: MultiTaskTrainingArguments | None = None,
        data_collator: Any = None,
        train_dataset: Mapping[str, Dataset] | None = None,
        eval_dataset: Mapping[str, Dataset] | Dataset | None = None,
        **kwargs: Any,
    ) -> None:
        if args is None:
            args = MultiTaskTrainingArguments(method=self.method, output_dir="tmp_trainer")
        self.check_arguments(args)
        # Before the stock trainer prepares what it would do otherwise.
        refuse_unsupported_backends(args)
        self.run_args = self.own_arguments(args)
        self.tasks = TaskDatasets(train_dataset) if train_dataset is not None else None
        super().__init__(
            model, self.run_args, data_collator, train_dataset=self.tasks, eval_dataset=eval_dataset, **kwargs
        )
        self.check_set_up()
        if self.pop_callback(ProgressCallback):
            self.add_callback(TaskProgressCallback)
        self._sampler: TaskBatchSampler | None = None
        self._epoch_in_progress: EpochInProgress | None = None
        self._resumed_in: EpochInProgress | None = None

    def check_set_up(self) -> None:
        """As in the parent; refuses settings of another method, and what the method cannot run on."""
        super().check_set_up()
        evaluated = self.eval_dataset if isinstance(self.eval_dataset, Mapping) else ()
        self.check_task_parts([*(self.tasks.sizes if self.tasks is not None else ()), *evaluated])
        self.check_arguments(self.run_args)
        if self.tasks is not None:
            for name in BY_TASK:
                given = numbers_by_task(name, getattr(self.run_args, name), whole=False)
                check_tasks_of(name, given, list(self.tasks.sizes), all_needed=bool(given) and name == "task_weights")
            self._spend_budget()
        refuse_unsupported_backends(self.run_args)
        assert self.model is not None
        check_sharding(self.model, self.method, self.run_args, self.processes_share_draws)

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

    def plan(self, optimizer_steps: int) -> TrainingPlan:
        """What a run of `optimizer_steps` will do; printed before training. A method adds its own notes.

        Raises:
            InputError: the run cannot work as set.
        """
        sampler = self._epoch_sampler() if self._sampler is None else self._sampler
        return TrainingPlan(
            method=self.run_args.method,
            sizes=self._training_tasks.sizes,
            probabilities=self.task_probabilities,
            expected_draws=sampler.expected_counts(optimizer_steps * sampler.draws_per_step),
            optimizer_steps=optimizer_steps,
            tasks_per_step=self.tasks_per_step,
            parallel_draws=sampler.parallel_draws,
            processes=self.args.world_size,
            batch_size=self._train_batch_size,
            batch_sizes=self._batch_sizes,
            accumulation_steps=self._micro_batches_per_draw,
            notes=[
                *adapter_notes(self.model),
                *self._warnings(optimizer_steps),
                *self._alignment_notes(),
                *self._batch_norm_notes(),
                *checkpoint_notes(self, optimizer_steps, sampler.steps_per_epoch),
            ],
        )

    def _warnings(self, optimizer_steps: int) -> list[str]:
        """Of a run that will hardly do what the method is for."""
        tasks = list(self._training_tasks.sizes)
        alone = one_task_notes(tasks[0], self.run_args.method) if self.is_about_several and len(tasks) == 1 else []
        return few_steps_notes(optimizer_steps, self.tasks_per_step, self.could_take_one_task_a_step) + alone

    def _batch_norm_notes(self) -> list[str]:
        if self.model is None or not normalises_by_batch(self.model):
            return []
        return [
            "BatchNorm: each micro-batch is normalised by its own examples, so that other sizes of micro-batches, or "
            "other numbers of processes, end elsewhere; not so with it frozen (docs/run_image_classification.md)"
        ]

    def describe_training(self) -> str:
        """What an optimizer step is made of, in a sentence or two for the model card."""
        if not self.draws_tasks:
            return f"Each optimizer step took one batch of each of the {self.tasks_per_step} tasks."
        return (
            f"Tasks were drawn with probability {self.describe_probabilities(self.run_args)}; each optimizer step "
            f"took M = {self.tasks_per_step} of them."
        )

    def training_facts(self) -> TrainingFacts:
        """As in the parent.

        Raises:
            InputError: there are no training tasks.
        """
        if self.tasks is None:
            raise InputError("A model card describes a training run, but this trainer has no train_dataset.")
        args, state = self.run_args, self.state
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
        args, own = self.run_args, self.own_settings(type(self.run_args))
        return [
            ("method", "", args.method),
            *((own[name].words, own[name].symbol, value) for name, value in self.settings(args).items()),
            *adapter_settings(self.model),
            (rate, "α", args.learning_rate),
            ("learning rate schedule", "", args.lr_scheduler_type),
            ("optimizer", "", args.optim),
            (f"drawn tasks of an {step}", "M", self.tasks_per_step),
            *self._rows_of_draws(),
            ("batch: examples of a draw", "B", self.examples_per_draw),
            *((f"batch of {task}", "", self.examples_of_draw(task)) for task in self._batch_sizes),
            (f"{step}s of the run", "S", self.state.global_step),
            *self._rows_of_outcome(),
            ("seed", "", str(args.seed)),
        ]

    def _rows_of_draws(self) -> list[SettingRow]:
        """What p_t follow from."""
        args = self.run_args
        if not (self.draws_tasks and self.exponent_counts()):
            return []
        of_tasks = ("task weights", "", ", ".join(args.task_weights or ()))
        rows = [of_tasks if args.task_weights else ("task sampling exponent", "q", args.task_sampling_exponent)]
        return rows + ([("passes over a task at most", "", args.max_task_passes)] if args.max_task_passes else [])

    def _rows_of_outcome(self) -> list[SettingRow]:
        """What a method adds to the number of steps."""
        return []

    # Training: one epoch's micro-batches, and how the stock loop walks them.

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
        collators = {}
        for task, dataset in tasks.datasets.items():
            with self.serving(task):
                self.check_columns(dataset)
                collators[task] = self._get_collator_with_removed_columns(self.data_collator, description="training")
        self._sampler, self._epoch_in_progress = self._epoch_sampler(), None
        saved = (self._saved_state or {}).get("epoch")
        self._resumed_in = EpochInProgress(**saved) if saved else None
        if self._resumed_in is not None:
            # A run that had finished starts no epoch.
            self._sampler.start_epoch(*self._resumed_in)
        loader = DataLoader(
            DrawnExamples(tasks, self._draw_seed),
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

    def set_initial_training_values(self, args: TrainingArguments, dataloader: DataLoader) -> tuple:
        """As in the stock trainer; the number of steps is now known, so the plan is printed."""
        values = super().set_initial_training_values(args, dataloader)
        plan = self.plan(optimizer_steps=values[-1])
        if self.is_world_process_zero():
            print(plan, flush=True)
        return values

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

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """The stock log; training losses come with `loss/TASK` and the number of draws so far, `draws/TASK`."""
        if "loss" in logs and self._sampler is not None:
            draws = {f"draws/{task}": float(number) for task, number in self.draw_counts.items()}
            logs |= self._logs_of_losses(list(self._training_tasks.sizes)) | draws
        super().log(logs, start_time)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As in the stock trainer; of a model with several heads a folder a head, and the encoder's."""
        model, has_adapters = self.several_heads, hasattr(self.model, "peft_config")
        if model is None or _internal_call or has_adapters:
            super().save_model(output_dir, _internal_call)
        if not self.args.should_save or not (has_adapters or (model is not None and not _internal_call)):
            return
        folder = Path(output_dir) if output_dir else self.args.folder
        with failed_writes_explained(folder):
            of_heads: Mapping[str, Any] = self.head_processing_classes
            if model is not None and not of_heads and self.processing_class is not None:
                of_heads = dict.fromkeys(model.head_names, self.processing_class)
            if has_adapters:
                save_beside_adapters(self.model, folder, of_heads)
            else:
                assert model is not None
                model.save_pretrained(folder, of_heads)
                self.run_args.save(folder)

    def multitask_state(self) -> dict[str, Any]:
        """As in the parent, with the draws before the epoch in progress."""
        state = super().multitask_state()
        return state | ({"epoch": self._epoch_in_progress._asdict()} if self._epoch_in_progress else {})

    def restore_multitask_state(self, saved: dict[str, Any] | None) -> None:
        """As in the parent; nothing of an earlier run stays."""
        super().restore_multitask_state(saved)
        self._forget_losses()

    # What a checkpoint must agree in with the run that continues it.

    def run_identity(self) -> dict[str, Any]:
        """Method, tasks, their data, and everything that draws, trajectories or steps depend on."""
        args, model = self.run_args, self.several_heads
        return {
            **super().run_identity(),
            **({"heads": self._identity_of_heads(model)} if model else {}),
            **({"adapters": adapters} if (adapters := adapter_settings(self.model)) else {}),
            "method": args.method,
            "tasks": dict(self._training_tasks.sizes),
            "rows": dict(self._training_tasks.rows),
            "examples": self._training_tasks.digests,
            "tasks_per_step": self.tasks_per_step,
            "all_tasks_each_step": args.all_tasks_each_step,
            "examples_per_draw": self.examples_per_draw,
            "task_sampling_exponent": args.task_sampling_exponent,
            **{name: value for name in DRAWS_BY_TASK if (value := getattr(args, name)) is not None},
            "seed": self._draw_seed,
            **self.settings(args),
        }

    def _identity_of_heads(self, model: MultiHeadModel) -> dict[str, Any]:
        """Each head's class and labels, and each task's head."""
        heads = {name: model.head(name) for name in model.head_names}
        return {
            "heads": {name: [type(head).__name__, head.config.id2label] for name, head in heads.items()},
            "tasks": {task: self.head_of(task) for task in self._training_tasks.sizes},
        }

    @property
    def _draw_seed(self) -> int:
        return self.run_args.seed if self.run_args.data_seed is None else self.run_args.data_seed


class MultiTaskTrainer(MultiTaskMixin):
    """The mean of the drawn tasks' losses (Eq. 1 without regularizer): the paper's MTL, and the base of all methods.

    See [`MultiTaskMixin`] for the arguments.
    """

    method = "mtl"
    is_about_several = False
    title = "MTL (multi-task learning without regularizer)"
    citation = COMPARED_IN_THE_PAPER
