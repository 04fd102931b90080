"""Which task, and which of its examples, each optimizer step sees.

Everything drawn is a function of the seed and of names and sizes alone, so that a run can be continued at any step,
on the same number of processes, without having stored what it drew.
"""

import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from torch.utils.data import Sampler

LENGTH_GROUP = 50
"""Blocks of examples that are sorted by length together; larger groups pad less but mix less."""


def task_probabilities(sizes: Mapping[str, int], exponent: float) -> dict[str, float]:
    """The probability of drawing each task, p_t ∝ N_t^q (paper, section 3.1).

    Args:
        sizes: number of training examples N_t of each task, at least 1.
        exponent: q in [0, 1]; the paper uses 1/5. 0 draws all tasks equally often.
    """
    weights = {task: float(size) ** exponent for task, size in sizes.items()}
    total = sum(weights.values())
    return {task: weight / total for task, weight in weights.items()}


def draws_for_the_data(sizes: Mapping[str, int], of_draws: Mapping[str, int]) -> int:
    """Draws of an epoch: ⌈Σ_t N_t / B_t⌉.

    Args:
        sizes: N_t.
        of_draws: B_t, examples of a draw of each task.
    """
    return math.ceil(sum(Fraction(size, of_draws[task]) for task, size in sizes.items()))


class BatchSize(int):
    """The size of a batch as accelerate asks for it: equal to that of any batch but an empty one.

    It deals whole batches to the processes, and takes one of another size for the data's last. Ours are all whole,
    whichever size a task has.
    """

    def __eq__(self, other: object) -> bool:
        return isinstance(other, int) and other > 0

    __hash__ = int.__hash__


