"""The committed runs of version 0.1.0 on WikiAnn, XNLI and TyDiQA: tables of their scores, and learning curves.

    python benchmarks/earlier_runs.py wikiann
    python benchmarks/earlier_runs.py transfer
    python benchmarks/earlier_runs.py plot

Each JSON in `results/wikiann` and `results/transfer` has the arguments that gave it. New ones are made by
`python -m hf_seqreptile.compare` with the arguments' files in `comparisons`.
"""

import argparse
import json
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.figure import Figure

from hf_seqreptile.scores import score_table

HERE = Path(__file__).resolve().parent


def results(name: str, pattern: str = "*") -> list[dict[str, Any]]:
    """The committed results of an experiment."""
    return [json.loads(path.read_text()) for path in sorted((HERE / "results" / name).glob(f"{pattern}.json"))]


def wikiann() -> str:
    """Every run, by stage."""
    languages = ["de", "en", "es", "nl"]
    lines = [
        f"| stage | method | M | α | settings | gradients | seed | validation | {' | '.join(languages)} | avg | L2 |",
        "|---" * (10 + len(languages)) + "|",
    ]
    for result in results("wikiann"):
        run, test = result["run"], result["test"] or {}
        cells = [
            run["stage"], run["method"], run["tasks_per_step"], f"{run['learning_rate']:g}",
            ", ".join(f"{name}={value}" for name, value in run["settings"].items()), run["gradients"], run["seed"],
            f"{100 * result['validation']['avg']:.1f}",
            *(f"{100 * test[x]:.1f}" if x in test else "–" for x in [*languages, "avg"]), f"{result['distance']:.1f}",
        ]  # fmt: skip
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def transfer() -> str:
    """XNLI and TyDiQA: for each method the mean over its seeds."""
    parts = []
    for problem, split in (("xnli", "test"), ("tydiqa", "validation")):
        rows: dict[str, list[dict[str, float]]] = {}
        for result in results("transfer", f"{problem}-*"):
            given = dict(zip(result["arguments"], result["arguments"][1:], strict=False))
            m = given.get("--tasks_per_step", "4")
            label = f"{given['--method']}, M = {m}, α = {given['--learning_rate']}"
            rows.setdefault(label, []).append(result["scores"])
        means = {
            f"{label}, {len(seeds)} seed(s)": {task: fmean(scores[task] for scores in seeds) for task in seeds[0]}
            for label, seeds in rows.items()
        }
        parts.append(score_table(means, f"{problem}, {split}"))
    return "\n\n".join(parts)


def plot(path: Path) -> None:
    """Learning curves: validation F1 over gradient computations, the mean of the seeds there are."""
    curves: dict[str, list[list[list[float]]]] = {}
    for result in results("wikiann", "compare-*"):
        run = result["run"]
        curves.setdefault(f"{run['method']}, M = {run['tasks_per_step']}, α = {run['learning_rate']:g}", []).append(
            [[step * run["tasks_per_step"], 100 * f1] for step, f1 in result["curve"]]
        )
    figure = Figure(figsize=(7, 5), dpi=150, layout="constrained")
    axes = figure.add_subplot(xlabel="gradient computations", ylabel="validation F1 (%), mean of 4 languages")
    for (label, seeds), marker in zip(sorted(curves.items()), "osD^v<>P*X", strict=True):
        means = [[fmean(column) for column in zip(*points, strict=True)] for points in zip(*seeds, strict=True)]
        steps, scores = zip(*means, strict=True)
        axes.plot(steps, scores, marker=marker, label=label)
    # RecAdam begins at 0, while it holds the encoder at its start; the others would share a narrow band.
    axes.set_ylim(bottom=55)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(path)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["wikiann", "transfer", "plot"])
    what = parser.parse_args().what
    if what == "plot":
        plot(HERE.parent / "docs" / "wikiann_curves.png")
    else:
        print({"wikiann": wikiann, "transfer": transfer}[what]())


if __name__ == "__main__":
    main()
