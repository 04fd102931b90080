"""The paper's synthetic experiment (section 4.1): where each method ends on a loss surface with three local optima.

`python -m hf_seqreptile.synthetic` trains a model of two numbers with the package's own trainers, prints a table and
draws the surface with each method's path.
"""

import gc
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from .figures import plot_cosine, plot_paths
from .problem import CENTRE, OPTIMA, SETTINGS, STARTS, Point, mean_cosine, path, total_loss

SETTLED = 0.1
"""The last part of a path, over which its distances, losses and cosines are averaged."""


@dataclass(frozen=True)
class Compared:
    """A method as it is compared here.

    Args:
        label: in the table and the figures.
        method: as for [`trainer`].
        arguments: as for [`trainer`].
        is_random: whether the seed makes a difference.
    """

    label: str
    method: str
    arguments: Mapping[str, Any]
    is_random: bool = False

    @property
    def draws(self) -> int:
        """Of one run."""
        per_step = len(OPTIMA) if self.arguments.get("all_tasks_each_step") else 1
        return self.arguments["max_steps"] * per_step


EVERY_TASK = {"all_tasks_each_step": True, "max_steps": 300}
# An optimizer of its own. The reference script has αγ = 3e-5 · 5000 = 0.15, and more steps.
RECADAM = {"optim": "adamw_torch", "recadam_gamma": 1.5, "recadam_t0": 50.0}
COMPARED = (
    Compared("MTL", "mtl", EVERY_TASK),
    Compared("MTL, M = 1", "mtl", {"tasks_per_step": 1, "max_steps": 900}, is_random=True),
    Compared("GradNorm", "gradnorm", EVERY_TASK),
    Compared("PCGrad", "pcgrad", EVERY_TASK, is_random=True),
    Compared("GradVac", "gradvac", EVERY_TASK, is_random=True),
    Compared("RecAdam", "recadam", EVERY_TASK | RECADAM),
    # With as many draws and the same reach as Sequential Reptile; an outer update takes three trajectories.
    Compared("Reptile", "reptile", {"inner_steps": 100, "outer_learning_rate": 0.3, "max_steps": 4200}),
    Compared(
        "Sequential Reptile",
        "seq_reptile",
        {"inner_steps": 100, "outer_learning_rate": 0.1, "max_steps": 4000},
        is_random=True,
    ),
)
"""MTL with M = 1 is Sequential Reptile with η = 1. What is not said here are [`trainer`]'s settings, and defaults."""


@dataclass
class Run:
    """One run of a method.

    Args:
        label: of the method.
        start: φ at first.
        seed: of what is random.
        path: φ all along, shape (points, 2).
    """

    label: str
    start: Point
    seed: int
    path: Tensor

    def numbers(self) -> dict[str, Any]:
        """Where it ended, as JSON. All but the end and its nearest optimum are means over the path's last tenth."""
        settled = self.path[-max(1, round(SETTLED * len(self.path))) :]
        distances = torch.cdist(settled, torch.tensor(OPTIMA))
        return {
            "method": self.label,
            "start": self.start,
            "seed": self.seed,
            "end": self.path[-1].tolist(),
            "nearest_optimum": OPTIMA[int(distances[-1].argmin())],
            "distance_to_nearest": distances.amin(dim=1).mean().item(),
            "distances_to_optima": distances.mean(dim=0).tolist(),
            "distance_to_centre": (settled - torch.tensor(CENTRE)).norm(dim=1).mean().item(),
            "loss": total_loss(settled).mean().item(),
            "cosine": mean_cosine(settled).mean().item(),
        }


def run_all(seeds: int) -> list[Run]:
    """Run every method: from the paper's start with all seeds, from the others with the first, with a progress bar.

    Where the seed makes no difference, one run stands for all.
    """
    planned = [
        (compared, start, seed)
        for start in STARTS
        for compared in COMPARED
        for seed in range(seeds if compared.is_random and start == STARTS[0] else 1)
    ]
    runs = []
    draws = sum(compared.draws for compared, _, _ in planned)
    with garbage_set_aside(), tqdm(total=draws, unit=" draws", unit_scale=True, leave=False) as bar:
        for compared, start, seed in planned:
            bar.set_description(compared.label)
            followed = path(compared.method, start, bar.update, seed=seed, **compared.arguments)
            runs.append(Run(compared.label, start, seed, followed))
    return runs


@contextmanager
def garbage_set_aside() -> Iterator[None]:
    """Within, no garbage collection goes through what there was before.

    Each training begins with a full one, which otherwise takes longer than the shorter runs themselves.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def table(runs: Sequence[Run]) -> str:
    """Each method's numbers from each start, means over its runs."""
    row = "{:<18}{:>5}  {:<34}{:>8}{:>11}{:>7}{:>8}"
    lines = []
    for start, by_method in _grouped(runs).items():
        lines += [
            "",
            f"From {_name(start)}:",
            row.format("", "runs", "nearest", "distance", "to centre", "loss", "cosine"),
        ]
        for label, of_method in by_method.items():
            all_numbers = [run.numbers() for run in of_method]
            nearest = Counter(_name(numbers["nearest_optimum"]) for numbers in all_numbers).most_common()
            means = [
                fmean(numbers[name] for numbers in all_numbers)
                for name in ("distance_to_nearest", "distance_to_centre", "loss", "cosine")
            ]
            optima = ", ".join(f"{count}× {name}" if len(nearest) > 1 else name for name, count in nearest)
            values = [f.format(v) for f, v in zip(("{:.1f}", "{:.1f}", "{:.0f}", "{:.2f}"), means, strict=True)]
            lines.append(row.format(label, len(of_method), optima, *values))
    return "\n".join(lines[1:])


def write_results(runs: Sequence[Run], folder: Path) -> list[Path]:
    """Write `synthetic.json` and the figures into `folder`; returns their paths."""
    files = [folder / "synthetic.json"]
    results = {
        "optima": OPTIMA,
        "centre": CENTRE,
        "methods": [asdict(compared) | {"arguments": {**SETTINGS, **compared.arguments}} for compared in COMPARED],
        "runs": [run.numbers() for run in runs],
    }
    files[0].write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    for start, by_method in _grouped(runs).items():
        files.append(folder / f"synthetic_{start[0]:g}_{start[1]:g}.png")
        paths = {label: [run.path for run in of_method] for label, of_method in by_method.items()}
        plot_paths(paths, files[-1], f"Sum of the tasks' losses, and paths from {_name(start)}")
    ends = {
        label: torch.stack([run.path[-1] for run in of_method])
        for label, of_method in _grouped(runs)[STARTS[0]].items()
    }
    files.append(folder / "synthetic_cosine.png")
    plot_cosine(ends, files[-1], f"Mean cosine of the tasks' gradients; ends from {_name(STARTS[0])}")
    return files


def _grouped(runs: Sequence[Run]) -> dict[Point, dict[str, list[Run]]]:
    """The runs by start and by method."""
    grouped: dict[Point, dict[str, list[Run]]] = {}
    for run in runs:
        grouped.setdefault(run.start, {}).setdefault(run.label, []).append(run)
    return grouped


def _name(point: Point) -> str:
    return f"({point[0]:g}, {point[1]:g})"
