"""What the scripts have in common: which models a command trains, and what is done with each."""

import copy
import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import transformers
from datasets import Dataset
from transformers.trainer_utils import PredictionOutput
from transformers.utils import SAFE_WEIGHTS_NAME

from .checkpoints import last_complete_checkpoint
from .data.arguments import DataArguments
from .errors import InputError
from .methods import METHODS
from .model_loading import ModelArguments
from .plots import plot_training
from .publishing import TRAINING_PLOT, write_model_card
from .scores import SCORES_FILE, scores_by_task, write_scores
from .trainer import MultiTaskMixin, average_over_tasks
from .training_args import MultiTaskTrainingArguments

Splits = Mapping[str, Mapping[str, Dataset]]
"""Datasets by split and by task."""


@contextmanager
def bad_input_exits() -> Iterator[None]:
    """End the process with the message and code 2, without a traceback, on what the user can mend."""
    try:
        yield
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def trainer_class(args: MultiTaskTrainingArguments) -> type[MultiTaskMixin]:
    """The trainer of `args.method`, after checking that `args` suit it and ask for something to do."""
    if args.method not in METHODS:
        raise InputError(f"--method {args.method} is unknown; choose one of {', '.join(METHODS)}.")
    METHODS[args.method].check_arguments(args)
    if not (args.do_train or args.do_eval or args.do_predict):
        raise InputError("Nothing to do: add --do_train, --do_eval or --do_predict.")
    return METHODS[args.method]


def wanted_splits(args: MultiTaskTrainingArguments) -> list[str]:
    """The splits that the arguments make necessary."""
    evaluates = args.do_eval or args.eval_strategy != "no"
    wanted = {"train": args.do_train, "validation": evaluates, "test": args.do_predict}
    return [split for split, is_wanted in wanted.items() if is_wanted]


def set_up_logging(args: MultiTaskTrainingArguments) -> None:
    """Messages of this package and of transformers at the level that the arguments give, on the main process."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", handlers=[logging.StreamHandler(sys.stderr)])
    level = args.get_process_log_level()
    logging.getLogger("hf_seqreptile").setLevel(level)
    transformers.utils.logging.set_verbosity(level)


@dataclass
class Run:
    """One model to train or evaluate: its arguments and raw datasets."""

    args: MultiTaskTrainingArguments
    tasks: Splits

    @property
    def zero_shot(self) -> list[str]:
        """Tasks that are evaluated but not trained on."""
        trained = self.tasks.get("train", {})
        evaluated = [*self.tasks.get("validation", ()), *self.tasks.get("test", ())] if trained else []
        return [task for task in dict.fromkeys(evaluated) if task not in trained]


def plan_runs(args: MultiTaskTrainingArguments, tasks: Splits) -> list[Run]:
    """One run; for STL one for each training task, in a folder of that name."""
    if args.method != "stl" or "train" not in tasks:
        return [Run(args, tasks)]
    runs = []
    for task in tasks["train"]:
        own = copy.copy(args)
        own.output_dir = str(args.folder / task)
        runs.append(Run(own, {split: {task: data[task]} for split, data in tasks.items() if task in data}))
    return runs


def train(trainer: MultiTaskMixin) -> None:
    """Train from the start or from the newest complete checkpoint, and save the model, metrics and state."""
    folder = trainer.args.folder
    checkpoint = trainer.args.resume_from_checkpoint
    if checkpoint is None and (newest := last_complete_checkpoint(folder)):
        checkpoint = str(newest)
        print(f"Continuing from {newest}. For a new run, choose another --output_dir.", flush=True)
    if checkpoint is None and (folder / SAFE_WEIGHTS_NAME).exists():
        raise InputError(f"--output_dir {folder} holds a finished model already; choose another folder.")
    result = trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_model()
    metrics = dict(result.metrics) | {"train_samples": len(trainer.tasks or ())}
    trainer.save_metrics("train", metrics)
    trainer.save_state()


def evaluate(trainer: MultiTaskMixin) -> dict[str, float]:
    """Metrics of every task's validation split, saved as `eval_results.json`."""
    metrics = trainer.evaluate()
    trainer.save_metrics("eval", metrics)
    return metrics


