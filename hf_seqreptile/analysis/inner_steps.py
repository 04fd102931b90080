"""Figure 8b: how much the number of inner steps matters."""

from collections.abc import Sequence

from .groups import Group
from .results import Result
from .sweep import sweep, tuning_score

CAPTION = (
    "The final score on the validation data against the inner steps of a trajectory (the paper's Figure 8b): runs "
    "that differ in K and the seed alone. Single points are seeds, the line their mean. The score is the mean over "
    "the tasks."
)


def inner_steps(groups: Sequence[Group]) -> Result:
    """The final score against K."""
    return sweep(
        groups,
        name="inner_steps",
        title="Score and inner steps",
        caption=CAPTION,
        argument="inner_steps",
        label="inner steps K",
        measured=[tuning_score(groups)],
    )
