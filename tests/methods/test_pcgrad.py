"""PCGrad: against Algorithm 1 on whole vectors, against TorchJD and pytorch_optimizer, and as steps of training."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytorch_optimizer import PCGrad

from hf_seqreptile import InputError
from hf_seqreptile.methods import method_class
from hf_seqreptile.methods.pcgrad import pcgrad_weights
from tests import conflicting, tiny


def algorithm_1(gradients, orders):
    """Yu et al. 2020; the mean in place of the sum."""
    projected = []
    for gradient, order in zip(gradients, orders, strict=True):
        for j in order:
            if gradient @ gradients[j] < 0:
                gradient = gradient - (gradient @ gradients[j]) / (gradients[j] @ gradients[j]) * gradients[j]
        projected.append(gradient)
    return sum(projected) / len(projected)


@st.composite
def gradients_and_orders(draw):
    """Small whole numbers: many gradients are equal, opposite, orthogonal, multiples of each other, or zero."""
    tasks, size = draw(st.integers(2, 8)), draw(st.integers(1, 6))
    row = st.lists(st.integers(-3, 3), min_size=size, max_size=size)
    gradients = torch.tensor(draw(st.lists(row, min_size=tasks, max_size=tasks)), dtype=torch.float64)
    gradients *= torch.tensor(draw(st.lists(st.sampled_from([0.01, 1.0, 100.0]), min_size=tasks, max_size=tasks)))[
        :, None
    ]
    return gradients, [draw(st.permutations([j for j in range(tasks) if j != i])) for i in range(tasks)]


@given(gradients_and_orders())
def test_the_weights_are_algorithm_1s(example):
    gradients, orders = example
    weights = pcgrad_weights(gradients @ gradients.T, orders)
    torch.testing.assert_close(weights @ gradients, algorithm_1(gradients, orders), atol=1e-9, rtol=1e-7)


@given(gradients_and_orders())
def test_the_mean_never_conflicts_where_two_tasks_do(example):
    """The paper's point: after the projection neither of two gradients undoes the other."""
    gradients, orders = example[0][:2], [[1], [0]]
    combined = pcgrad_weights(gradients @ gradients.T, orders) @ gradients
    assert (gradients @ combined >= -1e-9 * gradients.square().sum()).all()


@given(st.integers(2, 8), st.integers(0, 1000))
def test_the_weights_are_torchjds(tasks, seed):
    """Its order is that of `torch.randperm`; it sums where ours averages."""
    weightings = pytest.importorskip("torchjd.aggregation", reason="optional: TorchJD's weightings")
    torch.manual_seed(seed)
    gradients = torch.randn(tasks, 5, dtype=torch.float64)
    gram = gradients @ gradients.T
    torch.manual_seed(seed)
    orders = [[j for j in torch.randperm(tasks).tolist() if j != i] for i in range(tasks)]
    torch.manual_seed(seed)
    torch.testing.assert_close(pcgrad_weights(gram, orders) * tasks, weightings.PCGradWeighting()(gram))


def test_without_a_conflict_the_weights_are_mtls():
    gradients = torch.rand(5, 3)
    assert (
        pcgrad_weights(gradients @ gradients.T, [[j for j in range(5) if j != i] for i in range(5)]).tolist()
        == [pytest.approx(0.2)] * 5
    )


def test_a_gradient_whose_square_vanishes_is_not_divided_by():
    gram = torch.tensor([[1.0, -1e-30], [-1e-30, 0.0]])
    assert pcgrad_weights(gram, [[1], [0]]).isfinite().all()


# Steps of training.


@pytest.mark.parametrize(
    "changes",
    [
        {"tasks_per_step": 5},
        {"train": conflicting.tasks(4), "tasks_per_step": 8, "gradient_accumulation_steps": 2},
        {"all_tasks_each_step": True},
    ],
    ids=["some drawn twice", "four tasks, accumulated", "each once"],
)
def test_steps_are_algorithm_1(tmp_path, changes):
    trainer = conflicting.trainer(tmp_path, **changes)
    orders = conflicting.orders_of(trainer)

    def combine(step, gradients):
        return conflicting.on_vectors(list(gradients.values()), lambda vectors: algorithm_1(vectors, orders[step]))

    expected = conflicting.descend(trainer, conflicting.model(), combine)
    assert tiny.largest_difference(tiny.weights(trainer.model), expected) < 1e-5
    mtl = conflicting.trainer(tmp_path, "mtl", **changes)
    mtl.train()
    assert tiny.largest_difference(tiny.weights(mtl.model), expected) > 0.01, "these tasks' gradients should conflict"


def test_two_tasks_end_where_pytorch_optimizers_pcgrad_ends(tmp_path):
    """With two tasks the order does not matter. It shuffles what it projects on in place, so more are no oracle."""
    train = {"de": conflicting.task(1, 24), "en": conflicting.task(2, 24)}
    start = tiny.model(dropout=0.0)
    trainer = conflicting.trainer(tmp_path, train=train, of_model=start, all_tasks_each_step=True, learning_rate=0.2)
    model = tiny.model(dropout=0.0)
    optimizer = PCGrad(torch.optim.SGD(model.parameters(), lr=0.2), reduction="mean")
    for (_, (first,)), (_, (second,)) in conflicting.draws_of(trainer):
        optimizer.zero_grad()
        optimizer.pc_backward([model(**first).loss, model(**second).loss])
        optimizer.step()
    trainer.train()
    assert tiny.largest_difference(tiny.weights(trainer.model), tiny.weights(model)) < 1e-5
    assert tiny.largest_difference(tiny.weights(tiny.model(dropout=0.0)), tiny.weights(model)) > 0.05


def test_without_a_conflict_training_is_mtl(tmp_path):
    """The small tasks of all tests never conflict."""
    changes = {"dropout": 0.0, "optim": "sgd", "max_grad_norm": 1.0, "max_steps": 4, "tasks_per_step": 5}
    ours, mtl = (tiny.trainer(tmp_path, method=method, **changes) for method in ("pcgrad", "mtl"))
    weights, of_step = [], ours._weights
    ours._weights = lambda *args: weights.append(of_step(*args)) or weights[-1]
    for trainer in (ours, mtl):
        trainer.train()
    assert all((w == w[0, 0]).all() for w in weights), "these tasks' gradients should not conflict"
    assert tiny.largest_difference(tiny.weights(ours.model), tiny.weights(mtl.model)) < 1e-6


def test_a_single_task_is_mtl(tmp_path):
    changes = {"train": {"de": tiny.task(32, 1)}, "dropout": 0.0, "optim": "sgd", "tasks_per_step": 2, "max_steps": 3}
    ours, mtl = (tiny.trainer(tmp_path, method=method, **changes) for method in ("pcgrad", "mtl"))
    for trainer in (ours, mtl):
        trainer.train()
    assert tiny.largest_difference(tiny.weights(ours.model), tiny.weights(mtl.model)) < 1e-6


def test_pcgrad_takes_no_name_of_a_weighting():
    with pytest.raises(InputError, match="--method pcgrad:x is unknown"):
        method_class("pcgrad:x")