def predict(
    trainer: MultiTaskMixin, tasks: Mapping[str, Dataset], write: Callable[[Path, str, PredictionOutput], None]
) -> dict[str, float]:
    """Predictions for every task's test split, and their metrics, saved as `predict_results.json`.

    `write(folder, suffix, prediction)` writes one task's predictions; `suffix` is empty where there is one task.
    """
    metrics: dict[str, float] = {}
    for task, dataset in tasks.items():
        prediction = trainer.predict(dataset, metric_key_prefix=f"predict_{task}")
        metrics |= prediction.metrics or {}
        if trainer.is_world_process_zero():
            write(trainer.args.folder, f"_{task}" if len(tasks) > 1 else "", prediction)
    metrics |= average_over_tasks(metrics, list(tasks), "predict")
    trainer.save_metrics("predict", metrics)
    return metrics


@dataclass
class FinishedRun:
    """A run with its trainer and all of its metrics, as the trainer named them."""

    run: Run
    trainer: MultiTaskMixin
    metrics: Mapping[str, float]


def publish(
    finished: Sequence[FinishedRun],
    args: MultiTaskTrainingArguments,
    model_args: ModelArguments,
    data_args: DataArguments,
    metric: str,
    pipeline_tag: str,
) -> None:
    """Write tables of scores, training plots and model cards, and say where they are.

    Several runs, STL's, have theirs in their own folders; their scores are gathered in the folder above.

    Args:
        metric: which metric the tables and plots show.
        pipeline_tag: the problem, as the Hub names it.
    """
    if not finished[0].trainer.is_world_process_zero():
        return
    for one in finished:
        folder = one.run.args.folder
        tables = score_tables([one], metric)
        write_scores(folder, tables, one.run.zero_shot)
        if args.do_train:
            plot_training(one.trainer.state.log_history, metric, folder / TRAINING_PLOT, args.method)
            write_model_card(
                one.trainer,
                folder,
                pipeline_tag=pipeline_tag,
                base_model=str(model_args.model_name_or_path),
                dataset_name=data_args.dataset_name,
                tables=tables,
                zero_shot=one.run.zero_shot,
                metric=metric,
            )
    folder = args.folder
    if len(finished) > 1:
        _gather_results(finished, folder)
        write_scores(folder, score_tables(finished, metric), zero_shot=[])
    print("\n" + (folder / SCORES_FILE).read_text(encoding="utf-8"))
    for one in finished:
        if args.do_train:
            print(f"Model, card (README.md) and plot ({TRAINING_PLOT}) are in {one.run.args.output_dir}")


def score_tables(finished: Sequence[FinishedRun], metric: str) -> dict[str, dict[str, dict[str, float]]]:
    """For each split that was evaluated a row of scores, under one for the start if that was evaluated too."""
    metrics = {name: value for one in finished for name, value in one.metrics.items()}
    start = {
        name: value
        for one in finished
        for entry in one.trainer.state.log_history
        if entry["step"] == 0
        for name, value in entry.items()
    }
    tables: dict[str, dict[str, dict[str, float]]] = {}
    for split, prefix in (("validation", "eval"), ("test", "predict")):
        tasks = list(dict.fromkeys(task for one in finished for task in one.run.tasks.get(split, ())))
        rows = {"before training": start, finished[0].trainer.method: metrics}
        scored = {name: scores_by_task(values, prefix, tasks, metric) for name, values in rows.items()}
        if any(scored.values()):
            tables[split] = {name: scores for name, scores in scored.items() if scores}
    return tables


def _gather_results(finished: Sequence[FinishedRun], folder: Path) -> None:
    """Write each split's metrics of all runs, with their averages, as one trainer would have written them."""
    metrics = {name: value for one in finished for name, value in one.metrics.items()}
    for split, prefix in (("validation", "eval"), ("test", "predict")):
        tasks = [task for one in finished for task in one.run.tasks.get(split, ())]
        own = {name: v for name, v in metrics.items() if any(name.startswith(f"{prefix}_{task}_") for task in tasks)}
        if own:
            text = json.dumps(own | average_over_tasks(own, tasks, prefix), indent=4, sort_keys=True)
            (folder / f"{prefix}_results.json").write_text(text + "\n", encoding="utf-8")
