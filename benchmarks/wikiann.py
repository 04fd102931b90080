"""Which method does best on WikiAnn at an equal number of gradient computations?

    python benchmarks/wikiann.py choose --data path/to/wikiann
    python benchmarks/wikiann.py compare --data path/to/wikiann
    python benchmarks/wikiann.py explore --data path/to/wikiann
    python benchmarks/wikiann.py table
    python benchmarks/wikiann.py plot

`choose` trains each method with each of its inner learning rates on half the budget and one seed, and scores it on
validation data. `compare` trains each method at its best rate on the whole budget with two seeds, and scores it on
test data. `explore` varies K, η and the amount of data. Every run is `run_ner.py` in a process of its own and leaves
one JSON in `results/wikiann`; runs whose JSON is there are not repeated.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from matplotlib.figure import Figure
from safetensors.torch import load_file
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "wikiann"
LANGUAGES = ["de", "en", "es", "nl"]
TRAIN_SAMPLES = ["6000", "nl=200"]
BUDGET = 912
"""Gradient computations of a run; a multiple of 8, so that M = 8 spends it exactly."""
RATES = (3e-5, 1e-4, 3e-4, 1e-3)


@dataclass(frozen=True)
class Run:
    """One training run.

    Args:
        stage: `choose`, `compare` or `explore`.
        method: as after `--method`.
        tasks_per_step: M.
        learning_rate: α.
        gradients: gradient computations: M × optimizer steps.
        seed: of weights, dropout and draws.
        settings: the method's own arguments.
        train_samples: as after `--max_train_samples`.
    """

    stage: str
    method: str
    tasks_per_step: int
    learning_rate: float
    gradients: int
    seed: int
    settings: dict[str, Any] = field(default_factory=dict, hash=False)
    train_samples: tuple[str, ...] = tuple(TRAIN_SAMPLES)

    @property
    def name(self) -> str:
        """Name of its result."""
        own = "".join(f"-{k}{v:g}" for k, v in self.settings.items())
        samples = "" if list(self.train_samples) == TRAIN_SAMPLES else "-n" + "_".join(self.train_samples)
        return (
            f"{self.stage}-{self.method}-M{self.tasks_per_step}-lr{self.learning_rate:g}{own}"
            f"-g{self.gradients}{samples}-seed{self.seed}"
        )

    @property
    def result(self) -> Path:
        """Where its result is written."""
        return RESULTS / f"{self.name}.json"

    def command(self, data: Path, output_dir: Path) -> list[str]:
        """The arguments of `run_ner.py`."""
        # STL's budget is that of its models together.
        steps = self.gradients // self.tasks_per_step // (len(LANGUAGES) if self.method == "stl" else 1)
        splits = {"train": "train_file", "val": "validation_file", "test": "test_file"}
        files = [
            part
            for split, argument in splits.items()
            for part in (f"--{argument}", *(f"{x}={data / x / f'{split}.conllu'}" for x in LANGUAGES))
        ]
        return [
            "--method", self.method, "--model_name_or_path", "offline-multilingual", "--trim_vocabulary", *files,
            "--max_train_samples", *self.train_samples, "--max_eval_samples", "150", "--max_predict_samples", "500",
            "--max_seq_length", "128", "--max_steps", str(steps),
            *(["--tasks_per_step", str(self.tasks_per_step)] if self.method != "reptile" else []),
            "--learning_rate", str(self.learning_rate), "--seed", str(self.seed), "--logging_steps",
            str(max(1, steps // 30)), "--eval_strategy", "steps", "--eval_steps",
            str(steps if self.stage == "choose" else -(-steps // 4)),
            "--per_device_eval_batch_size", "32", "--save_strategy", "no", "--do_train", "--do_eval",
            *(["--do_predict"] if self.stage != "choose" else []), "--output_dir", str(output_dir),
            *(f"--{name}={value}" for name, value in self.settings.items()),
        ]  # fmt: skip


@dataclass(frozen=True)
class Spec:
    """A method as it is compared.

    Args:
        method: as after `--method`.
        tasks_per_step: M.
        rates: the inner learning rates to choose from, or the name of the spec whose best rate is taken over.
        settings: the method's own arguments.
    """

    method: str
    tasks_per_step: int
    rates: tuple[float, ...] | str
    settings: dict[str, Any] = field(default_factory=dict)

    def choices(self) -> list[Run]:
        """A run for each inner learning rate."""
        rates = () if isinstance(self.rates, str) else self.rates
        return [Run("choose", self.method, self.tasks_per_step, rate, BUDGET // 2, 1, self.settings) for rate in rates]

    def best_rate(self) -> float:
        """The rate whose validation F1 was highest; all of `choose` must have run."""
        if isinstance(self.rates, str):
            return SPECS[self.rates].best_rate()
        scores = {run.learning_rate: json.loads(run.result.read_text())["validation"]["avg"] for run in self.choices()}
        return max(scores, key=lambda rate: scores[rate])


SEQ_REPTILE = {"inner_steps": 30, "outer_learning_rate": 0.3}
MTL8, MTL1 = "mtl M=8", "mtl M=1"
SPECS = {
    MTL8: Spec("mtl", 8, RATES),
    MTL1: Spec("mtl", 1, RATES[:3]),
    "seq_reptile": Spec("seq_reptile", 1, RATES[1:], SEQ_REPTILE),
    "pcgrad": Spec("pcgrad", 8, MTL8),
    "gradvac": Spec("gradvac", 8, MTL8),
    "reptile": Spec("reptile", 1, RATES[1:]),
    "stl": Spec("stl", 1, MTL1),
    "gradnorm": Spec("gradnorm", 8, MTL8),
    # t0 is a quarter of the 114 steps, so that λ ends at 1; the default of 250 would freeze the encoder.
    "recadam": Spec("recadam", 8, MTL8, {"recadam_t0": 28}),
    # The network learns as fast as the model, as in the authors' runs.
    "swep": Spec("swep", 8, MTL8, {"swep_learning_rate": 3e-4}),
}


def comparisons() -> Iterator[Run]:
    """Two seeds of each method at its best rate."""
    for seed in (1, 2):
        for spec in SPECS.values():
            yield Run("compare", spec.method, spec.tasks_per_step, spec.best_rate(), BUDGET, seed, spec.settings)


def explorations() -> Iterator[Run]:
    """Many epochs on little data; K and η of Sequential Reptile at half the budget."""
    little = ("100", "nl=20")
    yield Run("explore", "mtl", 1, 1e-4, BUDGET, 1, {}, little)
    yield Run("explore", "seq_reptile", 1, 3e-4, BUDGET, 1, SEQ_REPTILE, little)
    for inner_steps, eta, rate in ((30, 0.5, 3e-4), (30, 0.5, 1e-4), (10, 0.3, 3e-4), (100, 0.3, 3e-4)):
        own = {"inner_steps": inner_steps, "outer_learning_rate": eta}
        yield Run("explore", "seq_reptile", 1, rate, BUDGET // 2, 1, own)


def execute(run: Run, data: Path) -> None:
    """Train, evaluate, and write the result."""
    folder = Path(tempfile.mkdtemp(prefix="wikiann-"))
    try:
        output = folder / "out"
        arguments = run.command(data, output)
        environment = os.environ | {
            "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false",
            "HF_SEQREPTILE_CACHE": str(folder / "encoder"),
        }  # fmt: skip
        process = subprocess.run(
            [sys.executable, HERE.parent / "run_ner.py", *arguments], capture_output=True, text=True, env=environment
        )
        if process.returncode:
            raise RuntimeError(f"{run.name} failed:\n{process.stderr[-3000:]}")
        models = [output / language for language in LANGUAGES] if run.method == "stl" else [output]
        logs = [json.loads((model / "trainer_state.json").read_text())["log_history"] for model in models]
        scores = json.loads((output / "scores.json").read_text())["scores"]
        seconds = [json.loads((model / "train_results.json").read_text())["train_runtime"] for model in models]
        result = {
            "run": asdict(run),
            "arguments": [a.replace(str(data), "WIKIANN").replace(str(output), "OUT") for a in arguments],
            "validation": scores["validation"][run.method],
            "test": scores.get("test", {}).get(run.method),
            "distance": fmean(distance_from_start(folder / "encoder", model) for model in models),
            "seconds": sum(seconds),
            "losses": mean_over_models(logs, "loss"),
            "curve": mean_over_models(logs, "eval_avg_f1"),
            "machine": f"1 thread of {platform.processor() or platform.machine()}, torch {torch.__version__}",
        }
        run.result.parent.mkdir(parents=True, exist_ok=True)
        run.result.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    finally:
        shutil.rmtree(folder)


def mean_over_models(logs: list[list[dict[str, float]]], name: str) -> list[list[float]]:
    """The logged value of `name` at each step, as pairs [gradient step, value], the mean over all models of the run.

    STL's models are trained one after another; their common step counts once for each.
    """
    columns = [[(entry["step"], entry[name]) for entry in log if name in entry] for log in logs]
    return [[row[0][0] * len(logs), fmean(value for _, value in row)] for row in zip(*columns, strict=True)]


def distance_from_start(cache: Path, output: Path) -> float:
    """L2 distance of the fine-tuned encoder, without its new head, from the pretrained one that `cache` holds."""
    (start_file,) = cache.glob("*/model.safetensors")
    start, end = load_file(start_file), load_file(output / "model.safetensors")
    squares = [(end[f"bert.{name}"] - value).square().sum() for name, value in start.items()]
    return float(torch.stack(squares).sum().sqrt())


def table() -> str:
    """All results as a Markdown table, by stage and score."""
    results = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    lines = [
        f"| stage | method | M | α | settings | gradients | seed | validation | {' | '.join(LANGUAGES)} | avg | L2 |",
        "|---" * (10 + len(LANGUAGES)) + "|",
    ]
    for r in results:
        run, test = r["run"], r["test"] or {}
        own = ", ".join(f"{name}={value}" for name, value in run["settings"].items())
        cells = [
            run["stage"], run["method"], run["tasks_per_step"], f"{run['learning_rate']:g}", own, run["gradients"],
            run["seed"], f"{100 * r['validation']['avg']:.1f}",
            *(f"{100 * test[x]:.1f}" if x in test else "–" for x in [*LANGUAGES, "avg"]), f"{r['distance']:.1f}",
        ]  # fmt: skip
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def plot(path: Path) -> None:
    """Learning curves of the comparison: validation F1 over gradient computations, the mean of the seeds there are."""
    results = [json.loads(p.read_text()) for p in sorted(RESULTS.glob("compare-*.json"))]
    curves: dict[str, list[list[list[float]]]] = {}
    for result in results:
        run = result["run"]
        curves.setdefault(f"{run['method']}, M = {run['tasks_per_step']}, α = {run['learning_rate']:g}", []).append(
            [[step * run["tasks_per_step"], 100 * f1] for step, f1 in result["curve"]]
        )
    figure = Figure(figsize=(7, 5), dpi=150, layout="constrained")
    axes = figure.add_subplot(xlabel="gradient computations", ylabel="validation F1 (%), mean of 4 languages")
    for (label, seeds), marker in zip(sorted(curves.items()), "osD^v<>P*X", strict=True):
        steps, scores = zip(
            *(map(fmean, zip(*points, strict=True)) for points in zip(*seeds, strict=True)), strict=True
        )
        axes.plot(steps, scores, marker=marker, label=label)
    # RecAdam begins at 0, while it holds the encoder at its start; the others would share a narrow band.
    axes.set_ylim(bottom=55)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(path)


def main() -> None:
    """Run a stage, print the table, or draw the learning curves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["choose", "compare", "explore", "table", "plot"])
    parser.add_argument("--data", type=Path, help="the folder with de/, en/, es/ and nl/")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="runs at a time, one thread each")
    args = parser.parse_args()
    if args.stage == "table":
        print(table())
        return
    if args.stage == "plot":
        plot(HERE.parent / "docs" / "wikiann_curves.png")
        return
    if args.data is None:
        parser.error("--data is needed to train")
    stages = {
        "choose": lambda: (run for spec in SPECS.values() for run in spec.choices()),
        "compare": comparisons,
        "explore": explorations,
    }
    left = [run for run in stages[args.stage]() if not run.result.exists()]
    with ThreadPoolExecutor(args.processes) as pool:
        for _ in tqdm(pool.map(lambda run: execute(run, args.data.resolve()), left), total=len(left), desc=args.stage):
            pass


if __name__ == "__main__":
    main()
