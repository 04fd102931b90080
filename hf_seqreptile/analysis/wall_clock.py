"""Figure 8a: what a run reaches in which time."""

from collections.abc import Sequence

from .groups import Group
from .results import Result
from .runs import SavedRun
from .score_log import score_curves

CAPTION = (
    "Validation score, the mean over the evaluated tasks, against the time since training began (the paper's Figure "
    "8a). The log has the time of the whole run alone, evaluations and measurements during training included; it is "
    "spread evenly over the steps. Of a resumed run it has only the time since then, which shows too few minutes. "
    "Compare runs of one machine that had nothing else to do."
)


def wall_clock(groups: Sequence[Group]) -> Result:
    """The score of each run against the minutes so far."""
    return score_curves(
        groups,
        name="wall_clock",
        title="Score and wall clock",
        caption=CAPTION,
        x_label="minutes of training",
        per_step=_minutes_per_step,
        why_not="no running time in its log, so it did not end; let it finish",
    )


def _minutes_per_step(run: SavedRun) -> float | None:
    ends = [entry for entry in run.log if "train_runtime" in entry]
    return ends[-1]["train_runtime"] / 60 / ends[-1]["step"] if ends else None
