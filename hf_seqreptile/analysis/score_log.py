"""The scores that a run logged while it trained."""

from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.figure import Figure

from .drawing import Curve, Panel, draw_curves
from .groups import Group
from .results import Result
from .runs import SavedRun

NO_SCORES = "no scores in its log; train with --eval_strategy steps --eval_steps 100"
GATHERED = "STL's log is in the folders of its languages; there is no common one"


def score_label(groups: Sequence[Group]) -> str:
    """The axis of a validation score, which all runs have if they are of one problem."""
    labels = {run.metric.label for group in groups for run in group.runs}
    return f"validation {labels.pop() if len(labels) == 1 else 'score'} (%)"


def logged_scores(run: SavedRun) -> dict[int, float]:
    """The mean score over the evaluated tasks, as a fraction, by step."""
    key = f"eval_{run.metric.name}"
    return {entry["step"]: run.metric.fraction(entry[key]) for entry in run.log if key in entry}


def final_score(run: SavedRun) -> float | None:
    """The final validation score, a mean over the tasks, as a fraction; `None` where there is none."""
    if (score := run.score("validation")) is not None:
        return score
    scores = logged_scores(run)
    return scores[max(scores)] if scores and max(scores) == run.steps else None


def score_curves(
    groups: Sequence[Group],
    *,
    name: str,
    title: str,
    caption: str,
    x_label: str,
    per_step: Callable[[SavedRun], float | None],
    why_not: str,
) -> Result:
    """The score of each run against something that grows with its steps.

    Args:
        groups: the runs.
        name: of the result.
        title: of the result.
        caption: of the result.
        x_label: what grows.
        per_step: how much of it an optimizer step takes; `None` where the run does not say.
        why_not: what to say of such a run.
    """
    numbers: dict[str, list[dict[str, Any]]] = {}
    missing = []
    for group in groups:
        for run in group.runs:
            scores, each = logged_scores(run), per_step(run)
            if run.is_gathered:
                missing.append(f"{run.folder}: {GATHERED}")
            elif max(scores, default=0) == 0:
                # A score before training alone is no curve.
                missing.append(f"{run.folder}: {NO_SCORES}")
            elif each is None:
                missing.append(f"{run.folder}: {why_not}")
            else:
                x = [step * each for step in scores]
                numbers.setdefault(group.label, []).append({"seed": run.seed, "x": x, "score": list(scores.values())})
    return Result(name, title, caption, numbers, missing, _draw(numbers, groups, title, x_label))


def _draw(
    numbers: dict[str, list[dict[str, Any]]], groups: Sequence[Group], title: str, x_label: str
) -> Figure | None:
    curves = [
        Curve(label, run["x"], [100 * score for score in run["score"]])
        for label, runs in numbers.items()
        for run in runs
    ]
    panel = Panel(x_label, score_label(groups), curves)
    return draw_curves(title, [panel], [group.label for group in groups]) if curves else None
