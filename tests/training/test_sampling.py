"""Laws of the draws: which tasks, which examples, in which batches."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from hf_seqreptile.training.sampling import (
    EveryTaskSampler,
    TaskBatchSampler,
    TaskStream,
    TrajectorySampler,
    task_probabilities,
)

sizes = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(1, 60), min_size=1, max_size=5)


def sampler(
    sizes, batch_size=4, micro_batches=1, exponent=0.2, seed=0, lengths=None, of_class=TaskBatchSampler, **others
):
    return of_class(
        sizes, task_probabilities(sizes, exponent), batch_size, micro_batches, seed=seed, lengths=lengths, **others
    )


def draws_by_process(batches, epochs=1):
    """For each process the draws that it works on, a list of examples each: `accelerate` deals batches in turn."""
    processes = [[] for _ in range(batches.parallel_draws)]
    for epoch in range(epochs):
        batches.set_epoch(epoch)
        emitted = list(batches)
        assert len(emitted) == len(batches)
        for w, draws in enumerate(processes):
            own = emitted[w :: batches.parallel_draws]
            assert len(own) % batches.micro_batches == 0
            for start in range(0, len(own), batches.micro_batches):
                draws.append([example for batch in own[start : start + batches.micro_batches] for example in batch])
    return processes


def in_turn(processes):
    """The draws of all processes in one sequence, as they were dealt."""
    return [draw for step in zip(*processes, strict=True) for draw in step]


def task_of(draw):
    """The one task that all examples of a draw come from."""
    (task,) = {task for task, *_ in draw}
    return task


@given(sizes, st.floats(0, 1))
def test_probabilities_are_powers_of_the_sizes(sizes, exponent):
    p = task_probabilities(sizes, exponent)
    assert sum(p.values()) == pytest.approx(1)
    first = next(iter(sizes))
    for task, size in sizes.items():
        assert p[task] / p[first] == pytest.approx((size / sizes[first]) ** exponent)


def test_drawn_frequencies_follow_the_probabilities():
    """Law 7, by a chi-square test at the 0.1 % level."""
    tasks = {"de": 20_000, "en": 5_000, "sw": 100, "yo": 40}
    batches = sampler(tasks, batch_size=16)
    counts = batches.draw_counts(20_000)
    expected = [20_000 * p for p in task_probabilities(tasks, 0.2).values()]
    assert chisquare(list(counts.values()), expected).pvalue > 1e-3
    proportional = [20_000 * size / sum(tasks.values()) for size in tasks.values()]
    assert chisquare(list(counts.values()), proportional).pvalue < 1e-3


@given(sizes, st.integers(1, 8), st.integers(1, 4), st.booleans())
def test_batches_are_full_homogeneous_and_an_epoch_is_the_data_over_the_draw(sizes, batch, micro_batches, by_length):
    lengths = {task: list(range(size)) for task, size in sizes.items()} if by_length else None
    emitted = list(sampler(sizes, batch, micro_batches, lengths=lengths))
    draw = batch * micro_batches
    assert len(emitted) == micro_batches * -(-sum(sizes.values()) // draw)
    for start in range(0, len(emitted), micro_batches):
        of_draw = [example for b in emitted[start : start + micro_batches] for example in b]
        assert len(of_draw) == draw
        assert len({task for task, *_ in of_draw}) == 1
        assert all(0 <= row < sizes[task] for task, row, _ in of_draw)


@given(st.integers(1, 40), st.integers(1, 12), st.booleans())
def test_a_task_is_reshuffled_only_when_exhausted(size, block, by_length):
    lengths = [row % 7 for row in range(size)] if by_length else None
    stream = TaskStream("sw", size, block, seed=0, lengths=lengths)
    rows = np.concatenate([stream.draw(i) for i in range(-(-5 * size // block))])
    for start in range(0, 5 * size, size):
        assert sorted(rows[start : start + size]) == list(range(size))


def test_passes_and_tasks_have_orders_of_their_own():
    de, en = (TaskStream(name, 100, 100, seed=0) for name in ("de", "en"))
    orders = [tuple(stream.draw(i)) for stream in (de, en) for i in range(2)]
    assert len(set(orders)) == 4


def test_grouping_by_length_saves_padding_and_keeps_the_drawn_tasks():
    tasks = {"de": 1_000, "sw": 50}
    random = np.random.default_rng(0)
    lengths = {task: random.integers(3, 100, size) for task, size in tasks.items()}
    grouped, plain = sampler(tasks, 16, lengths=lengths), sampler(tasks, 16)

    def padding(batches):
        rows = [[lengths[task][row] for task, row, _ in batch] for batch in batches]
        return sum(max(r) * len(r) for r in rows) / sum(map(sum, rows))

    assert [batch[0][0] for batch in grouped] == [batch[0][0] for batch in plain]
    assert padding(grouped) < 1.25 < 1.6 < padding(plain)


@given(sizes, st.integers(0, 3), st.booleans())
def test_a_smaller_micro_batch_cuts_the_same_draws(sizes, epoch, by_length):
    """Law 6: batch 8 once and batch 2 four times see the same examples in the same order."""
    lengths = {task: [row % 5 for row in range(size)] for task, size in sizes.items()} if by_length else None
    whole, cut = sampler(sizes, 8, 1, lengths=lengths), sampler(sizes, 2, 4, lengths=lengths)
    whole.set_epoch(epoch)
    cut.set_epoch(epoch)
    assert [e for batch in whole for e in batch] == [e for batch in cut for e in batch]


@given(sizes, st.integers(0, 4), st.integers(0, 2**31 - 1))
def test_an_epoch_depends_on_the_seed_alone(sizes, epoch, seed):
    used, fresh = sampler(sizes, seed=seed), sampler(sizes, seed=seed)
    for _ in islice(used, 3):
        pass
    for each in (used, fresh):
        each.set_epoch(epoch)
    assert list(used) == list(fresh)


def test_processes_dealt_in_turn_share_each_draws_task():
    emitted = [batch[0][0] for batch in sampler({"de": 50, "en": 50, "sw": 9}, 2, micro_batches=2 * 3)]
    by_process = [emitted[process::3] for process in range(3)]
    assert by_process[0] == by_process[1] == by_process[2]


@given(sizes, st.integers(1, 9), st.integers(1, 3))
def test_an_epoch_is_whole_steps_of_the_draws_that_any_number_of_tasks_a_step_has(sizes, tasks_per_step, processes):
    """So that equal numbers of steps are equal gradient computations; the draws are those of M = 1, and a few more."""
    one = sampler(sizes)
    batches = sampler(sizes, tasks_per_step=tasks_per_step, parallel_draws=processes)
    assert batches.draws_per_step == tasks_per_step * processes
    assert 0 <= batches.draws_per_epoch - one.draws_per_epoch < batches.draws_per_step
    assert batches.steps_per_epoch * batches.draws_per_step == batches.draws_per_epoch == len(batches)
    assert batches.drawn_tasks(3)[: one.draws_per_epoch].tolist() == one.drawn_tasks(3).tolist()


@given(
    sizes, st.lists(st.integers(0, 12), min_size=1, max_size=6), st.sampled_from([TaskBatchSampler, EveryTaskSampler])
)
def test_epochs_in_any_order_are_those_in_order(sizes, epochs, every_task):
    of_class = EveryTaskSampler if every_task else TaskBatchSampler
    used = sampler(sizes, of_class=of_class)
    for epoch in epochs:
        fresh = sampler(sizes, of_class=of_class)
        for each in (used, fresh):
            each.set_epoch(epoch)
        assert list(used) == list(fresh)
        drawn = Counter(task_of(draw) for draw in in_turn(draws_by_process(fresh, epoch + 1)))
        assert used.draw_counts((epoch + 1) * used.draws_per_epoch) == {task: drawn[task] for task in sizes}


class Counting(TaskBatchSampler):
    """Counts the numbers that it draws."""

    drawn = 0

    def drawn_tasks(self, epoch):
        self.drawn += self.draws_per_epoch
        return super().drawn_tasks(epoch)


def test_an_epoch_draws_its_own_numbers_alone_however_many_came_before():
    batches = sampler({"de": 500, "sw": 50}, of_class=Counting)
    for epoch in range(40):
        before = batches.drawn
        batches.start_epoch(
            epoch, epoch * batches.steps_per_epoch, batches.counts_after(epoch * batches.steps_per_epoch)
        )
        list(batches)
        batches.counts_after(epoch * batches.steps_per_epoch + 3)
        assert batches.drawn - before == 3 * batches.draws_per_epoch
    resumed = sampler({"de": 500, "sw": 50}, of_class=Counting)
    resumed.start_epoch(39, 39 * batches.steps_per_epoch, batches.counts_after(39 * batches.steps_per_epoch))
    assert list(resumed) == list(batches) and resumed.drawn == batches.draws_per_epoch


def test_an_epoch_goes_on_where_one_that_was_cut_short_ended():
    """As a callback may: the next examples of each task come, none is passed over."""
    batches = sampler({"de": 50, "sw": 9})
    taken = list(batches)[:6]
    counts = batches.counts_after(6)
    assert counts == {task: sum(batch[0][0] == task for batch in taken) for task in ("de", "sw")}
    batches.start_epoch(1, 6, counts)
    stream = TaskStream("de", 50, 4, seed=0)
    rows = [[row for _, row, _ in batch] for batch in [*taken, *batches] if batch[0][0] == "de"]
    assert rows == [stream.draw(number).tolist() for number in range(len(rows))]


@given(sizes, st.integers(0, 500))
def test_expected_counts_are_the_probabilities_of_all_draws(sizes, draws):
    expected = sampler(sizes).expected_counts(draws)
    probabilities = task_probabilities(sizes, 0.2)
    assert expected == pytest.approx({task: draws * probabilities[task] for task in sizes})


# Draws that several processes work on at the same time.


@given(sizes, st.integers(1, 4), st.integers(1, 3), st.integers(0, 2))
def test_each_process_has_draws_of_its_own(sizes, processes, micro_batches, epoch):
    """They are the draws of one process dealt in turn, until the epoch, a multiple of W draws, ends."""
    parallel = sampler(sizes, 2, micro_batches, parallel_draws=processes)
    one = sampler(sizes, 2, micro_batches)
    draws = in_turn(draws_by_process(parallel))
    assert len(draws) == parallel.draws_per_epoch == -(-one.draws_per_epoch // processes) * processes
    assert draws[: one.draws_per_epoch] == in_turn(draws_by_process(one))
    assert all(len(draw) == 2 * micro_batches and task_of(draw) in sizes for draw in draws)


@given(sizes, st.integers(1, 4), st.integers(1, 4))
def test_a_task_is_reshuffled_only_when_all_processes_together_have_exhausted_it(sizes, processes, epochs):
    rows = {task: [] for task in sizes}
    for draw in in_turn(draws_by_process(sampler(sizes, 3, parallel_draws=processes), epochs)):
        rows[task_of(draw)] += [row for _, row, _ in draw]
    for task, size in sizes.items():
        for start in range(0, len(rows[task]) - size + 1, size):
            assert sorted(rows[task][start : start + size]) == list(range(size))


def test_drawn_frequencies_of_every_process_follow_the_probabilities():
    """Law 7, and the processes' draws are independent: chi-square tests at the 0.1 % level."""
    tasks = {"de": 20_000, "sw": 100, "yo": 40}
    batches = sampler(tasks, 1, parallel_draws=2)
    drawn = np.array([batches.tasks[i] for i in batches.drawn_tasks(0)]).reshape(-1, 2)
    p = task_probabilities(tasks, 0.2)
    for own in drawn.T:
        counts = Counter(own.tolist())
        assert chisquare([counts[t] for t in tasks], [len(own) * p[t] for t in tasks]).pvalue > 1e-3
    pairs = Counter(map(tuple, drawn.tolist()))
    observed = [pairs[one, other] for one in tasks for other in tasks]
    assert chisquare(observed, [len(drawn) * p[one] * p[other] for one in tasks for other in tasks]).pvalue > 1e-3


