"""What do a checkpoint and its resume cost at 100 M parameters, over the stock trainer's, and how much is fsync?

    python benchmarks/checkpoint_time.py

A BERT of random weights with about 100 M parameters. Each trainer saves a checkpoint after its first step, which for
Sequential Reptile lies in the middle of a trajectory, so that it holds θ beside φ, and continues from it anew.
The same once more with an `fsync` that does nothing, as the stock trainer calls none.
In turns, in one process; reported are medians over the turns, by the clock: a disk's time is not the processor's.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from datasets import Dataset
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainerCallback, TrainingArguments

from hf_seqreptile import MultiTaskTrainingArguments, SeqReptileTrainer

RESULT = Path(__file__).parent / "results" / "checkpoint_time.json"
STEPS = 3
STOCK, OURS, UNSYNCED = "stock", "seq_reptile", "seq_reptile without fsync"


class FirstStep(TrainerCallback):
    """When the first step begins."""

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self.begins = time.perf_counter()


class Save(TrainerCallback):
    """Saves a checkpoint after the first step and takes its time."""

    trainer: Trainer

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        if self.trainer.state.global_step == 1:
            settle()
            start = time.perf_counter()
            self.trainer._save_checkpoint(self.trainer.model, trial=None)
            self.seconds = time.perf_counter() - start


def settle() -> None:
    """Write out what was written before, and touch as much memory as is used, or the first to use it would pay."""
    os.sync()
    torch.ones(2**30)


def model() -> BertForSequenceClassification:
    """BERT as it is published, with 19,000 words: 100 M parameters."""
    torch.manual_seed(0)
    return BertForSequenceClassification(BertConfig(vocab_size=19_000))


def task(seed: int) -> Dataset:
    """Sentences of eight random words."""
    rows = np.random.default_rng(seed).integers(0, 19_000, (8, 8)).tolist()
    return Dataset.from_dict({"input_ids": rows, "labels": [seed] * len(rows)})


def trainer(name: str, folder: Path, steps: int) -> Trainer:
    """The stock trainer or Sequential Reptile's, on `steps` steps of two examples."""
    common = {
        "output_dir": str(folder), "max_steps": steps, "per_device_train_batch_size": 2, "save_strategy": "no",
        "disable_tqdm": True, "use_cpu": True, "lr_scheduler_type": "constant",
    }  # fmt: skip
    if name == STOCK:
        return Trainer(model(), TrainingArguments(**common), train_dataset=task(0))
    args = MultiTaskTrainingArguments(inner_steps=2, **common)
    return SeqReptileTrainer(model(), args, train_dataset={"a": task(0), "b": task(1)})


def measure(name: str) -> dict[str, float]:
    """Seconds to save a checkpoint and to the first step after it, and its bytes."""
    without = mock.patch("os.fsync", return_value=None) if name == UNSYNCED else nullcontext()
    with without, tempfile.TemporaryDirectory() as folder:
        first, save = trainer(name, Path(folder), STEPS), Save()
        save.trainer = first
        first.add_callback(save)
        first.train()
        saved = {"save": save.seconds}
        checkpoint = Path(folder) / "checkpoint-1"
        saved["bytes"] = sum(path.stat().st_size for path in checkpoint.rglob("*") if path.is_file())
        second, begins = trainer(name, Path(folder), STEPS), FirstStep()
        second.add_callback(begins)
        settle()
        start = time.perf_counter()
        second.train(resume_from_checkpoint=str(checkpoint))
        saved["resume"] = begins.begins - start
        return saved


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3)
    turns = parser.parse_args().turns
    measured: dict[str, list[dict[str, float]]] = {STOCK: [], OURS: [], UNSYNCED: []}
    for _ in range(turns):
        for name, values in measured.items():
            values.append(measure(name))
    medians = {
        name: {what: statistics.median(value[what] for value in values) for what in values[0]}
        for name, values in measured.items()
    }
    ratios = {
        f"{name} to {other}": {what: medians[name][what] / medians[other][what] for what in medians[other]}
        for name, other in ((OURS, STOCK), (UNSYNCED, STOCK), (OURS, UNSYNCED))
    }
    result = {"parameters": sum(p.numel() for p in model().parameters()), "medians": medians, "ratios": ratios}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
