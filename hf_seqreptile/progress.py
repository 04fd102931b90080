"""The progress bar, and the line it prints for each log."""

from typing import Any

from transformers import ProgressCallback, TrainerControl, TrainerState, TrainingArguments


class TaskProgressCallback(ProgressCallback):
    """The stock progress bar; its lines leave each task's numbers to the log history, the plot and the trackers.

    With ten tasks the stock line of one evaluation fills a screen.
    """

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Print the numbers that concern all tasks."""
        super().on_log(args, state, control, logs=over_all_tasks(logs or {}), **kwargs)


def over_all_tasks(logs: dict[str, Any]) -> dict[str, Any]:
    """What remains of a trainer's log without any single task's numbers: averages, and what has no task."""
    averages = {name: value for name, value in logs.items() if name.startswith("eval_avg_")}
    if averages:
        return averages | {name: value for name, value in logs.items() if not name.startswith("eval_")}
    return {name: value for name, value in logs.items() if "/" not in name}
