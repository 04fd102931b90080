"""Sequential Reptile: one inner trajectory over all tasks, then one outer update (Algorithm 1 of the paper)."""

from pathlib import Path

from ..publishing.training_facts import SettingRow
from ..training.checkpoint_damage import damage_explained
from ..training.plan import TrainingPlan, reach_notes
from .optimizer_state import load_optimizer_state, save_optimizer_state
from .outer_loop import OuterLoopMixin


class SeqReptileMixin(OuterLoopMixin):
    """Inner step: θ ← θ − α ∇L(θ; B_t), t ~ Cat(p) (Eq. 5). After K of them: φ ← φ − η(φ − θ), θ ← φ (Eq. 6).

    The inner optimizer is the stock trainer's (the paper: AdamW); the paper does not say what becomes of its state at
    an outer update, and `inner_optimizer_state` keeps it unless told to reset. With `parallel_trajectories`, which is
    not in the paper, each process has a trajectory of its own, and θ of the outer update is the mean of their ends.
    """

    method = "seq_reptile"
    title = "Sequential Reptile"
    citation = "The method is that of this paper:"
    tags = ("sequential-reptile",)
    default_inner_steps = 1000
    default_outer_learning_rate = 0.1

    @property
    def processes_share_draws(self) -> bool:
        """As in the parent; not with `parallel_trajectories` on several processes."""
        return not (self.run_args.parallel_trajectories and self.args.world_size > 1)

    def end_trajectory(self, is_last: bool) -> None:
        """As in the parent: an outer update after every trajectory."""
        self.outer_update()
        if self.run_args.inner_optimizer_state == "reset":
            assert self.optimizer is not None
            self.optimizer.state.clear()

    def plan(self, optimizer_steps: int) -> TrainingPlan:
        """As in the parent, with the outer updates and the reach."""
        plan = super().plan(optimizer_steps)
        plan.notes[:0] = reach_notes(optimizer_steps, self.inner_steps, self.outer_learning_rate)
        if self.run_args.parallel_trajectories and not self.trajectories_are_separate:
            plan.notes.append("parallel_trajectories has no effect on one process; start several with torchrun")
        return plan

    def describe_training(self) -> str:
        """As in the parent."""
        return (
            f"{super().describe_training()} Training repeated a trajectory of K = {self.inner_steps:,} inner steps "
            f"and an outer update φ ← φ − η(φ − θ_K), η = {self.outer_learning_rate:g}, where θ_K is where the "
            f"trajectory ended. The weights are the slow weights φ."
        )

    def _rows_of_outcome(self) -> list[SettingRow]:
        reach = self.outer_learning_rate * self.state.global_step
        return [*super()._rows_of_outcome(), ("reach", "η·S", reach)]

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self._has_own_optimizer_state:
            assert self.optimizer is not None
            save_optimizer_state(self.optimizer, Path(output_dir), self.args.process_index)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None and self._has_own_optimizer_state:
            assert self.optimizer is not None
            with damage_explained(checkpoint):
                load_optimizer_state(self.optimizer, Path(checkpoint), self.args.process_index)

    @property
    def optimizers_in_checkpoint(self) -> int:
        """As in the parent: of each process that follows a trajectory of its own."""
        return super().optimizers_in_checkpoint * (1 if self.processes_share_draws else self.args.world_size)

    @property
    def _has_own_optimizer_state(self) -> bool:
        """Whether this process's optimizer differs from the main process's, whose state the stock trainer saves."""
        return not self.processes_share_draws and self.args.process_index > 0


class SeqReptileTrainer(SeqReptileMixin):
    """Sequential Reptile over `transformers.Trainer`. See [`SeqReptileMixin`] and, for the arguments, its parent."""
