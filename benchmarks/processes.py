"""What do two processes bring: the efficiency of DDP, and Reptile's speed-up?

    python benchmarks/processes.py

Trains a BERT of random weights on random sentences of four tasks, with gloo and one thread a process, on one process
and on several in turns. A run's seconds are those from its second step to its end. Reported are medians over the
turns, by the clock and by the processor (the main process's): the clock is right on an idle machine with as many cores
as processes; the processor's time leaves out waiting, for the other processes as well as for other programs.

- DDP: optimizer steps × processes a second, each process at the same batch, over processes × those of one process.
- Reptile: seconds of the same outer updates on one process, over those on several.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import BertConfig, BertForSequenceClassification, TrainerCallback

from hf_seqreptile import METHODS, MultiTaskTrainingArguments

RESULT = Path(__file__).parent / "results" / "processes.json"
TASKS, LENGTH, BATCH, INNER_STEPS = 4, 64, 16, 5


class Seconds(TrainerCallback):
    """Seconds by the clock and by the processor, from the second step to the end."""

    def __init__(self) -> None:
        self.steps = 0

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.steps += 1
        if self.steps == 1:
            self.start = np.array([time.perf_counter(), time.process_time()])
        self.end = np.array([time.perf_counter(), time.process_time()])

    @property
    def each_step(self) -> list[float]:
        """Seconds of a step: by the clock, by the processor."""
        return ((self.end - self.start) / (self.steps - 1)).tolist()


def train(method: str, steps: int) -> list[float]:
    """One of the processes: seconds of each step of a run."""
    random = np.random.default_rng(0)
    torch.manual_seed(0)
    size = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024}
    model = BertForSequenceClassification(BertConfig(vocab_size=2000, max_position_embeddings=LENGTH, **size))
    tasks = {
        f"task {number}": Dataset.from_dict(
            {"input_ids": random.integers(0, 2000, (200, LENGTH)).tolist(), "labels": random.integers(0, 2, 200)}
        )
        for number in range(TASKS)
    }
    times = Seconds()
    own = {"inner_steps": INNER_STEPS} if method != "mtl" else {"tasks_per_step": 1}
    with tempfile.TemporaryDirectory() as folder:
        args = MultiTaskTrainingArguments(
            output_dir=folder, method=method, max_steps=steps, per_device_train_batch_size=BATCH, use_cpu=True,
            save_strategy="no", report_to="none", disable_tqdm=True, logging_strategy="no",
            train_sampling_strategy="random", ddp_find_unused_parameters=False, **own,
        )  # fmt: skip
        METHODS[method](model, args, train_dataset=tasks, callbacks=[times]).train()
    return times.each_step


def measure(method: str, processes: int, steps: int) -> list[float]:
    """Start the processes; what the main one measured."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    process = subprocess.run(
        [*launcher, __file__, "--method", method, "--steps", str(steps)],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(process.stdout.splitlines()[-1])


def main() -> None:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2, help="how many, beside one")
    parser.add_argument("--steps", type=int, default=41, help="optimizer steps of one run")
    parser.add_argument("--turns", type=int, default=3, help="runs of each kind")
    parser.add_argument("--method", choices=("mtl", "reptile"), help="be one of the processes that are measured")
    args = parser.parse_args()
    if args.method:
        seconds = train(args.method, args.steps)
        if os.environ["RANK"] == "0":
            print(json.dumps(seconds))
        return

    kinds = [(method, processes) for method in ("mtl", "reptile") for processes in (1, args.processes)]
    runs: dict[tuple[str, int], list[list[float]]] = {kind: [] for kind in kinds}
    for turn in range(args.turns):
        # Each turn begins with another one, so that a drifting machine favours none.
        for kind in kinds[turn % len(kinds) :] + kinds[: turn % len(kinds)]:
            runs[kind].append(measure(*kind, args.steps))
    clock, processor = ({k: statistics.median(run[i] for run in runs[k]) for k in kinds} for i in (0, 1))
    rounds = -(-TASKS // args.processes)
    result = {
        "processes": args.processes,
        "seconds_per_step": {f"{method}, {n} processes": runs[method, n] for method, n in kinds},
        "load": os.getloadavg()[0],
        **{
            name: {
                "ddp_efficiency": round(of["mtl", 1] / of["mtl", args.processes], 3),
                "reptile_speed_up": round(TASKS * of["reptile", 1] / (rounds * of["reptile", args.processes]), 3),
            }
            for name, of in (("by_clock", clock), ("by_processor", processor))
        },
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
