"""The progress bar, and the line it prints for each log."""

from typing import Any

from tqdm.auto import tqdm
from transformers import ProgressCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import has_length

from ..scores import AVERAGE


class TaskProgressCallback(ProgressCallback):
    """The stock progress bar; its lines leave each task's numbers to the log history, the plot and the trackers.

    With ten tasks the stock line of one evaluation fills a screen, and so do its bars, which stay when they are full.
    """

    def on_prediction_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        eval_dataloader: Any = None,
        **kwargs: Any,
    ) -> None:
        """Advance the bar of the task that is being evaluated."""
        if state.is_world_process_zero and self.prediction_bar is None and has_length(eval_dataloader):
            self.prediction_bar = tqdm(total=len(eval_dataloader), desc="evaluating", leave=False, dynamic_ncols=True)
        super().on_prediction_step(args, state, control, eval_dataloader=eval_dataloader, **kwargs)

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
    return {name: value for name, value in logs.items() if name.partition("/")[2] in ("", AVERAGE)}
