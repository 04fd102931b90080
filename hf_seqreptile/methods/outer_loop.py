"""What Sequential Reptile and Reptile share: φ beside θ, an outer update now and then, and φ as the model."""

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PredictionOutput, TrainOutput

from ..errors import InputError
from ..publishing.training_facts import SettingRow
from ..training.checkpoint_damage import damage_explained
from ..training.checkpoints import read_multitask_state
from ..training.plan import TrainingPlan
from ..training.trainer import MultiTaskMixin
from ..training.training_args import MultiTaskTrainingArguments
from .slow_weights import SlowWeights

logger = logging.getLogger(__name__)


class OuterLoopMixin(MultiTaskMixin):
    """Inner steps change θ, outer updates change φ, and the model is φ.

    What is evaluated, saved, selected as best and left after training is φ, and a trajectory that training ends early
    is folded in by a last outer update. A method says in [`end_trajectory`] when it makes its outer updates.
    """

    default_tasks_per_step = 1
    default_inner_steps: ClassVar[int]
    """K where the user gives none."""
    default_outer_learning_rate: ClassVar[float]
    """η where the user gives none."""
    kept_weights: ClassVar[Sequence[str]] = ("φ",)
    """What is kept beside the model, each as large as its trainable parameters in float32."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.slow_weights: SlowWeights | None = None
        self.outer_updates = 0
        self._held = 0
        self._inner_step = 0
        self._evaluated_at: int | None = None
        self._waiting: dict[str, bool] = {}
        self.add_callback(_InnerSteps(self))

    def check_set_up(self) -> None:
        """As in the parent; refuses fp16 where the processes' loss scales would differ."""
        super().check_set_up()
        if self.args.fp16 and self.trajectories_are_separate and self.args.world_size > 1:
            raise InputError(
                "--fp16 is not supported where each process follows a trajectory of its own: the processes' loss "
                "scales would differ. Use --bf16."
            )

    @property
    def inner_steps(self) -> int:
        """K of the run."""
        return self.trajectory_settings(self.run_args)[0]

    @property
    def outer_learning_rate(self) -> float:
        """η of the run."""
        return self.trajectory_settings(self.run_args)[1]

    @classmethod
    def trajectory_settings(cls, args: MultiTaskTrainingArguments) -> tuple[int, float]:
        """K and η: those that `args` give, else the method's."""
        given = args.outer_learning_rate
        return args.inner_steps or cls.default_inner_steps, cls.default_outer_learning_rate if given is None else given

    def end_inner_step(self, is_last: bool) -> None:
        """Count an inner step; after the K-th, or the last of the run, end the trajectory."""
        assert self.slow_weights is not None
        self._inner_step += 1
        self.slow_weights.on_trajectory = True
        if self.is_end_of_trajectory or is_last:
            self.end_trajectory(is_last)

    def refuse_new_parameters(self) -> None:
        """Raise InputError where the optimizer holds more parameters than when training started."""
        if self._number_held() > self._held:
            raise InputError(
                "Parameters were added to the optimizer while it trained, and φ has no values of them. Give the "
                "optimizer all parameters from the start, and freeze those that are to be trained later with "
                "requires_grad_(False)."
            )

    @property
    def is_end_of_trajectory(self) -> bool:
        """Whether the inner step that was counted last was the K-th of its trajectory."""
        return self._inner_step >= self.inner_steps

    def end_trajectory(self, is_last: bool) -> None:
        """What the method does after K inner steps, or fewer of them where the run ends; then it must update φ."""
        raise NotImplementedError

    def outer_update(self) -> None:
        """φ ← φ − η(φ − θ), θ the mean over the trajectories since the last one."""
        assert self.slow_weights is not None
        self.slow_weights.outer_update(self.outer_learning_rate, over_processes=not self.processes_share_draws)
        self.outer_updates += 1
        self._inner_step = 0

    @property
    def is_between_outer_updates(self) -> bool:
        """Whether inner steps were made that no outer update has followed yet."""
        return self._inner_step > 0 or (self.slow_weights is not None and self.slow_weights.has_ended_trajectories)

    @property
    def trajectories_are_separate(self) -> bool:
        """Whether θ differs between processes, or between tasks, until the next outer update.

        Evaluation and saving then wait for it, so that a checkpoint needs to hold φ alone.
        """
        return not self.processes_share_draws

    @property
    def steps_per_outer_update(self) -> int:
        """Optimizer steps from one outer update to the next."""
        return self.inner_steps

    @classmethod
    def settings(cls, args: MultiTaskTrainingArguments) -> dict[str, Any]:
        """As in the parent, with the K and η that are in use."""
        inner_steps, outer_learning_rate = cls.trajectory_settings(args)
        return super().settings(args) | {"inner_steps": inner_steps, "outer_learning_rate": outer_learning_rate}

    def _rows_of_settings(self, step: str = "inner step", rate: str = "inner learning rate") -> list[SettingRow]:
        return super()._rows_of_settings(step, rate)

    def _rows_of_outcome(self) -> list[SettingRow]:
        return [("outer updates of the run", "n", self.outer_updates)]

    def plan(self, optimizer_steps: int) -> TrainingPlan:
        """As in the parent, with the memory of φ; refuses a run that is too short for an outer update."""
        refuse_too_few_steps(optimizer_steps, self.inner_steps, self.steps_per_outer_update // self.inner_steps)
        plan = super().plan(optimizer_steps)
        assert self.model is not None
        copies = len(self.kept_weights) * sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        place = self.run_args.slow_weights_device or str(self.args.device)
        plan.notes.append(f"extra memory: {' and '.join(self.kept_weights)}, {copies * 4 / 2**20:,.0f} MiB on {place}")
        if self.trajectories_are_separate:
            plan.notes.append(
                f"evaluation and saving wait for outer updates, every {self.steps_per_outer_update:,} steps"
            )
        return plan

    def run_identity(self) -> dict[str, Any]:
        """As in the parent, with the number of processes where each has draws of its own."""
        identity = super().run_identity()
        if not (self.trajectories_are_separate or self.run_args.parallel_trajectories):
            return identity
        return identity | {"processes": self.args.world_size}

    @property
    def weights_in_checkpoint(self) -> int:
        """As in the parent: θ in the middle of a trajectory, where it can be saved there."""
        return super().weights_in_checkpoint + (not self.trajectories_are_separate)

    @property
    def can_save(self) -> bool:
        """As in the parent; where trajectories are separate, between two outer updates not."""
        return super().can_save and not (self.trajectories_are_separate and self.is_between_outer_updates)

    # The seams of the stock loop: where φ is made, shown, and saved.

    def _prepare_for_training(
        self, max_steps: int, train_dataloader: DataLoader, resume_from_checkpoint: str | None
    ) -> tuple[nn.Module, DataLoader]:
        prepared = super()._prepare_for_training(max_steps, train_dataloader, resume_from_checkpoint)
        self.slow_weights = SlowWeights(self._moving(), self.run_args.slow_weights_device)
        self._held = self._number_held()
        self._inner_step, self.outer_updates, self._evaluated_at, self._waiting = 0, 0, None, {}
        if resume_from_checkpoint is not None:
            checkpoint = Path(resume_from_checkpoint)
            with damage_explained(checkpoint):
                saved = read_multitask_state(checkpoint)["trajectory"]
                self._inner_step = int(saved["inner_step"])
                self.outer_updates = int(saved["outer_updates"])
                self._evaluated_at = saved["evaluated_at"]
                self.slow_weights.load(checkpoint, on_trajectory=self._inner_step > 0)
        return prepared

    def _moving(self) -> dict[str, torch.Tensor]:
        """What φ is of: all that the optimizer holds, since what is frozen now may be trained later, and statistics.

        Those, such as BatchNorm's running means, follow θ: with them φ is a model whose statistics are its own
        trajectories', averaged as its weights are.
        """
        assert self.model is not None
        assert self.optimizer is not None
        held = {parameter for group in self.optimizer.param_groups for parameter in group["params"]}
        saved = self.model.state_dict()
        parameters = {name: p for name, p in self.model.named_parameters() if p.requires_grad or p in held}
        buffers = {name: b for name, b in self.model.named_buffers() if b.is_floating_point() and name in saved}
        return {**parameters, **buffers}

    def _number_held(self) -> int:
        """How many parameters the optimizer holds."""
        assert self.optimizer is not None
        return sum(len(group["params"]) for group in self.optimizer.param_groups)

    def _inner_training_loop(self, *args: Any, **kwargs: Any) -> TrainOutput:
        try:
            return super()._inner_training_loop(*args, **kwargs)
        except BaseException:
            # What was interrupted, in a notebook for one, leaves φ too, and training anew starts there.
            if self.slow_weights is not None:
                self.slow_weights.forget_trajectories()
            raise

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """As in the parent, of φ."""
        with self.slow_weights_in_model():
            return super().evaluate(*args, **kwargs)

    def predict(self, *args: Any, **kwargs: Any) -> PredictionOutput:
        """As in the parent, of φ."""
        with self.slow_weights_in_model():
            return super().predict(*args, **kwargs)

    def save_model(self, *args: Any, **kwargs: Any) -> None:
        """As in the parent; what is written is φ."""
        with self.slow_weights_in_model():
            super().save_model(*args, **kwargs)

    def _measure_gradient_alignment(self) -> dict[str, float]:
        """As in the parent, at φ."""
        with self.slow_weights_in_model():
            return super()._measure_gradient_alignment()

    def slow_weights_in_model(self) -> AbstractContextManager[None]:
        """Within, the model's parameters are φ, in the middle of a trajectory too."""
        return nullcontext() if self.slow_weights is None else self.slow_weights.in_model()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As in the parent; training losses come with the number of outer updates so far, `outer_updates`."""
        if "loss" in logs:
            logs["outer_updates"] = self.outer_updates
        super().log(logs, start_time)

    def multitask_state(self) -> dict[str, Any]:
        """As in the parent, with the place in the trajectory."""
        return super().multitask_state() | {
            "trajectory": {
                "inner_step": self._inner_step,
                "outer_updates": self.outer_updates,
                "evaluated_at": self._evaluated_at,
            }
        }

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.args.should_save and self.slow_weights is not None:
            self.slow_weights.save(Path(output_dir))

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        if self.trajectories_are_separate:
            if self.control.should_training_stop and self.is_between_outer_updates:
                # A callback that is called after ours ends the run; what is due must not wait for ever.
                self.end_trajectory(is_last=True)
            self._wait_for_outer_update()
        if self.control.should_evaluate and self._evaluated_at == self.outer_updates:
            # Its scores would be those of the last evaluation, and early stopping would count them as no progress.
            logger.info("Step %d: φ is unchanged since its last evaluation, which stands.", self.state.global_step)
            self.control.should_evaluate = False
        # Callbacks are shown the model too, such as one that writes an adapter whenever a checkpoint was saved.
        is_shown = self.control.should_save or self.control.should_evaluate
        with self.slow_weights_in_model() if is_shown else nullcontext():
            super()._maybe_log_save_evaluate(*args, **kwargs)

    def _wait_for_outer_update(self) -> None:
        """Put off the evaluation and the saving that are due until the next outer update."""
        for action in ("should_evaluate", "should_save"):
            due = getattr(self.control, action) or self._waiting.get(action, False)
            self._waiting[action] = due and self.is_between_outer_updates
            setattr(self.control, action, due and not self.is_between_outer_updates)

    def _evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        self._evaluated_at = self.outer_updates
        return super()._evaluate(*args, **kwargs)

    def _finalize_training(self, *args: Any, **kwargs: Any) -> TrainOutput:
        # Early stopping is decided by an evaluation, after the inner step was counted.
        if self.is_between_outer_updates:
            self.end_trajectory(is_last=True)
        return super()._finalize_training(*args, **kwargs)


def refuse_too_few_steps(optimizer_steps: int, trajectory: int, rounds: int) -> None:
    """Raise InputError where a run ends before its first outer update.

    Args:
        optimizer_steps: of the whole run, on each process.
        trajectory: K, inner steps of one trajectory.
        rounds: trajectories that a process follows, one after another, for one outer update.
    """
    if optimizer_steps >= rounds * trajectory:
        return
    several = f", {rounds} times in an outer update" if rounds > 1 else ""
    shorter = optimizer_steps // rounds // 10
    lower = f", or lower --inner_steps to {shorter} (docs/choosing.md says for which η)" if shorter > 1 else ""
    raise InputError(
        f"--inner_steps (K) is {trajectory}{several}, but only {optimizer_steps} inner steps are planned, "
        f"so φ would never finish {'one' if several else 'a trajectory'}. Raise --max_steps or "
        f"--num_train_epochs{lower}."
    )


class _InnerSteps(TrainerCallback):
    """Tells the trainer of each inner step, after the optimizer's and the scheduler's step and before evaluation."""

    def __init__(self, trainer: OuterLoopMixin) -> None:
        self.trainer = trainer

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # A schedule, too, has no rate for them.
        self.trainer.refuse_new_parameters()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.trainer.end_inner_step(is_last=control.should_training_stop)
