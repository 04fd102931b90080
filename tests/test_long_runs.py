"""Runs of many steps: memory, open files and checkpoints stay as they are after the first."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tests import tiny
from tests.scripts import ROOT

MEASURE = """
import json, sys
from pathlib import Path
from tests.test_long_runs import measure
print(json.dumps(measure(Path(sys.argv[1]), json.loads(sys.argv[2]))))
"""


class Watch(TrainerCallback):
    """Notes what the process holds, ten times in a run.

    Attributes:
        seen: for each of these steps memory in bytes, open files and checkpoints on disk. Memory is what the process
            allocated; pages of programs, which the system takes back and brings in as it likes, are left out.
    """

    def __init__(self) -> None:
        self.seen: list[dict[str, int]] = []

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.global_step % (state.max_steps // 10) == 0:
            process = psutil.Process()
            memory = process.memory_info()
            checkpoints = len(list(Path(str(args.output_dir)).glob("checkpoint-*")))
            noted = {
                "memory": memory.rss - memory.shared,
                "files": process.num_fds(),
                "checkpoints": checkpoints,
            }
            self.seen.append({"step": state.global_step, **noted})


def measure(folder: Path, changes: dict[str, Any]) -> list[dict[str, int]]:
    """What `Watch` saw of a run of the tiny model that logs, evaluates and saves now and then."""
    watch, steps = Watch(), changes["max_steps"]
    trainer = tiny.trainer(
        folder, init={"callbacks": [watch], "eval_dataset": tiny.tasks()}, logging_steps=steps // 20,
        save_strategy="steps", save_steps=steps // 40, save_total_limit=2, eval_strategy="steps",
        eval_steps=steps // 10, **changes,
    )  # fmt: skip
    trainer.train()
    return watch.seen


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize(
    "changes",
    [
        {"method": "seq_reptile", "max_steps": 20_000, "inner_steps": 100},
        {"method": "gradvac", "max_steps": 4_000, "tasks_per_step": 2},
    ],
    ids=lambda changes: changes["method"],
)
def test_nothing_grows(tmp_path: Path, changes: dict[str, Any]) -> None:
    """In a process of its own, from a tenth of the run on. The log grows, by the entries that are asked for."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path / "out"), json.dumps(changes)], cwd=ROOT, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    seen = json.loads(done.stdout.splitlines()[-1])
    for each in seen:
        print(f"step {each['step']:,}: {each['memory'] / 2**20:.1f} MiB, {each['files']} open files")
    assert len(seen) == 10
    assert seen[-1]["memory"] <= 1.01 * seen[0]["memory"]
    assert {each["files"] for each in seen[1:]} == {seen[0]["files"]}
    assert {each["checkpoints"] for each in seen} == {2}
