"""GradVac: against Algorithm 1 on whole vectors, against TorchJD, and as steps of training."""

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_seqreptile import InputError
from hf_seqreptile.methods.gradvac import CANCELLED, MOST_SIMILAR, SimilarityTargets
from hf_seqreptile.methods.task_gradients import layers
from tests import conflicting, tiny


def algorithm_1(gradients, orders, targets, beta):
    """Wang et al. 2021, for one group of parameters; the mean in place of the sum.

    Args:
        gradients: by task.
        orders: for each task the positions of the others.
        targets: φ̂ by pair of tasks; moved in place.
        beta: β.
    """
    tasks, altered = list(gradients), []
    for i, order in zip(tasks, orders, strict=True):
        gradient = gradients[i]
        for j in (tasks[position] for position in order):
            if gradient.norm() <= CANCELLED * gradients[i].norm() or gradients[j].norm() == 0:
                continue
            cosine = min(1.0, max(-1.0, (gradient @ gradients[j] / gradient.norm() / gradients[j].norm()).item()))
            target = targets.get((i, j), 0.0)
            if cosine < target:
                numerator = target * math.sqrt(1 - cosine**2) - cosine * math.sqrt(1 - target**2)
                scale = gradient.norm() * numerator / (gradients[j].norm() * math.sqrt(1 - target**2))
                gradient = gradient + scale * gradients[j]
            moved = (1 - beta) * target + beta * cosine
            targets[i, j] = min(MOST_SIMILAR, max(-MOST_SIMILAR, moved))
        altered.append(gradient)
    return sum(altered) / len(altered)


def as_pairs(targets):
    """φ̂ of `SimilarityTargets` as the reference keeps it."""
    return {(i, j): target for i, of_task in targets.items() for j, target in of_task.items()}


@st.composite
def steps(draw):
    """Up to four steps, each on some of eight tasks, in any order; their gradients; orders of visits."""
    size = draw(st.integers(1, 5))
    row = st.lists(st.integers(-3, 3), min_size=size, max_size=size)
    made = []
    for _ in range(draw(st.integers(1, 4))):
        tasks = draw(st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=8, unique=True))
        rows = draw(st.lists(row, min_size=len(tasks), max_size=len(tasks)))
        gradients = dict(zip(tasks, torch.tensor(rows, dtype=torch.float64), strict=True))
        others = [[j for j in range(len(tasks)) if j != i] for i in range(len(tasks))]
        made.append((gradients, [draw(st.permutations(order)) for order in others]))
    return made


@settings(max_examples=60)
@given(steps(), st.sampled_from([0.0, 0.01, 0.5, 1.0]))
def test_the_weights_are_algorithm_1s(steps, beta):
    """Targets belong to a pair of tasks, whichever tasks a step draws and in which order."""
    ours, targets = SimilarityTargets(beta), {}
    for gradients, orders in steps:
        stacked = torch.stack(list(gradients.values()))
        weights = ours.weights(stacked @ stacked.T, list(gradients), orders)
        expected = algorithm_1(gradients, orders, targets, beta)
        torch.testing.assert_close(weights @ stacked, expected, atol=1e-4, rtol=1e-5)
        assert as_pairs(ours.targets) == pytest.approx(targets, abs=1e-6)


@settings(max_examples=20)
@given(st.integers(2, 8), st.integers(0, 1000), st.sampled_from([0.01, 0.5]))
def test_the_weights_are_torchjds(tasks, seed, beta):
    """Its order is that of `torch.randperm`; it sums where ours averages, and knows tasks by their position."""
    weightings = pytest.importorskip("torchjd.aggregation", reason="optional: TorchJD's weightings")
    ours, theirs = SimilarityTargets(beta), weightings.GradVacWeighting(beta=beta, eps=0.0)
    names = [f"task {i}" for i in range(tasks)]
    for step in range(5):
        torch.manual_seed(seed + step)
        gradients = torch.randn(tasks, 5, dtype=torch.float64) + torch.randn(5, dtype=torch.float64)
        gram = gradients @ gradients.T
        torch.manual_seed(seed + step)
        orders = [[j + (j >= i) for j in torch.randperm(tasks - 1).tolist()] for i in range(tasks)]
        torch.manual_seed(seed + step)
        torch.testing.assert_close(ours.weights(gram, names, orders) * tasks, theirs(gram))


@given(st.floats(-0.99, 0.99), st.integers(0, 1000))
def test_an_altered_pair_has_the_target_as_its_cosine(target, seed):
    """The paper's Eq. 3, and what follows from it: what is orthogonal to g_j stays."""
    torch.manual_seed(seed)
    gradients = torch.randn(2, 6, dtype=torch.float64)
    ours = SimilarityTargets(beta=0.0)
    ours.targets = {"a": {"b": target}, "b": {"a": -1.0}}
    altered = 2 * ours.weights(gradients @ gradients.T, ["a", "b"], [[1], [0]]) @ gradients - gradients[1]
    before, after = (torch.cosine_similarity(g, gradients[1], dim=0).item() for g in (gradients[0], altered))
    assert after == pytest.approx(max(before, target))
    direction = gradients[1] / gradients[1].norm()
    torch.testing.assert_close(
        altered - (altered @ direction) * direction, gradients[0] - (gradients[0] @ direction) * direction
    )


