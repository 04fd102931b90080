"""The gradient alignment that a run logged while it trained."""

from ..scores import AVERAGE
from .runs import SavedRun

COSINE, DISTANCE = "cosine/", "distance"
NO_COSINES = "no gradient alignment in its log; train with --log_gradient_alignment 100"
GATHERED = "STL has one model for each language, so its tasks' gradients never meet"


def pair_cosines(run: SavedRun) -> dict[tuple[str, str], dict[int, float]]:
    """The cosine similarity of each pair of tasks' gradients, by step."""
    cosines: dict[tuple[str, str], dict[int, float]] = {}
    for entry in run.log:
        for key, value in entry.items():
            if key.startswith(COSINE) and key.count("/") == 2:
                _, one, other = key.split("/")
                cosines.setdefault((one, other), {})[entry["step"]] = value
    return cosines


def mean_cosines(run: SavedRun) -> dict[int, float]:
    """The mean cosine similarity over all pairs, by step."""
    key = f"{COSINE}{AVERAGE}"
    return {entry["step"]: entry[key] for entry in run.log if key in entry}


def why_no_cosines(run: SavedRun) -> str:
    """What to say of a run without them."""
    return f"{run.folder}: {GATHERED if run.method == 'stl' else NO_COSINES}"
