"""Checkpoints of models whose weights are called otherwise in files than in memory."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageClassification, default_data_collator

from hf_seqreptile import InputError, SeqReptileTrainer
from tests import pictures, tiny

RENAMED = ("vit", "swin", "dinov2")


def task(seed: int) -> Dataset:
    """Pictures of two classes."""
    pixels = torch.randn(12, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    return Dataset.from_dict({"pixel_values": pixels.tolist(), "labels": [0, 1] * 6})


def trainer(kind: str, folder: Path, **changes: Any) -> SeqReptileTrainer:
    torch.manual_seed(0)
    model = AutoModelForImageClassification.from_config(pictures.CONFIGS[kind])
    settings = {"max_steps": 4, "inner_steps": 2, "save_strategy": "steps", "save_steps": 1, "learning_rate": 1e-2}
    args = tiny.arguments(folder, **settings | changes)
    tasks = {"a": task(1), "b": task(2)}
    return SeqReptileTrainer(model, args, default_data_collator, tasks, eval_dataset=tasks)


@pytest.mark.parametrize("kind", RENAMED)
def test_a_run_is_continued_bit_for_bit(kind: str, tmp_path: Path) -> None:
    """Law 4, mid-trajectory."""
    whole = tiny.train(trainer(kind, tmp_path))
    saved = load_file(tmp_path / "checkpoint-3/model.safetensors")
    assert not saved.keys() <= tiny.weights(whole.model).keys()
    continued = tiny.train(trainer(kind, tmp_path), resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    tiny.assert_equal(tiny.weights(whole.model), tiny.weights(continued.model))


def test_the_best_model_is_loaded(tmp_path: Path) -> None:
    changes = {"eval_strategy": "steps", "eval_steps": 1, "load_best_model_at_end": True, "greater_is_better": True}
    made = tiny.train(trainer("vit", tmp_path, metric_for_best_model="loss", learning_rate=1e-4, **changes))
    best = AutoModelForImageClassification.from_pretrained(made.state.best_model_checkpoint)
    tiny.assert_equal(tiny.weights(made.model), tiny.weights(best))


def test_a_checkpoint_that_lacks_weights_is_refused(tmp_path: Path) -> None:
    tiny.train(trainer("vit", tmp_path))
    shutil.copytree(tmp_path / "checkpoint-2", tmp_path / "lacking")
    file = tmp_path / "lacking/model.safetensors"
    weights = load_file(file)
    del weights["classifier.weight"]
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(InputError, match=r"it has no weights for classifier\.weight"):
        trainer("vit", tmp_path).train(resume_from_checkpoint=str(tmp_path / "lacking"))
