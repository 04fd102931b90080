"""What the problem has to say in the training: the metric that selects the best model, and what tasks' draws are."""

from collections.abc import Sequence
from difflib import get_close_matches

from ..errors import InputError
from ..problems.problem import Problem
from ..scores import AVERAGE, SCORE
from ..training.stock_arguments import schedule_settings
from ..training.training_args import MultiTaskTrainingArguments
from .steps import Run

LOSS = "loss"
_METRIC = "metric_for_best_model"


def take_metric_of_problem(args: MultiTaskTrainingArguments, problem: Problem) -> None:
    """Change `args` where transformers' default is the loss, and evaluations of the problem report none.

    Raises:
        InputError: a schedule that follows the metric was given a mode against it.
    """
    if not problem.has_evaluation_loss and args.metric_for_best_model == LOSS and not args.is_given(_METRIC):
        args.metric_for_best_model = problem.metric.name
        if not args.is_given("greater_is_better"):
            args.greater_is_better = True
    schedule_settings(args)


def take_task_arguments(args: MultiTaskTrainingArguments, problem: Problem) -> None:
    """Change `args` to what the tasks' own description says of their weights and batches, unless they say it."""
    for name, given in problem.task_arguments.items():
        if getattr(args, name) is None:
            setattr(args, name, list(given))


def _names_of(problem: Problem, task: str) -> set[str]:
    """The metrics that a task, or the average, has in an evaluation."""
    own = problem if task == AVERAGE else problem.of_task(task)
    of_all = {SCORE} & {*problem.metric_names}
    return {*own.metric_names, *of_all, *([LOSS] if own.has_evaluation_loss else [])}


def check_metric(runs: Sequence[Run], problem: Problem) -> None:
    """Refuse a metric that no evaluation of a run reports.

    Raises:
        InputError: names the metric and those that there are.
    """
    for run in runs:
        wanted, tasks = run.args.metric_for_best_model, [AVERAGE, *run.tasks.get("validation", ())]
        of_run = problem.of_run(run.tasks)
        names = sorted(_names_of(of_run, AVERAGE))
        known = {*names, *(f"{task}_{name}" for task in tasks for name in _names_of(of_run, task))}
        if wanted is None or wanted.removeprefix("eval_") in known:
            continue
        nearest = get_close_matches(wanted, known, n=1)
        hint = f" Did you mean {nearest[0]}?" if nearest else ""
        raise InputError(
            f"--{_METRIC} {wanted} is unknown.{hint} An evaluation reports {', '.join(names)}: the mean over the "
            f"tasks under these names, and each task's as {tasks[-1]}_{names[-1]}."
        )
