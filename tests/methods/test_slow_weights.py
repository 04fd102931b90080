"""φ beside θ."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from hf_seqreptile.methods.slow_weights import SlowWeights
from tests.tiny import assert_equal, weights


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def move(layer, seed=1):
    """Stands for inner steps."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(torch.randn_like(p))


@given(st.floats(0.01, 1), st.lists(st.integers(0, 100), min_size=1, max_size=4))
def test_outer_updates_are_equation_6(eta, seeds):
    layer = nn.Linear(3, 2)
    slow = SlowWeights(dict(layer.named_parameters()))
    phi = weights(layer)
    for seed in seeds:
        move(layer, seed)
        theta = weights(layer)
        slow.outer_update(eta)
        phi = {name: phi[name] - eta * (phi[name] - theta[name]) for name in phi}
        for name, p in layer.named_parameters():
            torch.testing.assert_close(p.detach(), phi[name], atol=1e-6, rtol=1e-5)


def test_the_model_is_phi_within_and_theta_after(layer):
    slow = SlowWeights(dict(layer.named_parameters()))
    phi = weights(layer)
    move(layer)
    slow.on_trajectory = True
    theta = weights(layer)
    with slow.in_model(), slow.in_model():
        assert_equal(weights(layer), phi)
    assert_equal(weights(layer), theta)
    with pytest.raises(RuntimeError), slow.in_model():
        raise RuntimeError
    assert_equal(weights(layer), theta)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_trajectory_survives_saving(layer, tmp_path, dtype):
    layer = layer.to(dtype)
    slow = SlowWeights(dict(layer.named_parameters()))
    move(layer)
    slow.outer_update(0.01)
    phi = weights(layer)
    move(layer, seed=2)
    slow.on_trajectory = True
    theta = weights(layer)
    slow.save(tmp_path)

    restored = nn.Linear(3, 2).to(dtype)
    restored.load_state_dict(phi)
    again = SlowWeights(dict(restored.named_parameters()))
    again.load(tmp_path, on_trajectory=True)
    assert_equal(weights(restored), theta)
    for s in (slow, again):
        s.outer_update(0.01)
    assert_equal(weights(restored), weights(layer))


def test_between_trajectories_nothing_is_written(layer, tmp_path):
    SlowWeights(dict(layer.named_parameters())).save(tmp_path)
    assert not list(tmp_path.iterdir())


def test_small_updates_of_low_precision_weights_add_up():
    """In bfloat16 alone, 1 + 0.001 is 1 and φ would never move."""
    weight = nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    slow = SlowWeights({"weight": weight})
    for _ in range(100):
        with torch.no_grad():
            weight.fill_(2)
        slow.outer_update(0.001)
    assert weight.mean().item() == pytest.approx(2 - 0.999**100, abs=0.01)


def test_memory_is_one_copy_in_float32_and_one_of_the_sum_of_ended_trajectories(layer):
    slow = SlowWeights(dict(layer.to(torch.bfloat16).named_parameters()))
    assert slow.memory == 4 * (3 * 2 + 2)
    slow.end_trajectory()
    assert slow.memory == 2 * 4 * (3 * 2 + 2)
    slow.outer_update(0.5)
    assert slow.memory == 4 * (3 * 2 + 2)


# Several trajectories in an outer update.


@given(
    st.floats(0.01, 1),
    st.lists(st.lists(st.tuples(st.integers(0, 100), st.booleans()), min_size=1, max_size=4), max_size=3),
)
def test_outer_updates_over_several_trajectories_are_equation_3(eta, updates):
    """Each from φ; a trajectory that does not count leaves the mean as it is."""
    layer = nn.Linear(3, 2)
    slow = SlowWeights(dict(layer.named_parameters()))
    phi = weights(layer)
    for trajectories in updates:
        if not any(counts for _, counts in trajectories):
            continue
        ends = []
        for seed, counts in trajectories:
            assert_equal(weights(layer), phi)
            move(layer, seed)
            slow.on_trajectory = True
            if counts:
                ends.append(weights(layer))
            slow.end_trajectory(counts)
            assert slow.has_ended_trajectories and not slow.on_trajectory
        slow.outer_update(eta)
        assert not slow.has_ended_trajectories
        expected = {n: phi[n] - eta * torch.stack([phi[n] - end[n] for end in ends]).mean(dim=0) for n in phi}
        phi = weights(layer)
        for name in phi:
            torch.testing.assert_close(phi[name], expected[name], atol=1e-6, rtol=1e-5)


def test_the_mean_of_one_trajectory_is_its_end(layer):
    """Bit for bit, so that Reptile on one task is Sequential Reptile."""
    twin = nn.Linear(3, 2)
    twin.load_state_dict(layer.state_dict())
    for each, ends in ((layer, True), (twin, False)):
        slow = SlowWeights(dict(each.named_parameters()))
        move(each)
        if ends:
            slow.end_trajectory()
        slow.outer_update(0.3)
    assert_equal(weights(layer), weights(twin))


def test_trajectories_that_ended_are_forgotten_with_the_one_that_goes_on(layer):
    slow = SlowWeights(dict(layer.named_parameters()))
    phi = weights(layer)
    for ends in (True, False):
        move(layer)
        slow.on_trajectory = True
        if ends:
            slow.end_trajectory()
    slow.forget_trajectories()
    assert_equal(weights(layer), phi)
    assert not slow.has_ended_trajectories
    move(layer, seed=3)
    theta = weights(layer)
    slow.outer_update(1.0)
    assert_equal(weights(layer), theta)


def test_with_no_trajectory_to_forget_the_model_is_left_as_it_is(layer):
    """It may hold the best φ that was loaded after training, not the last."""
    slow = SlowWeights(dict(layer.named_parameters()))
    move(layer)
    best = weights(layer)
    slow.forget_trajectories()
    assert_equal(weights(layer), best)