@given(sizes, st.integers(1, 3), st.integers(1, 3), st.integers(0, 40))
def test_parallel_draws_are_counted(sizes, processes, tasks_per_step, steps):
    """The draws of the first steps, on all processes."""
    batches = sampler(sizes, parallel_draws=processes, tasks_per_step=tasks_per_step)
    expected = steps * batches.draws_per_step
    epochs = -(-expected // batches.draws_per_epoch)
    drawn = Counter(task_of(draw) for draw in in_turn(draws_by_process(batches, epochs))[:expected]) if epochs else {}
    assert batches.draw_counts(expected) == {task: drawn.get(task, 0) for task in sizes}


@given(sizes, st.integers(1, 3), st.integers(1, 3))
def test_every_step_of_every_process_takes_every_task_once(sizes, processes, micro_batches):
    batches = sampler(sizes, 2, micro_batches, of_class=EveryTaskSampler, parallel_draws=processes)
    for draws in draws_by_process(batches, epochs=2):
        tasks = [task_of(draw) for draw in draws]
        assert tasks == list(sizes) * (len(draws) // len(sizes))
    # As many whole steps as take all examples, and no more.
    whole_step = 2 * micro_batches * processes * len(sizes)
    assert batches.draws_per_epoch == -(-sum(sizes.values()) // whole_step) * len(sizes) * processes


# Reptile's trajectories.


@given(sizes, st.integers(1, 5), st.integers(1, 4), st.integers(1, 2))
def test_each_process_follows_a_task_for_k_steps(sizes, processes, inner_steps, micro_batches):
    """In rounds: the first W tasks, the next W, and, where fewer are left, the same ones more than once."""
    batches = sampler(
        sizes, 3, micro_batches, of_class=TrajectorySampler, parallel_draws=processes, inner_steps=inner_steps
    )
    tasks = list(sizes)
    for w, draws in enumerate(draws_by_process(batches, epochs=3)):
        for step, draw in enumerate(draws):
            round_of_run = step // inner_steps
            in_round = tasks[round_of_run % batches.rounds * processes :][:processes]
            assert task_of(draw) == in_round[w % len(in_round)]
            assert batches.working_processes(step) == len(in_round)


@given(sizes, st.integers(1, 5), st.integers(1, 4))
def test_trajectories_see_the_same_examples_on_any_number_of_processes(sizes, processes, inner_steps):
    """Each task's next examples in each outer update, without what is repeated."""

    def outer_updates(number):
        batches = sampler(sizes, 3, of_class=TrajectorySampler, parallel_draws=number, inner_steps=inner_steps)
        by_process = draws_by_process(batches, epochs=3)
        of_update = batches.rounds * inner_steps
        for start in range(0, len(by_process[0]) - of_update + 1, of_update):
            draws = {task: [] for task in sizes}
            for step in range(start, start + of_update):
                for own in by_process[: batches.working_processes(step)]:
                    draws[task_of(own[step])].append(own[step])
            yield draws

    streams = {task: TaskStream(task, size, 3, seed=0) for task, size in sizes.items()}
    for number, (one, several) in enumerate(zip(outer_updates(1), outer_updates(processes), strict=False)):
        assert one == several
        for task, draws in one.items():
            own = [streams[task].draw(number * inner_steps + k) for k in range(inner_steps)]
            before = number * inner_steps * 3
            assert draws == [
                [(task, row, before + k * 3 + i) for i, row in enumerate(rows)] for k, rows in enumerate(own)
            ]


@given(sizes, st.integers(1, 5), st.integers(1, 4), st.integers(0, 60))
def test_repeated_draws_are_counted_once(sizes, processes, inner_steps, steps):
    batches = sampler(sizes, of_class=TrajectorySampler, parallel_draws=processes, inner_steps=inner_steps)
    counts = batches.draw_counts(steps * processes)
    updates, rest = divmod(steps, batches.rounds * inner_steps)
    for number, task in enumerate(sizes):
        own = min(max(rest - number // processes * inner_steps, 0), inner_steps)
        assert counts[task] == updates * inner_steps + own


@given(sizes, st.integers(1, 5), st.integers(1, 4), st.integers(0, 60))
def test_expected_trajectories_are_those_that_are_made(sizes, processes, inner_steps, steps):
    batches = sampler(sizes, of_class=TrajectorySampler, parallel_draws=processes, inner_steps=inner_steps)
    draws = steps * processes
    assert batches.expected_counts(draws) == batches.draw_counts(draws)


@given(sizes, st.integers(1, 5))
def test_an_epoch_of_trajectories_is_the_data_over_the_draws_that_count(sizes, processes):
    """So that a number of epochs means as many outer updates on any number of processes, but for rounding up."""
    one, several = (
        sampler(sizes, of_class=TrajectorySampler, parallel_draws=n, inner_steps=1) for n in (1, processes)
    )
    steps_of_one = -(-sum(sizes.values()) // 4)
    assert one.draws_per_epoch == steps_of_one
    steps = several.draws_per_epoch / processes
    assert steps_of_one / len(sizes) <= steps / several.rounds < steps_of_one / len(sizes) + 1 / several.rounds
