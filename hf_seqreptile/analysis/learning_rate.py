"""Figure 7b: the inner learning rate sets how strongly gradients are aligned."""

from collections.abc import Sequence

from .alignment_log import mean_cosines, why_no_cosines
from .groups import Group
from .results import Result
from .runs import SavedRun
from .sweep import Measured, sweep, tuning_score

CAPTION = (
    "The tasks' mean cosine similarity at the end of training, and the final score on the validation data, against "
    "the inner learning rate (the paper's Figure 7b): runs that differ in α and the seed alone. Single points are "
    "seeds, the line their mean. The score is the mean over the tasks."
)


def learning_rate(groups: Sequence[Group]) -> Result:
    """The final cosine similarity and the final score against α."""
    return sweep(
        groups,
        name="learning_rate",
        title="Gradient alignment, score and inner learning rate",
        caption=CAPTION,
        argument="learning_rate",
        label="inner learning rate α",
        measured=[
            Measured("cosine", "cosine similarity", _last_cosine, why_no_cosines),
            tuning_score(groups),
        ],
    )


def _last_cosine(run: SavedRun) -> float | None:
    cosines = mean_cosines(run)
    return cosines[max(cosines)] if cosines else None
