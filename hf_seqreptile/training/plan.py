"""What a run is going to do, said before it starts."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import InputError


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
        processes: that train together.
        batch_size: examples of one micro-batch, on one process.
        accumulation_steps: micro-batches of a draw, on one process.
        batch_sizes: as `batch_size`, of tasks that have one of their own.
        notes: further lines, from the method.
    """

    method: str
    sizes: Mapping[str, int]
    probabilities: Mapping[str, float]
    expected_draws: Mapping[str, float]
    optimizer_steps: int
    tasks_per_step: int
    parallel_draws: int = 1
    processes: int = 1
    batch_size: int = 1
    accumulation_steps: int = 1
    batch_sizes: Mapping[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def draws(self) -> int:
        """Draws of the whole run."""
        return round(sum(self.expected_draws.values()))

    @property
    def batch_in_words(self) -> str:
        """Which processes there are, and what a draw is made of: its micro-batches on one process or on all."""
        return batch_in_words(self.processes, self.batch_size, self.accumulation_steps, self.parallel_draws > 1)

    def __str__(self) -> str:
        width = max(4, *(len(task) for task in self.sizes))
        # Few draws in whole numbers would not add up.
        decimals = 1 if any(expected < 10 and expected % 1 for expected in self.expected_draws.values()) else 0
        lines = [
            f"Plan ({self.method}): {self.draws:,} drawn batches in {self.optimizer_steps:,} optimizer steps, "
            f"{self.tasks_per_step} a step{' on each process' if self.parallel_draws > 1 else ''}",
            f"  {self.batch_in_words}",
            f"  {'task':<{width}}  examples     p_t  draws expected{'  batch' if self.batch_sizes else ''}",
        ]
        for task, size in self.sizes.items():
            p, expected = self.probabilities[task], self.expected_draws[task]
            batch = f"  {self.batch_sizes.get(task, self.batch_size):>5}" if self.batch_sizes else ""
            lines.append(f"  {task:<{width}}  {size:>8,}  {p:.4f}  {expected:>14,.{decimals}f}{batch}")
        return "\n".join(lines + [f"  {note}" for note in self.notes])


def batch_in_words(processes: int, batch_size: int, accumulation_steps: int, have_own_draws: bool) -> str:
    """What a draw is made of, as the plan and a dry run say it.

    Args:
        processes: that train together.
        batch_size: examples of one micro-batch, on one process.
        accumulation_steps: micro-batches of a draw, on one process.
        have_own_draws: whether each process has draws of its own, in place of a part of one.
    """
    shared_by = 1 if have_own_draws else processes
    own = ", each with draws of its own" if have_own_draws else ""
    return (
        f"processes: {processes}{own}; batch: {batch_size} examples on each; draw: {batch_size} × "
        f"{accumulation_steps} accumulated{f' × {shared_by} processes' if shared_by > 1 else ''} = "
        f"{batch_size * accumulation_steps * shared_by} examples"
    )


def steps_of_budget(gradient_computations: int, draws_per_step: int) -> int:
    """Optimizer steps that a budget of drawn batches affords.

    Args:
        gradient_computations: of the whole run, all processes together.
        draws_per_step: of an optimizer step, likewise.

    Raises:
        InputError: it affords none.
    """
    if gradient_computations < draws_per_step:
        raise InputError(
            f"--max_gradient_computations {gradient_computations} does not suffice for one optimizer step, which "
            f"takes {draws_per_step}. Raise it."
        )
    return gradient_computations // draws_per_step


SMALL_REACH = 500
"""Below this reach φ was seen to stay short of where plain training ends; docs/choosing.md has the runs."""
LARGE_OUTER_LEARNING_RATE = 0.5
"""No larger η is proposed: at 1, Sequential Reptile is plain training."""
FEW_OUTER_UPDATES = 10
"""With fewer, φ was seen to move less far than the reach says: a third less at n = 2."""
FEW_OPTIMIZER_STEPS = 50
"""With fewer, M > 1 spends the gradient computations on the mean of tasks rather than on steps."""


def reach_notes(inner_steps: int, trajectory: int, outer_learning_rate: float) -> list[str]:
    """The number of outer updates, the reach η·S, and, where one of them is small, what was measured to raise it.

    Args:
        inner_steps: S, inner steps of the whole run.
        trajectory: K, inner steps of one trajectory.
        outer_learning_rate: η.
    """
    reach, updates = outer_learning_rate * inner_steps, -(-inner_steps // trajectory)
    notes = [
        f"outer updates: n = {updates:,} of K = {trajectory:,} inner steps each, η = {outer_learning_rate:g}",
        f"reach: η·S = {outer_learning_rate:g} × {inner_steps:,} = {_three_digits(reach)}",
    ]
    if reach < SMALL_REACH:
        enough = [f"--max_steps {math.ceil(SMALL_REACH / outer_learning_rate)}"]
        wanted = math.ceil(100 * SMALL_REACH / inner_steps) / 100
        if outer_learning_rate < wanted <= LARGE_OUTER_LEARNING_RATE:
            enough.append(f"--outer_learning_rate {wanted:g}")
        short = outer_learning_rate < LARGE_OUTER_LEARNING_RATE < wanted
        notes.append(
            f"warning: the reach is small, so φ may stay close to the start. {' or '.join(enough)} brings it to "
            f"{SMALL_REACH}{SHORT_RUN if short else ''} (docs/choosing.md)"
        )
    if updates < FEW_OUTER_UPDATES:
        notes.append(
            f"warning: n = {updates} outer updates are few, and φ moves less far than the reach says. "
            f"{_more_outer_updates(inner_steps)} (docs/choosing.md)"
        )
    return notes


SHORT_RUN = f"; of the short runs measured, those with --outer_learning_rate {LARGE_OUTER_LEARNING_RATE:g} lost least"


def _more_outer_updates(inner_steps: int) -> str:
    shorter = inner_steps // FEW_OUTER_UPDATES
    return f"--inner_steps {shorter} makes {-(-inner_steps // shorter)}" if shorter > 1 else "Raise --max_steps"


def few_steps_notes(optimizer_steps: int, tasks_per_step: int, could_take_one: bool) -> list[str]:
    """A warning where M > 1 leaves a run few optimizer steps.

    Args:
        optimizer_steps: of the whole run.
        tasks_per_step: M.
        could_take_one: whether the method is of use with M = 1.
    """
    if tasks_per_step == 1 or optimizer_steps >= FEW_OPTIMIZER_STEPS:
        return []
    instead = f"--tasks_per_step 1 makes {optimizer_steps * tasks_per_step:,} of the same gradient computations"
    mend = instead if could_take_one else "Raise --max_steps or --num_train_epochs"
    return [
        f"warning: {optimizer_steps:,} optimizer steps are few for M = {tasks_per_step}. {mend} (docs/choosing.md)"
    ]


def one_task_notes(task: str, method: str) -> list[str]:
    """A warning where a method that is about several tasks is given one."""
    return [
        f"warning: {task!r} is the only task, and --method {method} is about several: give each language a file "
        f"(de=de.jsonl sw=sw.jsonl) or name its column (--task_column), or split one language (--num_clusters)"
    ]


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
