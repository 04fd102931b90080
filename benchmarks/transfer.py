"""What do the methods bring on XNLI, English in four clusters, and on TyDiQA, at equal gradient computations?

    python benchmarks/transfer.py run --data path/to/shared/data
    python benchmarks/transfer.py table

`run` trains each method in a process of its own with `run_xnli.py` or `run_qa.py`, and leaves one JSON in
`results/transfer`; runs whose JSON is there are not repeated. Nothing was tuned on test scores: α on TyDiQA
is the one that was best on WikiAnn (`wikiann.py`); on XNLI it is 1e-4, since the losses hardly moved at 3e-4. K and η
are set for few steps.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from hf_seqreptile.scores import score_table

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "transfer"
XNLI_LANGUAGES = ("en", "de", "es", "fr", "sw", "ar")
TYDIQA_TRAINED = ("english", "swahili", "korean")
TYDIQA_LANGUAGES = (*TYDIQA_TRAINED, "arabic", "bengali", "finnish")


@dataclass(frozen=True)
class Problem:
    """A problem with its data and its budget.

    Args:
        script: that trains for it.
        split: whose scores are reported.
        gradients: gradient computations of a run.
        inner_steps: K of Sequential Reptile.
        batch_size: B.
    """

    script: str
    split: str
    gradients: int
    inner_steps: int
    batch_size: int

    def data(self, data: Path) -> list[str]:
        """The arguments that name the data in the folder `data`."""
        if self.script == "run_xnli.py":
            tests = [f"{x}={data / 'xnli' / x / 'test.jsonl'}" for x in XNLI_LANGUAGES]
            return [
                "--train_file", f"en={data / 'xnli' / 'en' / 'train.jsonl'}", "--num_clusters", "4",
                "--test_file", *tests, "--eval_languages", *XNLI_LANGUAGES, "--max_predict_samples", "1000",
                "--do_predict",
            ]  # fmt: skip
        folder = data / "tydiqa_goldp"
        return [
            "--train_file", *(f"{x}={folder / f'{x}_tydiqa_train.json'}" for x in TYDIQA_TRAINED),
            "--validation_file", *(f"{x}={folder / f'{x}_tydiqa_dev.json'}" for x in TYDIQA_LANGUAGES),
            "--eval_languages", *TYDIQA_LANGUAGES, "--do_eval",
        ]  # fmt: skip


@dataclass(frozen=True)
class Spec:
    """A method as it is compared: as after `--method`, M, and α."""

    method: str
    tasks_per_step: int
    learning_rate: float


PROBLEMS = {
    "xnli": Problem("run_xnli.py", "test", 900, 30, 16),
    "tydiqa": Problem("run_qa.py", "validation", 300, 10, 12),
}
SPECS = {
    "xnli": (
        Spec("mtl", 1, 1e-4),
        Spec("seq_reptile", 1, 1e-4),
        Spec("mtl", 4, 1e-4),
        Spec("seq_reptile", 1, 3e-4),
    ),
    "tydiqa": (Spec("mtl", 1, 1e-4), Spec("seq_reptile", 1, 3e-4), Spec("mtl", 4, 3e-4)),
}
ETA = 0.3
SEEDS = (1, 2)


@dataclass(frozen=True)
class Run:
    """One training run."""

    problem: str
    spec: Spec
    seed: int

    @property
    def result(self) -> Path:
        """Where its result is written."""
        spec = self.spec
        name = f"{self.problem}-{spec.method}-M{spec.tasks_per_step}-lr{spec.learning_rate:g}-seed{self.seed}"
        return RESULTS / f"{name}.json"

    def command(self, data: Path, output: Path) -> list[str]:
        """The script and its arguments."""
        problem, spec = PROBLEMS[self.problem], self.spec
        own = ["--inner_steps", str(problem.inner_steps), "--outer_learning_rate", str(ETA)]
        # With clusters, M = 4 is every cluster once, as in the paper.
        every_cluster = self.problem == "xnli" and spec.tasks_per_step == 4
        return [
            str(HERE.parent / problem.script), "--method", spec.method, "--model_name_or_path", "offline-multilingual",
            "--trim_vocabulary", *problem.data(data), "--do_train",
            "--max_steps", str(problem.gradients // spec.tasks_per_step), "--learning_rate", str(spec.learning_rate),
            "--per_device_train_batch_size", str(problem.batch_size), "--per_device_eval_batch_size", "32",
            *([] if every_cluster else ["--tasks_per_step", str(spec.tasks_per_step)]),
            *(own if spec.method == "seq_reptile" else []), "--seed", str(self.seed), "--save_strategy", "no",
            "--disable_tqdm", "true", "--output_dir", str(output),
        ]  # fmt: skip


def runs() -> Iterator[Run]:
    """All runs, the first seed's first."""
    for seed in SEEDS:
        for problem in PROBLEMS:
            for spec in SPECS[problem]:
                yield Run(problem, spec, seed)


def execute(run: Run, data: Path) -> None:
    """Train, evaluate, and write the result."""
    with tempfile.TemporaryDirectory(prefix="transfer-") as folder:
        output = Path(folder) / "out"
        command = run.command(data, output)
        environment = os.environ | {
            "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false",
            "HF_SEQREPTILE_CACHE": str(Path(folder) / "encoder"),
        }  # fmt: skip
        process = subprocess.run([sys.executable, *command], capture_output=True, text=True, env=environment)
        if process.returncode:
            raise RuntimeError(f"{run.result.stem} failed:\n{process.stderr[-3000:]}")
        keep(run, command, data, output)


def keep(run: Run, command: list[str], data: Path, output: Path) -> None:
    """Write what a finished run gave."""
    scores = json.loads((output / "scores.json").read_text())["scores"][PROBLEMS[run.problem].split]
    result: dict[str, Any] = {
        "arguments": [part.replace(str(data), "DATA").replace(str(output), "OUT") for part in command[1:]],
        "scores": scores[run.spec.method],
        "machine": f"1 thread of {platform.processor() or platform.machine()}, torch {torch.__version__}",
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    run.result.write_text(json.dumps(result, indent=1) + "\n")


def table() -> str:
    """The scores of each problem in Markdown: for each method the mean over the seeds that have run."""
    parts = []
    for problem, facts in PROBLEMS.items():
        rows = {}
        for spec in SPECS[problem]:
            done = [run.result for seed in SEEDS if (run := Run(problem, spec, seed)).result.exists()]
            if done:
                scores = [json.loads(path.read_text())["scores"] for path in done]
                name = f"{spec.method}, M = {spec.tasks_per_step}, α = {spec.learning_rate:g}, {len(done)} seed(s)"
                rows[name] = {task: fmean(score[task] for score in scores) for task in scores[0]}
        parts.append(score_table(rows, f"{problem}, {facts.split}"))
    return "\n\n".join(parts)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--data", type=Path, help="the folder that holds xnli and tydiqa_goldp")
    parser.add_argument("--processes", type=int, default=1, help="runs at the same time, of one thread each")
    args = parser.parse_args()
    if args.what == "run":
        if args.data is None:
            parser.error("--data is missing")
        missing = [run for run in runs() if not run.result.exists()]
        with ThreadPoolExecutor(args.processes) as pool:
            for run, _ in zip(missing, pool.map(lambda run: execute(run, args.data.resolve()), missing), strict=True):
                print(run.result, flush=True)
    print(table())


if __name__ == "__main__":
    main()
