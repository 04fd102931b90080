"""Laws of the draws: which tasks, which examples, in which batches."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from hf_seqreptile.sampling import TaskBatchSampler, TaskStream, task_probabilities

sizes = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(1, 60), min_size=1, max_size=5)


def sampler(sizes, batch_size=4, micro_batches=1, exponent=0.2, seed=0, lengths=None):
    return TaskBatchSampler(
        sizes, task_probabilities(sizes, exponent), batch_size, micro_batches, seed=seed, lengths=lengths
    )


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
        assert len({task for task, _ in of_draw}) == 1
        assert all(0 <= row < sizes[task] for task, row in of_draw)


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
        rows = [[lengths[task][row] for task, row in batch] for batch in batches]
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


@pytest.mark.parametrize("tasks_per_step", [1, 3, 8, 100])
def test_draws_after_steps_allow_for_a_short_last_step(tasks_per_step):
    batches = sampler({"de": 50, "sw": 9})
    steps_per_epoch = -(-batches.draws_per_epoch // tasks_per_step)
    assert batches.draws_after(2 * steps_per_epoch, tasks_per_step) == 2 * batches.draws_per_epoch
    drawn = Counter(batch[0][0] for batch in batches)
    assert batches.draw_counts(batches.draws_per_epoch) == {"de": drawn["de"], "sw": drawn["sw"]}
