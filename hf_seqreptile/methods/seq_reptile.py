"""Sequential Reptile: one inner trajectory over all tasks, then one outer update (Algorithm 1 of the paper)."""

import logging
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from torch import nn
from torch.utils.data import DataLoader
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PredictionOutput, TrainOutput

from ..checkpoints import read_multitask_state
from ..errors import InputError
from ..plan import TrainingPlan, reach_notes
from ..slow_weights import SlowWeights
from ..trainer import MultiTaskMixin

logger = logging.getLogger(__name__)


class SeqReptileMixin(MultiTaskMixin):
    """Inner step: θ ← θ − α ∇L(θ; B_t), t ~ Cat(p) (Eq. 5). After K of them: φ ← φ − η(φ − θ), θ ← φ (Eq. 6).

    Differs from its parent only in the outer update every `inner_steps` optimizer steps. The model is φ: what is
    evaluated, saved, selected as best and left after training is φ, and a trajectory that training ends early is
    folded in by a last outer update. The inner optimizer is the stock trainer's (the paper: AdamW); the paper does
    not say what becomes of its state at an outer update, and `inner_optimizer_state` keeps it unless told to reset.
    """

    method = "seq_reptile"
    title = "Sequential Reptile"
    default_tasks_per_step = 1

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.slow_weights: SlowWeights | None = None
        self.outer_updates = 0
        self._inner_step = 0
        self._evaluated_at: int | None = None
        self.add_callback(_InnerSteps(self))

    def end_inner_step(self, is_last: bool) -> None:
        """Count an inner step; after the K-th, or the last of the run, make the outer update."""
        assert self.slow_weights is not None
        if not self.accelerator.optimizer_step_was_skipped:
            self._inner_step += 1
            self.slow_weights.on_trajectory = True
        if self._inner_step >= self.args.inner_steps or is_last:
            self._outer_update()

    def _outer_update(self) -> None:
        if self.slow_weights is None or not self._inner_step:
            return
        self.slow_weights.outer_update(self.args.outer_learning_rate)
        self.outer_updates += 1
        self._inner_step = 0
        if self.args.inner_optimizer_state == "reset":
            assert self.optimizer is not None
            self.optimizer.state.clear()

    def plan(self, optimizer_steps: int) -> TrainingPlan:
        """As in the parent, with the outer updates, the reach and the memory of φ."""
        plan = super().plan(optimizer_steps)
        steps, args = self.args.inner_steps, self.args
        if optimizer_steps < steps:
            raise InputError(
                f"--inner_steps (K) is {steps}, but only {optimizer_steps} inner steps are planned, so φ would never "
                f"finish a trajectory. Lower --inner_steps to {max(1, optimizer_steps // 10)} or raise --max_steps "
                f"or --num_train_epochs."
            )
        plan.notes += reach_notes(optimizer_steps, steps, args.outer_learning_rate, args.learning_rate)
        parameters = sum(p.numel() for p in self._trainable().values())
        place = args.slow_weights_device or str(args.device)
        plan.notes.append(f"extra memory: φ, {parameters * 4 / 2**20:,.0f} MiB on {place}")
        return plan

    # The seams of the stock loop: where φ is made, shown, and saved.

    def _prepare_for_training(
        self, max_steps: int, train_dataloader: DataLoader, resume_from_checkpoint: str | None
    ) -> tuple[nn.Module, DataLoader]:
        prepared = super()._prepare_for_training(max_steps, train_dataloader, resume_from_checkpoint)
        self.slow_weights = SlowWeights(self._trainable(), self.args.slow_weights_device)
        self._inner_step, self.outer_updates, self._evaluated_at = 0, 0, None
        if resume_from_checkpoint is not None:
            saved = read_multitask_state(Path(resume_from_checkpoint))["trajectory"]
            self._inner_step = saved["inner_step"]
            self.outer_updates = saved["outer_updates"]
            self._evaluated_at = saved["evaluated_at"]
            self.slow_weights.load(Path(resume_from_checkpoint), on_trajectory=self._inner_step > 0)
        return prepared

    def _trainable(self) -> dict[str, nn.Parameter]:
        assert self.model is not None
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

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

    def slow_weights_in_model(self) -> AbstractContextManager[None]:
        """Within, the model's parameters are φ, in the middle of a trajectory too."""
        return nullcontext() if self.slow_weights is None else self.slow_weights.in_model()

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
        if self.control.should_evaluate and self._evaluated_at == self.outer_updates:
            # Its scores would be those of the last evaluation, and early stopping would count them as no progress.
            logger.info("Step %d: φ is unchanged since its last evaluation, which stands.", self.state.global_step)
            self.control.should_evaluate = False
        super()._maybe_log_save_evaluate(*args, **kwargs)

    def _evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        self._evaluated_at = self.outer_updates
        return super()._evaluate(*args, **kwargs)

    def _finalize_training(self, *args: Any, **kwargs: Any) -> TrainOutput:
        # Early stopping is decided by an evaluation, after the inner step was counted.
        self._outer_update()
        return super()._finalize_training(*args, **kwargs)


class SeqReptileTrainer(SeqReptileMixin):
    """Sequential Reptile over `transformers.Trainer`. See [`SeqReptileMixin`] and, for the arguments, its parent."""


class _InnerSteps(TrainerCallback):
    """Tells the trainer of each inner step, after the optimizer's and the scheduler's step and before evaluation."""

    def __init__(self, trainer: SeqReptileMixin) -> None:
        self.trainer = trainer

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.trainer.end_inner_step(is_last=control.should_training_stop)