@pytest.mark.parametrize("sign", [1, -1])
def test_targets_of_parallel_gradients_stay_below_one(sign):
    """At 1 the next division would be by zero."""
    ours = SimilarityTargets(beta=1.0)
    gradients = torch.tensor([[3.0, 4.0], [3.0 * sign, 4.0 * sign]])
    for _ in range(3):
        ours.weights(gradients @ gradients.T, ["a", "b"], [[1], [0]])
    assert all(0.999 < abs(target) < 1 for target in as_pairs(ours.targets).values())
    gradients = torch.tensor([[3.0, 4.0], [-4.0, 3.0]])
    assert ours.weights(gradients @ gradients.T, ["a", "b"], [[1], [0]]).isfinite().all()


def test_the_rounding_error_of_a_cancelled_gradient_moves_no_target():
    """`a` and `b` are opposite, so what is left of `a` is noise of float32; its cosine with `c` says nothing."""
    torch.manual_seed(0)
    gradients = torch.randn(2, 1000)
    gradients = torch.stack([gradients[0], -gradients[0] * 3, gradients[1]])
    ours = SimilarityTargets(beta=0.5)
    weights = ours.weights(gradients @ gradients.T, list("abc"), [[1, 2], [0, 2], [0, 1]])
    assert ("a", "c") not in as_pairs(ours.targets)
    assert weights.isfinite().all()


# Steps of training.


@pytest.mark.parametrize("granularity", ["layer", "model"])
@pytest.mark.parametrize(
    "changes", [{"tasks_per_step": 5}, {"gradient_accumulation_steps": 2, "all_tasks_each_step": True}], ids=str
)
def test_steps_are_algorithm_1(tmp_path, granularity, changes):
    """Layer by layer, each with targets of its own; with five draws of four tasks steps differ in their tasks."""
    changes = {"train": conflicting.tasks(4), "gradvac_beta": 0.3, "learning_rate": 0.2} | changes
    trainer = conflicting.trainer(
        tmp_path, "gradvac", gradvac_granularity=granularity, of_model=conflicting.model(layers=2), **changes
    )
    orders = conflicting.orders_of(trainer)
    names = [name for name, _ in trainer.model.named_parameters()]
    groups = layers(names) if granularity == "layer" else {"model": names}
    targets = {group: {} for group in groups}

    def combine(step, gradients):
        combined = {}
        for group, members in groups.items():
            if any(name in gradient for name in members for gradient in gradients.values()):
                combined |= conflicting.on_vectors(
                    list(gradients.values()),
                    lambda vectors, of=targets[group]: algorithm_1(
                        dict(zip(gradients, vectors, strict=True)), orders[step], of, beta=0.3
                    ),
                    members,
                )
        return combined

    expected = conflicting.descend(trainer, conflicting.model(layers=2), combine)
    assert tiny.largest_difference(tiny.weights(trainer.model), expected) < 1e-4
    found = {group: as_pairs(of) for group, of in trainer.multitask_state()["gradvac_targets"].items()}
    assert len(targets["classifier" if granularity == "layer" else "model"]) == 12
    assert found == {group: pytest.approx(of, abs=1e-4) for group, of in targets.items()}


def test_with_targets_that_stay_zero_it_is_pcgrad(tmp_path):
    """φ̂ = 0: a gradient of negative cosine is made orthogonal."""
    changes = {"tasks_per_step": 5, "train": conflicting.tasks(4), "learning_rate": 0.2}
    gradvac = conflicting.trainer(tmp_path, "gradvac", gradvac_beta=0.0, gradvac_granularity="model", **changes)
    pcgrad = conflicting.trainer(tmp_path, "pcgrad", **changes)
    for trainer in (gradvac, pcgrad):
        trainer.train()
    assert tiny.largest_difference(tiny.weights(gradvac.model), tiny.weights(pcgrad.model)) < 1e-5


def test_a_checkpoint_holds_the_targets_of_each_layer_and_pair(tmp_path):
    """As JSON, keyed by names; a new training begins with none."""
    trainer = conflicting.trainer(
        tmp_path, "gradvac", save_strategy="steps", save_steps=1, max_steps=2, all_tasks_each_step=True
    )
    trainer.train()
    state = json.loads((tmp_path / "checkpoint-2" / "multitask_state.json").read_text())
    assert state["gradvac_targets"] == trainer.multitask_state()["gradvac_targets"]
    targets = state["gradvac_targets"]["bert.encoder.layer.0"]
    assert {i: set(of) for i, of in targets.items()} == {i: {"de", "en", "sw"} - {i} for i in ("de", "en", "sw")}
    assert all(abs(target) < 0.02 for of in targets.values() for target in of.values()), "two steps of β = 0.01"
    trainer.restore_multitask_state(None)
    assert trainer.multitask_state()["gradvac_targets"] == {}


@pytest.mark.parametrize("changed", [{"gradvac_beta": 0.5}, {"gradvac_granularity": "model"}], ids=str)
def test_another_setting_is_another_run(tmp_path, changed):
    changes = {"save_strategy": "steps", "save_steps": 1, "max_steps": 1}
    conflicting.trainer(tmp_path, "gradvac", **changes).train()
    with pytest.raises(InputError, match=next(iter(changed))):
        conflicting.trainer(tmp_path, "gradvac", **changes | changed).train(resume_from_checkpoint=True)
