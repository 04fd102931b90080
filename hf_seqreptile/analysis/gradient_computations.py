"""Figure 7c: what a run reaches with how many gradients."""

from collections.abc import Sequence

from .groups import Group
from .results import Result
from .score_log import score_curves

CAPTION = (
    "Validation score, the mean over the evaluated tasks, against the gradient computations so far (the paper's "
    "Figure 7c). One is the gradient of one drawn batch: an optimizer step of seq_reptile takes 1, one of a method "
    "that draws M tasks M, and with parallel trajectories each process counts its own. The count is the log's; swep "
    "takes two passes for each."
)


def gradient_computations(groups: Sequence[Group]) -> Result:
    """The score of each run against its draws so far."""
    return score_curves(
        groups,
        name="gradient_computations",
        title="Score and gradient computations",
        caption=CAPTION,
        x_label="gradient computations",
        per_step=lambda run: run.draws_per_step,
        why_not="no draws in its log; train with --logging_steps 10",
    )
