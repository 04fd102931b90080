"""TorchJD's weightings, by name and as objects, and any other function of the Gram matrix."""

import sys

import pytest
import torch

from hf_seqreptile import InputError, MultiTaskTrainingArguments
from hf_seqreptile.methods import method_class
from hf_seqreptile.methods.torchjd import TorchJDTrainer, torchjd_weighting
from tests import conflicting, tiny

aggregation = pytest.importorskip("torchjd.aggregation", reason="optional: pip install 'hf-seqreptile[torchjd]'")


@pytest.mark.parametrize("name", ["UPGrad", "MGDA", "AlignedMTL"])
def test_steps_are_those_of_torchjds_aggregators(tmp_path, name):
    """By name and as an object; the aggregators see the whole gradients, as a T×n matrix."""
    aggregator = getattr(aggregation, name)()
    weighting = getattr(aggregation, f"{name}Weighting")()
    by_name = conflicting.trainer(tmp_path, f"torchjd:{name}", tasks_per_step=5, learning_rate=0.2)
    as_object = conflicting.trainer(tmp_path, weighting=weighting, tasks_per_step=5, learning_rate=0.2)
    for trainer in (by_name, as_object):
        trainer.train()
    tiny.assert_equal(tiny.weights(by_name.model), tiny.weights(as_object.model))

    def combine(step, gradients):
        return conflicting.on_vectors(list(gradients.values()), lambda vectors: aggregator(torch.stack(vectors)))

    expected = conflicting.descend(by_name, conflicting.model(), combine)
    assert tiny.largest_difference(tiny.weights(by_name.model), expected) < 1e-3
    assert tiny.largest_difference(tiny.weights(conflicting.model()), expected) > 0.05
    assert by_name.title == f"{name} (by TorchJD)"


def test_torchjds_mean_is_mtl(tmp_path):
    ours, mtl = (conflicting.trainer(tmp_path, method) for method in ("torchjd:Mean", "mtl"))
    for trainer in (ours, mtl):
        trainer.train()
    assert tiny.largest_difference(tiny.weights(ours.model), tiny.weights(mtl.model)) < 1e-5


def test_a_weighting_that_draws_random_numbers_is_resumed_bit_for_bit(tmp_path):
    changes = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4}
    whole = tiny.train(conflicting.trainer(tmp_path, "torchjd:Random", **changes))
    resumed = conflicting.trainer(tmp_path, "torchjd:Random", **changes)
    tiny.train(resumed, resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    tiny.assert_equal(tiny.weights(resumed.model), tiny.weights(whole.model))


def test_every_weighting_that_is_offered_gives_a_weight_to_each_task():
    with pytest.raises(InputError) as refusal:
        torchjd_weighting("Nope")
    offered = str(refusal.value).split("weightings: ")[1].rstrip(".").split(", ")
    assert {"UPGrad", "MGDA", "AlignedMTL", "PCGrad"} <= set(offered)
    assert "GradVac" not in offered, "its state is of positions, and in no checkpoint of ours"
    usable = []
    for name in offered:
        try:
            usable.append((name, torchjd_weighting(name)))
        except InputError as refusal:
            assert "cannot be used as it is" in str(refusal)
    gradients = torch.randn(4, 9)
    for name, weighting in usable:
        assert weighting(gradients @ gradients.T).shape == (4,), name
    assert len(usable) >= 8


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("torchjd", "--method torchjd is unknown. Choose one of .*torchjd:NAME"),
        ("pcgrad:x", "--method pcgrad:x is unknown"),
        ("torchjd:Nope", "torchjd:Nope is unknown; name one of TorchJD's stateless weightings: .*UPGrad"),
        ("torchjd:", "torchjd: is unknown; name one of"),
        ("torchjd:GradVac", "torchjd:GradVac is unknown; name one of"),
        ("torchjd:Krum", r"torchjd:Krum cannot be used as it is: .*TaskGradientTrainer\(weighting=KrumWeighting"),
        (
            "torchjd:CAGrad",
            r"torchjd:CAGrad cannot be used as it is: .*TaskGradientTrainer\(weighting=CAGradWeighting",
        ),
    ],
)
def test_names_that_cannot_be_used_are_refused(tmp_path, method, message):
    with pytest.raises(InputError, match=message):
        tiny.trainer(tmp_path, method=method, trainer_class=method_class(method))


def test_arguments_that_name_no_weighting_are_refused():
    args = MultiTaskTrainingArguments(output_dir="out", use_cpu=True)
    with pytest.raises(InputError, match="name one of TorchJD's stateless weightings: "):
        TorchJDTrainer(model=tiny.model(), args=args, train_dataset=tiny.tasks())


def test_another_weighting_is_another_run(tmp_path):
    changes = {"save_strategy": "steps", "save_steps": 1, "max_steps": 1}
    conflicting.trainer(tmp_path, "torchjd:MGDA", **changes).train()
    with pytest.raises(InputError, match="method: 'torchjd:MGDA' in the checkpoint, 'torchjd:UPGrad' now"):
        conflicting.trainer(tmp_path, "torchjd:UPGrad", **changes).train(resume_from_checkpoint=True)


def test_without_torchjd_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchjd", None)
    with pytest.raises(InputError, match=r"torchjd:MGDA needs TorchJD: pip install 'hf-seqreptile\[torchjd\]'"):
        torchjd_weighting("MGDA")


def test_trying_a_weighting_out_draws_no_random_number():
    before = torch.get_rng_state()
    torchjd_weighting("Random")
    assert torch.equal(torch.get_rng_state(), before)
