"""What the scripts have in common: which models a command trains, and how each is trained, evaluated and used."""

import copy
import json
import logging
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import transformers
from transformers import TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PredictionOutput

from ..errors import InputError
from ..json_text import parse_json
from ..methods import method_class
from ..models.multi_head_folder import holds_model
from ..problems.problem import Problem, Splits, Tasks
from ..publishing.file_names import CARD_FILE, TRAINING_ARGUMENTS_FILE
from ..publishing.hub_repository import repository_name
from ..scores import SCORES_FILE, SCORES_JSON, average_over_tasks
from ..training.backends import refuse_unsupported_backends
from ..training.checkpoints import failed_writes_explained, last_complete_checkpoint
from ..training.task_datasets import count_examples
from ..training.trainer import MultiTaskMixin
from ..training.training_args import MultiTaskTrainingArguments

logger = logging.getLogger(__name__)


def trainer_class(args: MultiTaskTrainingArguments) -> type[MultiTaskMixin]:
    """The trainer of `args.method`, after checking that `args` suit it and ask for something to do."""
    chosen = method_class(args.method)
    chosen.check_arguments(args)
    refuse_unsupported_backends(args)
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
    budget = args.max_gradient_computations
    if budget is not None and budget < len(tasks["train"]):
        raise InputError(
            f"--max_gradient_computations {budget} are to be shared by {len(tasks['train'])} models; raise it."
        )
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
        own.max_gradient_computations = None if budget is None else budget // len(tasks["train"])
        own.task_batch_sizes = [size for size in args.task_batch_sizes or () if size.startswith(f"{task}=")] or None
        runs.append(Run(own, {split: {task: data[task]} for split, data in tasks.items()}, [task]))
    return runs


def counts_of(problem: Problem, split: str, tasks: Iterable[str]) -> dict[str, dict[str, int]]:
    """What the problem counted in a split, by task."""
    found = {task: problem.of_task(task).counts.get(split, {}).get(task, {}) for task in tasks}
    return {task: dict(own) for task, own in found.items() if own}


def _count_metrics(problem: Problem, split: str, prefix: str, tasks: Iterable[str]) -> dict[str, float]:
    counts = counts_of(problem, split, tasks)
    return {f"{prefix}_{task}_{name}": number for task, own in counts.items() for name, number in own.items()}


def train(trainer: MultiTaskMixin, problem: Problem) -> None:
    """Train from the start or from the newest complete checkpoint, and save the model, metrics and state."""
    folder = trainer.args.folder
    checkpoint = trainer.args.resume_from_checkpoint
    if checkpoint is None and (newest := last_complete_checkpoint(folder)):
        checkpoint = str(newest)
        if trainer.is_world_process_zero():
            print(f"Continuing from {newest}. For a new run, choose another --output_dir.", flush=True)
    if checkpoint is None and holds_model(folder) and not _is_left_unfinished(trainer.args):
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
    if checkpoint and (folder / CARD_FILE).exists():
        before = TrainerState.load_from_json(str(Path(checkpoint) / TRAINER_STATE_NAME))
        if before.global_step == result.global_step:
            # The run had finished: what it left is right, and its time would now be that of no step.
            return
    if trainer.is_world_process_zero():
        # Before the model, so that it says whose model this is if the run ends now.
        with failed_writes_explained(folder):
            for stale in (CARD_FILE, SCORES_FILE, SCORES_JSON):
                (folder / stale).unlink(missing_ok=True)
            trainer.run_args.save(folder)
    trainer.save_model()
    sizes = trainer.tasks.sizes if trainer.tasks is not None else {}
    metrics = dict(result.metrics) | {"train_samples": len(trainer.tasks or ())}
    metrics |= {f"train_{task}_samples": size for task, size in sizes.items()}
    metrics |= _count_metrics(problem, "train", "train", sizes)
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


def evaluate(trainer: MultiTaskMixin, tasks: Tasks, problem: Problem, with_sums: bool = False) -> dict[str, float]:
    """Metrics and predictions of every task's validation split; the metrics are saved as `eval_results.json`.

    Args:
        trainer: whose model.
        tasks: features of the split.
        problem: of the tasks.
        with_sums: write what each example adds to its task's main metric, too. Default: do not.
    """

    def save(task: str, prediction: PredictionOutput) -> None:
        _write_predictions(trainer, problem, "eval", tasks, task, prediction, with_sums)

    metrics = trainer.evaluate(dict(tasks), on_prediction=save) | {"eval_samples": _examples(tasks)}
    metrics |= _count_metrics(problem, "validation", "eval", tasks)
    trainer.save_metrics("eval", metrics)
    return metrics


def predict(trainer: MultiTaskMixin, tasks: Tasks, problem: Problem, with_sums: bool = False) -> dict[str, float]:
    """Predictions for every task's test split, and their metrics, saved as `predict_results.json`; as [`evaluate`]."""
    metrics: dict[str, float] = {}
    for task, dataset in tasks.items():
        prediction = trainer.predict(dataset, metric_key_prefix=f"predict_{task}", task=task)
        metrics |= prediction.metrics or {}
        _write_predictions(trainer, problem, "predict", tasks, task, prediction, with_sums)
    metrics |= average_over_tasks(metrics, list(tasks), "predict")
    metrics |= {"predict_samples": _examples(tasks)}
    metrics |= _count_metrics(problem, "test", "predict", tasks)
    trainer.save_metrics("predict", metrics)
    return metrics


def _write_predictions(
    trainer: MultiTaskMixin,
    problem: Problem,
    stage: str,
    tasks: Tasks,
    task: str,
    prediction: PredictionOutput,
    with_sums: bool,
) -> None:
    if trainer.is_world_process_zero():
        own, folder, suffix = problem.of_task(task), trainer.args.folder, f"_{task}" if len(tasks) > 1 else ""
        own.write_predictions(folder, stage, suffix, prediction, tasks[task])
        sums = own.example_sums(prediction, tasks[task]) if with_sums else None
        if sums is not None:
            (folder / f"{stage}_example_sums{suffix}.json").write_text(sums.as_json(task), encoding="utf-8")


def _examples(tasks: Tasks) -> int:
    return sum(map(count_examples, tasks.values()))
