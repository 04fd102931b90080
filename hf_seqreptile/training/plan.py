"""What a run is going to do, said before it starts."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from .sampling import TaskBatchSampler


@dataclass
class TrainingPlan:
    """The tasks, what is drawn of them, and how far the model can move; `str()` gives the text that is printed.

    Args:
        method: as typed on the command line.
        sizes: N_t, training examples of each task.
        probabilities: p_t of each task.
        expected_draws: of each task, in the whole run.
        optimizer_steps: optimizer steps of the whole run.
        tasks_per_step: M, tasks drawn for each of them.
        parallel_draws: W, draws that are worked on at the same time.
        notes: further lines, from the method.
    """

    method: str
    sizes: Mapping[str, int]
    probabilities: Mapping[str, float]
    expected_draws: Mapping[str, float]
    optimizer_steps: int
    tasks_per_step: int
    parallel_draws: int = 1
    notes: list[str] = field(default_factory=list)

    @property
    def draws(self) -> int:
        """Draws of the whole run."""
        return round(sum(self.expected_draws.values()))

    def __str__(self) -> str:
        width = max(4, *(len(task) for task in self.sizes))
        # Few draws in whole numbers would not add up.
        decimals = 1 if any(expected < 10 and expected % 1 for expected in self.expected_draws.values()) else 0
        lines = [
            f"Plan ({self.method}): {self.draws:,} drawn batches in {self.optimizer_steps:,} optimizer steps, "
            f"{self.tasks_per_step} a step{' on each process' if self.parallel_draws > 1 else ''}",
            f"  {'task':<{width}}  examples     p_t  draws expected",
        ]
        for task, size in self.sizes.items():
            p, expected = self.probabilities[task], self.expected_draws[task]
            lines.append(f"  {task:<{width}}  {size:>8,}  {p:.4f}  {expected:>14,.{decimals}f}")
        return "\n".join(lines + [f"  {note}" for note in self.notes])


def short_step_notes(sampler: TaskBatchSampler, optimizer_steps: int, tasks_per_step: int) -> list[str]:
    """What the end of an epoch leaves for its last step, where a run has a step that takes fewer than M draws.

    Args:
        sampler: makes the epochs.
        optimizer_steps: of the whole run.
        tasks_per_step: M.
    """
    full = tasks_per_step * sampler.parallel_draws
    if sampler.draws_after(optimizer_steps, tasks_per_step) == optimizer_steps * full:
        return []
    last = sampler.draws_per_epoch % full
    return [f"draws of an epoch: {sampler.draws_per_epoch:,}, so its last step takes {last:,}, not {full:,}"]


SMALL_REACH = 500
"""Below this reach φ was seen to stay short of where plain training ends; docs/choosing.md has the runs."""
LARGE_OUTER_LEARNING_RATE = 0.5
"""No larger η is proposed: at 1, Sequential Reptile is plain training."""


def reach_notes(inner_steps: int, trajectory: int, outer_learning_rate: float, learning_rate: float) -> list[str]:
    """The number of outer updates, the reach η·S, and, where it is small, what raises it and what else may help.

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
        f"reach: η·S = {outer_learning_rate:g} × {inner_steps:,} = {_three_digits(reach)} "
        f"(the paper's runs: about 1,500)",
    ]
    if reach < SMALL_REACH:
        enough = [f"--max_steps {math.ceil(SMALL_REACH / outer_learning_rate)}"]
        helpful: list[str] = []
        if outer_learning_rate < LARGE_OUTER_LEARNING_RATE:
            wanted = math.ceil(100 * SMALL_REACH / inner_steps) / 100
            proposals = enough if wanted <= LARGE_OUTER_LEARNING_RATE else helpful
            proposals.append(f"--outer_learning_rate {min(wanted, LARGE_OUTER_LEARNING_RATE):g}")
        helpful.append(f"--learning_rate {3 * learning_rate:g}")
        if trajectory > inner_steps / 10:
            helpful.append(f"--inner_steps {max(1, inner_steps // 10)}")
        notes.append(
            f"warning: the reach is small, so φ may stay close to the start. {' or '.join(enough)} brings it "
            f"to {SMALL_REACH}; what may help besides: {', '.join(helpful)} (docs/choosing.md)"
        )
    return notes


def _three_digits(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


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
        f"reach: η·n·K = {_three_digits(outer_learning_rate * updates * trajectory)}; φ moves less far where the "
        f"tasks' trajectories part",
    ]
    if idle := -tasks % processes:
        notes.append(
            f"idle in the last round of an outer update: {idle} of {processes} processes; a number of processes that "
            f"divides {tasks} keeps all busy"
        )
    return notes
