"""Figure 7a: the trade-off between low training loss and aligned gradients."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .alignment_log import mean_cosines, why_no_cosines
from .drawing import Curve, Panel, draw_curves
from .groups import Group
from .results import Result
from .runs import SavedRun

NAME = "cosine_and_loss"
TITLE = "Training loss and gradient alignment along the runs"
CAPTION = (
    "The tasks' mean cosine similarity against the training loss, from the first measurement to the last (the paper's "
    "Figure 7a); a run moves from right to left, and the higher its curve, the more aligned its gradients are at the "
    "same loss. The cosine is measured at φ; the loss is the one in the log, the mean since the log before, "
    "interpolated to the steps of the measurements. With seq_reptile and reptile it is the loss of θ."
)
NO_LOSS = "no training loss in its log; train with --logging_steps 10"


def cosine_and_loss(groups: Sequence[Group]) -> Result:
    """The mean cosine similarity and the training loss of each run, step by step."""
    numbers: dict[str, Any] = {}
    missing = []
    for group in groups:
        for run in group.runs:
            if not mean_cosines(run):
                missing.append(why_no_cosines(run))
            elif not _losses(run):
                missing.append(f"{run.folder}: {NO_LOSS}")
            else:
                numbers.setdefault(group.label, []).append(_of_run(run))
    curves = [Curve(label, run["loss"], run["cosine"]) for label, runs in numbers.items() for run in runs]
    panel = Panel("training loss", "cosine similarity", curves)
    figure = draw_curves(TITLE, [panel], [group.label for group in groups]) if curves else None
    return Result(NAME, TITLE, CAPTION, numbers, missing, figure)


def _losses(run: SavedRun) -> dict[int, float]:
    return {entry["step"]: entry["loss"] for entry in run.log if "loss" in entry}


def _of_run(run: SavedRun) -> dict[str, Any]:
    cosines, losses = mean_cosines(run), _losses(run)
    steps = list(cosines)
    loss = np.interp(steps, list(losses), list(losses.values())).tolist()
    return {"seed": run.seed, "step": steps, "loss": loss, "cosine": list(cosines.values())}
