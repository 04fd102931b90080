"""Reptile: a trajectory for each task from the same φ, then one outer update (Eq. 3 of the paper)."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from torch.utils.data import DataLoader
from transformers import TrainingArguments

from ..errors import InputError
from ..training.backends import is_sharded
from ..training.method import COMPARED_IN_THE_PAPER
from ..training.plan import TrainingPlan, reptile_notes
from ..training.sampling import TaskBatchSampler, TrajectorySampler
from ..training.task_shares import SHARES
from ..training.training_args import MultiTaskTrainingArguments
from .outer_loop import OuterLoopMixin


class ReptileMixin(OuterLoopMixin):
    """For each task t from φ: θ ← θ − α ∇L(θ; B_t), K times, ends in θ_t. Then φ ← φ − η (1/T) Σ_t (φ − θ_t).

    Every task has K steps in every outer update, so nothing is drawn. Each trajectory starts with a fresh optimizer
    and all of an outer update's with one learning rate; so the result does not depend on how many processes share
    them. The paper gives neither K nor η; 20 and 1 are ours.
    """

    method = "reptile"
    title = "Reptile"
    citation = COMPARED_IN_THE_PAPER
    default_inner_steps = 20
    default_outer_learning_rate = 1.0
    kept_weights = ("φ", "the sum of the trajectories' ends")

    @classmethod
    def check_arguments(cls, args: TrainingArguments) -> None:
        """As in the parent; refuses what concerns the drawing of tasks, since there is none."""
        super().check_arguments(args)
        assert isinstance(args, MultiTaskTrainingArguments)
        for name in ("tasks_per_step", "all_tasks_each_step", "task_sampling_exponent", *SHARES):
            if args.is_given(name):
                raise InputError(
                    f"--{name} has no effect with --method {cls.method}, which takes K inner steps on every task for "
                    f"each outer update; remove it."
                )
        if args.ignore_data_skip:
            raise InputError(
                f"--ignore_data_skip is not supported with --method {cls.method}, since a resumed run must go on with "
                f"the task that was due; remove it. Skipping reads no data."
            )

    @property
    def processes_share_draws(self) -> bool:
        """As in the parent: each process follows its own task's trajectory, unless it has but a shard of θ."""
        assert self.model is not None
        return is_sharded(self.model)

    @property
    def trajectories_are_separate(self) -> bool:
        """As in the parent: θ differs between tasks in any case."""
        return True

    @property
    def _tasks_at_a_time(self) -> int:
        return 1 if self.processes_share_draws else self.args.world_size

    @property
    def draws_tasks(self) -> bool:
        """As in the parent: each task has its trajectory."""
        return False

    @property
    def weight_in_log(self) -> float:
        """As in the parent; a process without a task of its own repeats another's draws."""
        if self.processes_share_draws:
            return 1.0
        working = self._trajectories.working_processes(self.state.global_step)
        return self.args.world_size / working if self.args.process_index < working else 0.0

    @property
    def steps_per_outer_update(self) -> int:
        """As in the parent: ⌈T/W⌉ rounds of K steps on W processes, T with a sharded model."""
        return -(-len(self._training_tasks.sizes) // self._tasks_at_a_time) * self.inner_steps

    @property
    def is_end_of_trajectory(self) -> bool:
        """As in the parent; told from the step of the run, as the sampler tells where the next task's draws begin."""
        return self.state.global_step % self.inner_steps == 0

    def end_trajectory(self, is_last: bool) -> None:
        """As in the parent: the next round of tasks, or after the last one the outer update."""
        assert self.slow_weights is not None and self.optimizer is not None
        step = self.state.global_step
        if self._inner_step:
            working = self._trajectories.working_processes(step - 1)
            self.slow_weights.end_trajectory(counts=self.processes_share_draws or self.args.process_index < working)
            self.optimizer.state.clear()
            self._inner_step = 0
        if step % self.steps_per_outer_update == 0 or is_last:
            self.outer_update()

    def plan(self, optimizer_steps: int) -> TrainingPlan:
        """As in the parent, with the trajectories of an outer update."""
        plan = super().plan(optimizer_steps)
        tasks = len(self._training_tasks.sizes)
        plan.notes[:0] = reptile_notes(
            optimizer_steps, self.inner_steps, self.outer_learning_rate, tasks, self._tasks_at_a_time
        )
        return plan

    @property
    def optimizers_in_checkpoint(self) -> int:
        """As in the parent: none, since each trajectory starts with a fresh one."""
        return 0

    def describe_training(self) -> str:
        """As in the parent."""
        return (
            f"Training repeated a trajectory of K = {self.inner_steps:,} inner steps on each task, all from the same "
            f"φ, and an outer update φ ← φ − η mean_t(φ − θ_t), η = {self.outer_learning_rate:g}, where θ_t is where "
            f"task t's trajectory ended. The weights are the slow weights φ."
        )

    @property
    def _trajectories(self) -> TrajectorySampler:
        assert isinstance(self._sampler, TrajectorySampler)
        return self._sampler

    def _make_sampler(self, sampler_class: Any, **settings: Any) -> TaskBatchSampler:
        return super()._make_sampler(TrajectorySampler, inner_steps=self.inner_steps, **settings)

    def _prepare_for_training(self, *args: Any, **kwargs: Any) -> tuple[nn.Module, DataLoader]:
        prepared = super()._prepare_for_training(*args, **kwargs)
        assert self.optimizer is not None
        # A run before, if it was interrupted, left the optimizer in the middle of a trajectory.
        self.optimizer.state.clear()
        return prepared

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> LRScheduler:
        """As in the stock trainer, but for the steps of an outer update the learning rate is that of their middle.

        At their start it would be zero for a whole outer update of a run with warm-up. A scheduler that was given to
        the trainer is used as it is.
        """
        scheduler = super().create_scheduler(num_training_steps, optimizer)
        if self._created_lr_scheduler and isinstance(scheduler, LambdaLR):
            held = partial(_held, steps=self.steps_per_outer_update, end=num_training_steps)
            # A new one, so that the first outer update has its learning rate too.
            scheduler = LambdaLR(scheduler.optimizer, [partial(held, schedule) for schedule in scheduler.lr_lambdas])
            self.lr_scheduler = scheduler
        return scheduler


class ReptileTrainer(ReptileMixin):
    """Reptile over `transformers.Trainer`. See [`ReptileMixin`] and, for the arguments, its parent."""


def _held(schedule: Callable[[int], float], step: int, steps: int, end: int) -> float:
    """The schedule in the middle of the `steps` that `step` is one of, or of those before `end`."""
    start = step // steps * steps
    return schedule((start + min(start + steps, end)) // 2)
