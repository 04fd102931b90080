"""What a finished run leaves behind: its scores, plot and model card, and several runs' scores together."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .data.arguments import DataArguments
from .heads.head import Head
from .model_loading import ModelArguments
from .plots import plot_training
from .publishing import TRAINING_PLOT, write_model_card
from .scores import SCORES_FILE, START, Metric, average_over_tasks, scores_by_task, write_scores
from .script import Run
from .trainer import MultiTaskMixin
from .training_args import MultiTaskTrainingArguments


@dataclass
class FinishedRun:
    """What remains of a run once its trainer and model are gone."""

    run: Run
    log_history: Sequence[Mapping[str, float]]
    metrics: Mapping[str, float]
    """All metrics, as the trainer named them."""
    repository: str | None
    """Where the model is to be pushed, on the process that pushes."""


def finish(
    run: Run,
    trainer: MultiTaskMixin,
    metrics: Mapping[str, float],
    model_args: ModelArguments,
    data_args: DataArguments,
    head: Head,
) -> FinishedRun:
    """Write the run's score table and, where it trained, its plot and model card.

    Args:
        run: what was done.
        trainer: did it.
        metrics: of all splits.
        model_args: for the card.
        data_args: for the card.
        head: the problem, and which metric table and plot show.
    """
    finished = FinishedRun(run, trainer.state.log_history, metrics, trainer.hub_model_id)
    if trainer.is_world_process_zero():
        folder, tables = run.args.folder, score_tables([finished], head.metric)
        write_scores(folder, tables, run.zero_shot)
        if run.args.do_train:
            title = f"{trainer.title}: {folder.resolve().name}"
            plot_training(trainer.state.log_history, head.metric, folder / TRAINING_PLOT, title)
            write_model_card(
                trainer,
                folder,
                pipeline_tag=head.pipeline_tag,
                base_model=str(model_args.model_name_or_path),
                dataset_name=data_args.dataset_name,
                languages=run.languages,
                tables=tables,
                zero_shot=run.zero_shot,
                metric=head.metric.name,
                name=trainer.hub_model_id,
            )
    return finished


def report(finished: Sequence[FinishedRun], args: MultiTaskTrainingArguments, metric: Metric) -> None:
    """Print the scores and where everything is; scores of runs in folders of their own are gathered above."""
    if args.process_index != 0:
        return
    if [one.run.args.folder for one in finished] != [args.folder]:
        _gather_results(finished, args.folder)
        write_scores(args.folder, score_tables(finished, metric), zero_shot=[])
    print("\n" + (args.folder / SCORES_FILE).read_text(encoding="utf-8"))
    for one in finished:
        if args.do_train:
            print(f"Model, card (README.md) and plot ({TRAINING_PLOT}) are in {one.run.args.folder}")


def score_tables(finished: Sequence[FinishedRun], metric: Metric) -> dict[str, dict[str, dict[str, float]]]:
    """For each split that was evaluated a row of scores, under one for the start if that was evaluated too.

    The row has the method's name, or is called `model` where nothing was trained.
    """
    args = finished[0].run.args
    metrics = {name: value for one in finished for name, value in one.metrics.items()}
    start = {
        name: value
        for one in finished
        for entry in one.log_history
        if entry["step"] == 0
        for name, value in entry.items()
    }
    tables: dict[str, dict[str, dict[str, float]]] = {}
    for split, prefix in (("validation", "eval"), ("test", "predict")):
        tasks = list(dict.fromkeys(task for one in finished for task in one.run.tasks.get(split, ())))
        # Without training, step 0 is all there is.
        rows = {START: start, args.method: metrics} if args.do_train else {"model": metrics}
        scored = {name: scores_by_task(values, prefix, tasks, metric) for name, values in rows.items()}
        if any(scored.values()):
            tables[split] = {name: scores for name, scores in scored.items() if scores}
    return tables


def _gather_results(finished: Sequence[FinishedRun], folder: Path) -> None:
    """Write each split's metrics of all runs, with their averages, as one trainer would have written them."""
    metrics = {name: value for one in finished for name, value in one.metrics.items()}
    gathered: dict[str, float] = {}
    for split, prefix in (("validation", "eval"), ("test", "predict")):
        tasks = [task for one in finished for task in one.run.tasks.get(split, ())]
        own = {name: v for name, v in metrics.items() if any(name.startswith(f"{prefix}_{task}_") for task in tasks)}
        if own:
            own |= average_over_tasks(own, tasks, prefix)
            gathered |= own
            _write_metrics(folder / f"{prefix}_results.json", own)
    _write_metrics(folder / "all_results.json", gathered)


def _write_metrics(path: Path, metrics: Mapping[str, float]) -> None:
    path.write_text(json.dumps(metrics, indent=4, sort_keys=True) + "\n", encoding="utf-8")
