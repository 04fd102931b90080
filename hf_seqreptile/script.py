"""What the scripts have in common: which models a command trains, and what is done with each."""

import copy
import json
import logging
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import transformers
from datasets import Dataset
from transformers.trainer_utils import PredictionOutput
from transformers.utils import SAFE_WEIGHTS_NAME

from .checkpoints import failed_writes_explained, last_complete_checkpoint
from .data.arguments import DataArguments
from .data.text import escaped
from .errors import InputError
from .heads.head import Head, Splits, Tasks
from .hub_repository import PushError, repository_name
from .json_text import parse_json
from .methods import method_class
from .model_loading import ModelArguments
from .plots import plot_training
from .publishing import CARD_FILE, TRAINING_PLOT, write_model_card
from .scores import SCORES_FILE, Metric, average_over_tasks, scores_by_task, write_scores
from .task_datasets import count_examples
from .trainer import MultiTaskMixin
from .training_args import TRAINING_ARGUMENTS_FILE, MultiTaskTrainingArguments

logger = logging.getLogger(__name__)

WritePredictions = Callable[[Path, str, str, PredictionOutput, Dataset], None]
"""[`Head.write_predictions`]."""


@contextmanager
def bad_input_exits() -> Iterator[None]:
    """End the process with the message and code 2, without a traceback, on what the user can mend.

    That is bad input, and what the file system refuses: a full disk, a folder that is a file. A push that failed has
    code 3: the model is finished, nothing is to be run again. Ctrl-C ends it with code 130, as a shell reports it.
    """
    try:
        yield
    except (InputError, OSError) as error:
        # Messages of libraries quote files as they are.
        print(escaped(f"error: {error}", kept="\n"), file=sys.stderr)
        sys.exit(3 if isinstance(error, PushError) else 2)
    except KeyboardInterrupt as interrupt:
        print(f"\nInterrupted. {interrupt}".rstrip(), file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def trainer_class(args: MultiTaskTrainingArguments) -> type[MultiTaskMixin]:
    """The trainer of `args.method`, after checking that `args` suit it and ask for something to do."""
    chosen = method_class(args.method)
    chosen.check_arguments(args)
    if not (args.do_train or args.do_eval or args.do_predict):
        raise InputError("Nothing to do: add --do_train, --do_eval or --do_predict.")
    if args.push_to_hub and not args.do_train:
        raise InputError(
            "--push_to_hub publishes what --do_train trains; add that, or push a finished folder (docs/publishing.md)."
        )
    return chosen


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
    """One model to train or evaluate: its arguments and raw datasets.

    Args:
        args: of the training.
        tasks: raw datasets by split and task.
        languages: what is trained on; it may be split into tasks that have other names.
    """

    args: MultiTaskTrainingArguments
    tasks: Splits
    languages: Sequence[str]

    @property
    def zero_shot(self) -> list[str]:
        """Tasks that are evaluated but not trained on."""
        evaluated = [*self.tasks.get("validation", ()), *self.tasks.get("test", ())] if self.languages else []
        return [task for task in dict.fromkeys(evaluated) if task not in self.languages]


def plan_runs(args: MultiTaskTrainingArguments, tasks: Splits, languages: Sequence[str]) -> list[Run]:
    """One run; for STL one for each training task, in a folder of that name and, if it is pushed, a repository.

    Args:
        args: of the training.
        tasks: raw datasets by split and task.
        languages: what is trained on.
    """
    if args.method != "stl" or "train" not in tasks:
        return [Run(args, tasks, languages)]
    if left_out := Run(args, tasks, languages).zero_shot:
        logger.warning("--method stl scores each model on its own language alone; left out: %s.", ", ".join(left_out))
    runs = []
    for task in tasks["train"]:
        if lacking := [split for split, data in tasks.items() if task not in data]:
            raise InputError(
                f"--method stl scores each model on its own language, but {task!r} has no {lacking[0]} data here; "
                f"name it in --eval_languages."
            )
        if Path(task).suffix in (".json", ".md"):
            raise InputError(
                f"--method stl gives each task a folder in {args.folder}, where a file could be called {task!r}; "
                f"rename the task."
            )
        own = copy.copy(args)
        own.output_dir = str(args.folder / task)
        own.hub_model_id = repository_name(args, f"-{task}") if args.push_to_hub else None
        runs.append(Run(own, {split: {task: data[task]} for split, data in tasks.items()}, [task]))
    return runs


def train(trainer: MultiTaskMixin) -> None:
    """Train from the start or from the newest complete checkpoint, and save the model, metrics and state."""
    folder = trainer.args.folder
    checkpoint = trainer.args.resume_from_checkpoint
    if checkpoint is None and (newest := last_complete_checkpoint(folder)):
        checkpoint = str(newest)
        if trainer.is_world_process_zero():
            print(f"Continuing from {newest}. For a new run, choose another --output_dir.", flush=True)
    if checkpoint is None and (folder / SAFE_WEIGHTS_NAME).exists() and not _is_left_unfinished(trainer.args):
        raise InputError(f"--output_dir {folder} holds a finished model already; choose another folder.")
    # A folder that cannot be written into is found out now, and not when the first checkpoint is due.
    with failed_writes_explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    try:
        result = trainer.train(resume_from_checkpoint=checkpoint)
    except KeyboardInterrupt:
        newest = last_complete_checkpoint(folder)
        where = f"continues from {newest}" if newest else "starts anew: there is no checkpoint yet"
        raise KeyboardInterrupt(f"The same command {where}.") from None
    if trainer.is_world_process_zero():
        # Before the model, so that it says whose model this is if the run ends now.
        with failed_writes_explained(folder):
            trainer.args.save(folder)
    trainer.save_model()
    metrics = dict(result.metrics) | {"train_samples": len(trainer.tasks or ())}
    trainer.save_metrics("train", metrics)
    trainer.save_state()


def _is_left_unfinished(args: MultiTaskTrainingArguments) -> bool:
    """Whether a run with the same arguments ended between saving its model and writing the card, its last file."""
    if (args.folder / CARD_FILE).exists():
        return False
    try:
        before = parse_json((args.folder / TRAINING_ARGUMENTS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return before == json.loads(json.dumps(args.changed_arguments(), default=str))


def evaluate(trainer: MultiTaskMixin, tasks: Tasks, write: WritePredictions) -> dict[str, float]:
    """Metrics and predictions of every task's validation split; the metrics are saved as `eval_results.json`."""

    def save(task: str, prediction: PredictionOutput) -> None:
        _write_predictions(trainer, write, "eval", tasks, task, prediction)

    metrics = trainer.evaluate(dict(tasks), on_prediction=save) | {"eval_samples": _examples(tasks)}
    trainer.save_metrics("eval", metrics)
    return metrics


def predict(trainer: MultiTaskMixin, tasks: Tasks, write: WritePredictions) -> dict[str, float]:
    """Predictions for every task's test split, and their metrics, saved as `predict_results.json`."""
    metrics: dict[str, float] = {}
    for task, dataset in tasks.items():
        prediction = trainer.predict(dataset, metric_key_prefix=f"predict_{task}")
        metrics |= prediction.metrics or {}
        _write_predictions(trainer, write, "predict", tasks, task, prediction)
    metrics |= average_over_tasks(metrics, list(tasks), "predict")
    metrics |= {"predict_samples": _examples(tasks)}
    trainer.save_metrics("predict", metrics)
    return metrics


def _write_predictions(
    trainer: MultiTaskMixin, write: WritePredictions, stage: str, tasks: Tasks, task: str, prediction: PredictionOutput
) -> None:
    if trainer.is_world_process_zero():
        write(trainer.args.folder, stage, f"_{task}" if len(tasks) > 1 else "", prediction, tasks[task])


def _examples(tasks: Tasks) -> int:
    return sum(map(count_examples, tasks.values()))


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
        rows = {"before training": start, args.method: metrics} if args.do_train else {"model": metrics}
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
