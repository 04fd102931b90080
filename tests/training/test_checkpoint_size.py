"""What the plan says of checkpoints, against those that are written."""

import re
from collections import namedtuple

import pytest
import torch
from transformers import BertConfig, BertForTokenClassification

from hf_seqreptile.training import checkpoint_size
from hf_seqreptile.training.checkpoint_size import (
    checkpoint_bytes,
    checkpoint_notes,
    in_units,
    number_of_checkpoints,
    optimizer_states,
)
from tests import tiny

TENSORS = ("*.safetensors", "optimizer.pt")
EVALUATION = {"init": {"eval_dataset": {"de": tiny.task(4, 5)}}}


def larger_model(dtype=torch.float32):
    """Some 200,000 parameters, beside which what is no tensor is small."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tiny.WORDS), hidden_size=64, num_hidden_layers=4, num_attention_heads=2, intermediate_size=128,
        max_position_embeddings=64, num_labels=len(tiny.LABELS),
    )  # fmt: skip
    return BertForTokenClassification(config).to(dtype)


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "seq_reptile", "inner_steps": 4},
        {"method": "reptile", "inner_steps": 1},
        {"method": "mtl"},
        {"method": "recadam"},
        {"method": "mtl", "save_only_model": True},
        {"method": "mtl", "optim": "sgd"},
        {"method": "mtl", "optim": "sgd", "optim_args": "momentum=0.9"},
        {"method": "mtl", "optim": "adafactor"},
        {"method": "mtl", "optim": "rmsprop"},
    ],
    ids=str,
)
def test_a_checkpoint_takes_what_the_plan_says(tmp_path, changes):
    saving = {"save_strategy": "steps", "save_steps": 3, "max_steps": 6, "eval_strategy": "no"}
    trainer = tiny.trainer(tmp_path, of_model=larger_model(), **saving | changes)
    said = checkpoint_bytes(trainer)
    trainer.train()
    taken = max(
        sum(path.stat().st_size for kind in TENSORS for path in folder.glob(kind))
        for folder in tmp_path.glob("checkpoint-*")
    )
    # Adafactor keeps less of larger matrices, which are what counts.
    assert said == pytest.approx(taken, rel=0.15 if "adafactor" in changes.values() else 0.05)


def test_where_the_model_rounds_the_slow_weights_are_there_once_more(tmp_path):
    trainer = tiny.trainer(tmp_path, of_model=larger_model(torch.bfloat16), inner_steps=4)
    numbers = sum(p.numel() for p in trainer.model.parameters())
    # Model, two states, θ: two bytes each; φ: four.
    assert trainer.weights_in_checkpoint == 1 and checkpoint_bytes(trainer) == pytest.approx(12 * numbers, rel=0.01)


def test_frozen_parameters_have_no_state(tmp_path):
    model = larger_model()
    model.base_model.requires_grad_(False)
    frozen, trained = (sum(p.numel() for p in model.parameters() if p.requires_grad is on) for on in (False, True))
    assert checkpoint_bytes(tiny.trainer(tmp_path, of_model=model)) == 4 * (frozen + 4 * trained)


@pytest.mark.parametrize("steps", [7, 30])
@pytest.mark.parametrize(
    "changes",
    [
        {"save_strategy": "no"},
        {"save_strategy": "steps", "save_steps": 4},
        {"save_strategy": "steps", "save_steps": 5},
        {"save_strategy": "steps", "save_steps": 0.3},
        {"save_strategy": "epoch"},
        {"save_strategy": "epoch", "per_device_train_batch_size": 16},
    ],
    ids=str,
)
def test_as_many_are_saved_as_the_plan_says(tmp_path, steps, changes):
    trainer = tiny.trainer(tmp_path, **{"method": "mtl", "tasks_per_step": 1, "max_steps": steps} | changes)
    trainer.train()
    said = number_of_checkpoints(trainer, steps, trainer._sampler.steps_per_epoch)
    assert said == len(list(tmp_path.glob("checkpoint-*")))


def test_of_the_best_there_are_no_more_than_evaluations(tmp_path):
    changes = {"save_strategy": "best", "metric_for_best_model": "loss", "eval_strategy": "steps", "eval_steps": 3}
    trainer = tiny.trainer(tmp_path, **EVALUATION, method="mtl", **changes)
    assert number_of_checkpoints(trainer, 10, 5) == 4


SAVING = {"method": "mtl", "save_strategy": "steps", "save_steps": 1}


@pytest.mark.parametrize("limit", [None, 1, 2, 5])
@pytest.mark.parametrize("best", [{}, {"metric_for_best_model": "loss", "load_best_model_at_end": True}])
def test_as_many_are_kept_as_the_plan_says(tmp_path, limit, best):
    evaluation = {"eval_strategy": "steps", "eval_steps": 1} if best else {}
    changes = SAVING | best | evaluation | {"max_steps": 6, "save_total_limit": limit, "tasks_per_step": 1}
    trainer = tiny.trainer(tmp_path, **EVALUATION, **changes)
    (note,) = checkpoint_notes(trainer, 6, 5)
    trainer.train()
    kept = len(list(tmp_path.glob("checkpoint-*")))
    said = int(re.search(r"(\d) of (?:them|6 kept)", note)[1])
    # The best may be the newest.
    assert kept == said or (best and limit == 1 and kept == 1 and said == 2)
    assert ("--save_total_limit 2" in note) == (limit in (None, 5))


def test_the_plan_is_printed_with_it(tmp_path, capsys):
    tiny.trainer(tmp_path, **SAVING | {"max_steps": 3}).train()
    assert re.search(
        r"^  checkpoints: about 1 MB each, 3 of them, .*--save_total_limit 2 keeps", capsys.readouterr().out, re.M
    )


def test_a_disk_without_room_is_warned_of(tmp_path, monkeypatch):
    usage = namedtuple("usage", "free")
    trainer = tiny.trainer(tmp_path / "not/there", of_model=larger_model(), **SAVING)
    size = checkpoint_bytes(trainer)
    for limit, room in ((None, 20), (2, 3), (1, 2)):
        trainer.args.save_total_limit = limit
        for free, lines in ((room * size, 1), (room * size - 1, 2)):
            monkeypatch.setattr(checkpoint_size.shutil, "disk_usage", lambda folder, free=free: usage(free))
            notes = checkpoint_notes(trainer, 20, 5)
            assert (len(notes) == lines and f"the disk of {tmp_path}/not/there has" in notes[-1]) or lines == 1


def test_an_optimizer_that_cannot_be_tried_counts_as_adam(tmp_path):
    class Own(torch.optim.SGD):
        def __init__(self, parameters, *, secret):
            super().__init__(parameters, lr=secret)

    model = larger_model()
    trainer = tiny.trainer(
        tmp_path, of_model=model, method="mtl", init={"optimizers": (Own(model.parameters(), secret=0.1), None)}
    )
    assert optimizer_states(trainer) == 2


@pytest.mark.parametrize(
    ("size", "text"), [(5, "1 MB"), (479_400_000, "479 MB"), (999e6, "999 MB"), (4.448e9, "4.4 GB")]
)
def test_sizes_are_in_units_that_people_read(size, text):
    assert in_units(size) == text
