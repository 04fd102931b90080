"""What a run is going to do, said before it starts."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class TrainingPlan:
    """The tasks, what is drawn of them, and how far the model can move; `str()` gives the text that is printed.

    Args:
        method: as typed on the command line.
        sizes: N_t, training examples of each task.
        probabilities: p_t of each task.
        optimizer_steps: optimizer steps of the whole run.
        tasks_per_step: M, tasks drawn for each of them.
        draws_at_a_time: in the mean, where processes have draws of their own.
        notes: further lines, from the method.
    """

    method: str
    sizes: Mapping[str, int]
    probabilities: Mapping[str, float]
    optimizer_steps: int
    tasks_per_step: int
    draws_at_a_time: float = 1
    notes: list[str] = field(default_factory=list)

    @property
    def draws(self) -> int:
        """Draws of the whole run, taking the last step of an epoch for a full one."""
        return round(self.optimizer_steps * self.tasks_per_step * self.draws_at_a_time)

    def __str__(self) -> str:
        width = max(4, *(len(task) for task in self.sizes))
        lines = [
            f"Plan ({self.method}): {self.draws:,} drawn batches in {self.optimizer_steps:,} optimizer steps, "
            f"{self.tasks_per_step} a step{' on each process' if self.draws_at_a_time > 1 else ''}",
            f"  {'task':<{width}}  examples     p_t  draws expected",
        ]
        for task, size in self.sizes.items():
            p = self.probabilities[task]
            lines.append(f"  {task:<{width}}  {size:>8,}  {p:.4f}  {p * self.draws:>14,.0f}")
        return "\n".join(lines + [f"  {note}" for note in self.notes])


SMALL_REACH = 500
"""Below this reach φ was seen to stay short of where plain training ends; docs/choosing.md has the runs."""


def reach_notes(inner_steps: int, trajectory: int, outer_learning_rate: float, learning_rate: float) -> list[str]:
    """The number of outer updates, the reach η·S, and, where it is small, what would make up for it.

    Args:
        inner_steps: S, inner steps of the whole run.
        trajectory: K, inner steps of one trajectory.
        outer_learning_rate: η.
        learning_rate: α.
    """
    reach = outer_learning_rate * inner_steps
    notes = [
        f"outer updates: n = {-(-inner_steps // trajectory):,} of K = {trajectory:,} inner steps each, "
        f"η = {outer_learning_rate:g}",
        f"reach: η·S = {outer_learning_rate:g} × {inner_steps:,} = {reach:,.0f} (the paper's runs: about 1,500)",
    ]
    if reach < SMALL_REACH:
        proposals = [
            f"--max_steps {round(SMALL_REACH / outer_learning_rate)}",
            f"--learning_rate {3 * learning_rate:g}",
        ]
        if outer_learning_rate < 0.5:
            proposals.append(f"--outer_learning_rate {min(0.5, SMALL_REACH / inner_steps):.2g}")
        if trajectory > inner_steps / 10:
            proposals.append(f"--inner_steps {max(1, inner_steps // 10)}")
        notes.append(
            f"warning: the reach is small, so φ may stay close to the start. Any one of these makes up for it: "
            f"{', '.join(proposals)} (docs/choosing.md)"
        )
    return notes


def reptile_notes(
    optimizer_steps: int, trajectory: int, outer_learning_rate: float, tasks: int, processes: int
) -> list[str]:
    """The number of outer updates of Reptile and its reach.

    Args:
        optimizer_steps: of the whole run, on each process.
        trajectory: K, inner steps of one trajectory.
        outer_learning_rate: η.
        tasks: T, trajectories of one outer update.
        processes: W, trajectories that are followed at the same time.
    """
    per_update = -(-tasks // processes) * trajectory
    updates = -(-optimizer_steps // per_update)
    at_a_time = f" ({min(processes, tasks)} at a time)" if processes > 1 else ""
    notes = [
        f"outer updates: n = {updates:,}, each of T = {tasks} trajectories{at_a_time} of K = {trajectory:,} inner "
        f"steps, η = {outer_learning_rate:g}",
        f"reach: η·n·K = {outer_learning_rate * updates * trajectory:,.0f}; φ moves less far where the tasks' "
        f"trajectories part",
    ]
    if idle := -tasks % processes:
        notes.append(
            f"idle in the last round of an outer update: {idle} of {processes} processes; a number of processes that "
            f"divides {tasks} keeps all busy"
        )
    return notes
