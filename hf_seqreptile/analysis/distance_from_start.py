"""Figures 5c, 6c and 6d: how far fine-tuning moved the encoder."""

from collections.abc import Sequence
from statistics import fmean

from ..errors import InputError
from .drawing import RowPanel, draw_rows
from .encoders import distance, load_start, runs_with_encoders
from .groups import Group
from .results import Result

NAME = "distance_from_start"
TITLE = "Distance of the encoder from its start"
CAPTION = (
    "L2 distance, over all weights of the encoder, between the finished model and what it started from (the paper's "
    "Figures 5c, 6c and 6d). Heads are left out, since they start anew. Of a trimmed vocabulary the rows that were "
    "kept are compared. Small points are seeds, the large one their mean."
)


def distance_from_start(groups: Sequence[Group], base_model: str | None = None) -> Result:
    """The distance of each run's encoder from the one that it started from.

    Args:
        groups: the runs.
        base_model: what all runs started from. Default: what each run's card names.
    """
    missing: list[str] = []
    numbers: dict[str, list[dict[str, float]]] = {}
    for group, run, start, end in runs_with_encoders(groups, base_model, missing):
        try:
            value, weights = distance(end, load_start(start).with_vocabulary_of(end))
        except InputError as error:
            missing.append(f"{run.folder}: {error}")
            continue
        numbers.setdefault(group.label, []).append({"seed": run.seed, "distance": value, "weights": weights})
    values = {label: [run["distance"] for run in runs] for label, runs in numbers.items()}
    panel = RowPanel("L2 distance", values, from_zero=True)
    figure = draw_rows(TITLE, [panel], [group.label for group in groups]) if values else None
    headlines = {"distance": {label: fmean(of_label) for label, of_label in values.items()}}
    return Result(NAME, TITLE, CAPTION, numbers, missing, figure, headlines)