class TaskStream:
    """One task's examples as an endless sequence: pass after pass over the data, each in a new random order.

    Args:
        name: the task; two tasks of one size still get different orders.
        size: number of examples (rows).
        block: examples that one draw takes; with `lengths`, examples of similar length come in one block.
        seed: seed of all orders.
        lengths: length of each example, for grouping; `None` keeps the order purely random.
    """

    def __init__(self, name: str, size: int, block: int, seed: int, lengths: Sequence[int] | None = None) -> None:
        self.size = size
        self.block = block
        self._entropy = [seed, zlib.crc32(name.encode())]
        self._lengths = None if lengths is None else np.asarray(lengths)
        self._cached: tuple[int, np.ndarray] | None = None

    def draw(self, number: int) -> np.ndarray:
        """The example indices of this task's draw `number` (0, 1, …), shape (block,)."""
        start, end = number * self.block, (number + 1) * self.block
        passes = range(start // self.size, -(-end // self.size))
        return np.concatenate([self._order(p)[max(start - p * self.size, 0) : end - p * self.size] for p in passes])

    def _order(self, pass_number: int) -> np.ndarray:
        if self._cached is None or self._cached[0] != pass_number:
            random = np.random.default_rng([*self._entropy, pass_number])
            order = random.permutation(self.size)
            if self._lengths is not None:
                # A draw may have begun in the pass before; what it still takes from this one stays ungrouped.
                begun = -pass_number * self.size % self.block
                order = np.concatenate([order[:begun], *self._blocks_of_similar_length(order[begun:], random)])
            self._cached = (pass_number, order)
        return self._cached[1]

    def _blocks_of_similar_length(self, order: np.ndarray, random: np.random.Generator) -> list[np.ndarray]:
        assert self._lengths is not None
        blocks: list[np.ndarray] = []
        for start in range(0, len(order), LENGTH_GROUP * self.block):
            group = order[start : start + LENGTH_GROUP * self.block]
            group = group[np.argsort(self._lengths[group], kind="stable")]
            cuts = [group[i : i + self.block] for i in range(0, len(group), self.block)]
            # The short block that may end a pass must stay last: draws begin where full blocks begin.
            short = [cuts.pop()] if len(cuts[-1]) < self.block else []
            blocks += [cuts[i] for i in random.permutation(len(cuts))] + short
        return blocks


class TaskBatchSampler(Sampler[list[tuple[str, int, int]]]):
    """Emits the micro-batches of one epoch: draws of tasks, each cut into equal task-homogeneous micro-batches.

    A draw is `micro_batches` × `batch_size` examples of one task, drawn from Cat(p) (Eq. 5). `accelerate` deals the
    micro-batches to the processes in turn. With `parallel_draws` of 1 those of a draw come one after the other, so
    that every process works on the same task; with W, W draws are interleaved, so that each of W processes works on
    a draw of its own. An epoch is ⌈Σ N_t / B_t⌉ draws, rounded up to whole optimizer steps of M·W draws.

    An example is a task, a row, and how many rows of the task were drawn before it in the run.

    An epoch's draws follow from the seed and its number; which examples they take follows from how often each task
    was drawn before.

    Args:
        sizes: number of examples of each task.
        probabilities: p_t of each task, summing to 1.
        batch_size: examples of one micro-batch.
        micro_batches: micro-batches of one draw: accumulation steps × processes that share it.
        seed: seed of the draws and of every task's order.
        lengths: for each task the lengths of its examples, to group similar ones; `None` for random order.
        tasks_per_step: M, draws of an optimizer step of each process.
        parallel_draws: W, draws that are worked on at the same time.
        rows: number of rows of each task, where that is not the number of its examples (long ones have several).
        batch_sizes: examples of a micro-batch of single tasks, where these have sizes of their own.
    """

    drop_last = False

    def __init__(
        self,
        sizes: Mapping[str, int],
        probabilities: Mapping[str, float],
        batch_size: int,
        micro_batches: int = 1,
        seed: int = 0,
        lengths: Mapping[str, Sequence[int] | None] | None = None,
        tasks_per_step: int = 1,
        parallel_draws: int = 1,
        rows: Mapping[str, int] | None = None,
        batch_sizes: Mapping[str, int] | None = None,
    ) -> None:
        self.tasks = list(sizes)
        self.batch_sizes = {task: (batch_sizes or {}).get(task, batch_size) for task in sizes}
        self.batch_size = BatchSize(batch_size) if batch_sizes else batch_size
        self.micro_batches = micro_batches
        self.tasks_per_step = tasks_per_step
        self.parallel_draws = parallel_draws
        of_draws = {task: size * micro_batches for task, size in self.batch_sizes.items()}
        self.draws_for_the_data = draws_for_the_data(sizes, of_draws)
        self.draws_per_epoch = self._whole_steps(self.draws_for_the_data)
        self._probabilities = np.array([probabilities[task] for task in self.tasks])
        self._seed = seed
        self._epoch, self._first_step = 0, 0
        self._counts = np.zeros(len(self.tasks), dtype=np.int64)
        self._counted = (0, self._counts)
        self._streams = {
            task: TaskStream(task, number, of_draws[task], seed, lengths[task] if lengths else None)
            for task, number in (rows or sizes).items()
        }

    @property
    def draws_per_step(self) -> int:
        """Draws of an optimizer step of all processes, M·W."""
        return self.tasks_per_step * self.parallel_draws

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of an epoch."""
        return self.draws_per_epoch // self.draws_per_step

    def _whole_steps(self, draws: int) -> int:
        return -(-draws // self.draws_per_step) * self.draws_per_step

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch (0, 1, …) whose micro-batches iteration emits, after whole epochs before it."""
        if epoch != self._epoch:
            counts = self._counts_before(epoch)
            self.start_epoch(epoch, epoch * self.steps_per_epoch, dict(zip(self.tasks, counts.tolist(), strict=True)))

    def start_epoch(self, epoch: int, step: int, counts: Mapping[str, int]) -> None:
        """Choose the epoch after any run before it.

        Args:
            epoch: its number, from 0.
            step: optimizer steps before it.
            counts: how often each task was drawn before it.
        """
        self._epoch, self._first_step = epoch, step
        self._counts = np.array([counts[task] for task in self.tasks])

    def drawn_tasks(self, epoch: int) -> np.ndarray:
        """Indices into `tasks` of the epoch's draws, in order, shape (draws_per_epoch,)."""
        random = np.random.default_rng([self._seed, epoch])
        return random.choice(len(self.tasks), size=self.draws_per_epoch, p=self._probabilities)

    def counts_after(self, step: int) -> dict[str, int]:
        """How often each task was drawn until optimizer step `step` of the run, which is one of the present epoch."""
        drawn = self.drawn_tasks(self._epoch)[: (step - self._first_step) * self.draws_per_step]
        counts = self._counts + np.bincount(drawn, minlength=len(self.tasks))
        return dict(zip(self.tasks, counts.tolist(), strict=True))

    def draw_counts(self, draws: int) -> dict[str, int]:
        """How often each task is among the first `draws` draws of a run of whole epochs."""
        epochs, rest = divmod(draws, self.draws_per_epoch)
        counts = self._counts_before(epochs) + np.bincount(self.drawn_tasks(epochs)[:rest], minlength=len(self.tasks))
        return dict(zip(self.tasks, counts.tolist(), strict=True))

    def _counts_before(self, epoch: int) -> np.ndarray:
        """How often each task is drawn in the epochs before, shape (tasks,); goes on from the last answer."""
        known, counts = self._counted
        if known > epoch:
            known, counts = 0, np.zeros_like(counts)
        for drawn in map(self.drawn_tasks, range(known, epoch)):
            counts = counts + np.bincount(drawn, minlength=len(self.tasks))
        self._counted = (epoch, counts)
        return counts

    def expected_counts(self, draws: int) -> Mapping[str, float]:
        """How often each task is expected among the first `draws` draws of a run, whatever its seed."""
        return dict(zip(self.tasks, (self._probabilities * draws).tolist(), strict=True))

    def _numbered_draws(self) -> Iterator[tuple[str, int]]:
        """The epoch's draws: the task of each, and how many draws of that task came before it in the run."""
        counts = self._counts.tolist()
        for index in self.drawn_tasks(self._epoch).tolist():
            yield self.tasks[index], counts[index]
            counts[index] += 1

    def __len__(self) -> int:
        return self.draws_per_epoch * self.micro_batches

    def __iter__(self) -> Iterator[list[tuple[str, int, int]]]:
        for draws in batched(self._numbered_draws(), self.parallel_draws):
            examples = [(task, number, self._streams[task].draw(number)) for task, number in draws]
            for micro_batch in range(self.micro_batches):
                for task, number, rows in examples:
                    size = self.batch_sizes[task]
                    before = number * len(rows) + micro_batch * size
                    own = rows[micro_batch * size : (micro_batch + 1) * size].tolist()
                    yield [(task, row, before + i) for i, row in enumerate(own)]


class EveryTaskSampler(TaskBatchSampler):
    """As its parent, but the M draws of an optimizer step are all T tasks, each once: M = T."""

    @property
    def draws_per_step(self) -> int:
        """As in the parent: T·W."""
        return len(self.tasks) * self.parallel_draws

    def drawn_tasks(self, epoch: int) -> np.ndarray:
        """As in the parent: the tasks in their order, again and again, on each of the W processes."""
        return np.arange(self.draws_per_epoch) // self.parallel_draws % len(self.tasks)

    def _counts_before(self, epoch: int) -> np.ndarray:
        return np.full(len(self.tasks), epoch * self.draws_per_epoch // len(self.tasks))


class TrajectorySampler(TaskBatchSampler):
    """As its parent, but K draws of one task come one after the other: Reptile's trajectories (Eq. 3).

    Of W processes, W tasks' trajectories are dealt with at a time: an outer update takes ⌈T/W⌉ rounds of K steps.
    Where fewer than W tasks are left for a round, the processes without one repeat the others' draws, which count
    only once, in an epoch too. Each task's examples are those that one process would take.
    """

    def __init__(self, *args: Any, inner_steps: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.inner_steps = inner_steps

    @property
    def rounds(self) -> int:
        """Rounds of an outer update, ⌈T/W⌉."""
        return -(-len(self.tasks) // self.parallel_draws)

    def _whole_steps(self, draws: int) -> int:
        return -(-draws * self.rounds // len(self.tasks)) * self.parallel_draws

    def working_processes(self, step: int) -> int:
        """How many of the W processes have a task of their own in optimizer step `step` (0, 1, …) of the run."""
        return int(self._places(np.array([step]))[1][0])

    def _places(self, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For each step the first task of its round, how many tasks the round has, and the number of their draws."""
        updates, steps = np.divmod(steps, self.rounds * self.inner_steps)
        rounds, steps = np.divmod(steps, self.inner_steps)
        first = rounds * self.parallel_draws
        return first, np.minimum(len(self.tasks) - first, self.parallel_draws), updates * self.inner_steps + steps

    def _draws(self, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Task index and number of the run's draws from `start` to `end`."""
        steps, processes = np.divmod(np.arange(start, end), self.parallel_draws)
        first, working, numbers = self._places(steps)
        return first + processes % working, numbers

    def drawn_tasks(self, epoch: int) -> np.ndarray:
        """As in the parent, repeated draws included."""
        start = epoch * self.draws_per_epoch
        return self._draws(start, start + self.draws_per_epoch)[0]

    def counts_after(self, step: int) -> dict[str, int]:
        """As in the parent, repeated draws counted once."""
        return self.draw_counts(step * self.parallel_draws)

    def draw_counts(self, draws: int) -> dict[str, int]:
        """As in the parent, repeated draws counted once."""
        steps, rest = divmod(draws, self.parallel_draws)
        updates, steps = divmod(steps, self.rounds * self.inner_steps)
        counts = {}
        for number, task in enumerate(self.tasks):
            round_, process = divmod(number, self.parallel_draws)
            # Of the step that is not whole, the first processes' draws.
            own = steps - round_ * self.inner_steps + (process < rest)
            counts[task] = updates * self.inner_steps + min(max(own, 0), self.inner_steps)
        return counts

    def expected_counts(self, draws: int) -> Mapping[str, float]:
        """As in the parent; nothing is random."""
        return self.draw_counts(draws)

    def _numbered_draws(self) -> Iterator[tuple[str, int]]:
        start = self._first_step * self.parallel_draws
        drawn, numbers = self._draws(start, start + self.draws_per_epoch)
        yield from zip([self.tasks[i] for i in drawn], numbers.tolist(), strict=True)


def batched(draws: Iterable[tuple[str, int]], size: int) -> Iterator[tuple[tuple[str, int], ...]]:
    """`draws` in groups of `size`, of which their number is a multiple (itertools has this from Python 3.12 on)."""
    return zip(*[iter(draws)] * size, strict=True)
