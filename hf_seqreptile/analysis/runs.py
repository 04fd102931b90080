"""Finished output folders, read back."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ..errors import InputError
from ..methods import METHODS
from ..models.adapters import ADAPTER_CONFIG
from ..models.multi_head_folder import heads_in
from ..models.offline_encoder import OFFLINE_ENCODER
from ..publishing.file_names import CARD_FILE, TRAINING_ARGUMENTS_FILE
from ..publishing.model_card import OFFLINE_MARK
from ..scores import AVERAGE, SCORES_JSON, Metric, ScoreTables
from ..training.setting import settings_of
from ..training.training_args import MultiTaskTrainingArguments
from .saved_json import are_texts, check, is_nested, read_object, without_null
from .saved_model import name_of_problem, problem_of, read_adapters
from .saved_scores import read_scores, scores_of_evaluations

RESULTS_JSON = "all_results.json"
COUNTS = ("train_samples", "eval_samples", "predict_samples")
"""Numbers of examples among the results, all tasks together."""
DRAWS = "draws/"
BEGIN_WITHOUT_EFFECT = (
    "do_", "eval_", "hub_", "log_", "logging_", "push_", "report_", "run_", "save_", "dataloader_", "trackio_",
)  # fmt: skip
WITHOUT_EFFECT = {name for name, one in settings_of(MultiTaskTrainingArguments).items() if one.is_place} | {
    "seed", "data_seed", "disable_tqdm", "use_cpu", "include_num_input_tokens_seen", "debug", "project",
    "per_device_eval_batch_size",
}  # fmt: skip
"""Arguments, the former by how they begin, that two runs of one setting may differ in."""
MAIN_SETTINGS = ("method", "learning_rate", "inner_steps", "outer_learning_rate", "tasks_per_step")
"""Arguments whose defaults are filled in, since writing a default out changes nothing."""


@dataclass(frozen=True)
class SavedRun:
    """A finished output folder.

    Args:
        folder: the folder, as given.
        method: as typed on the command line.
        problem: `token-classification`, `text-classification`, …; of several heads all of them.
        seed: of the run.
        arguments: those that were not left at their defaults (training_args.json); [`setting`] knows the defaults too.
        scores: for each split its rows of scores, as fractions; the method's own row has its name. Empty where
            nothing was evaluated.
        results: all metrics, as the trainer named them (all_results.json).
        train_samples: training examples, all tasks together; `None` where the folder does not say.
        zero_shot: evaluated tasks without training examples.
        tasks: what was trained on, in the order of the log; empty where no training loss was logged.
        languages: what was trained on, where the model card names it; one that was split has no task of its name.
        base_model: what was fine-tuned, where the model card names it: a name on the Hub, or the offline encoder's.
        evaluated_on: what the scores are of, where the model card names it: a name on the Hub, `sample` or
            `local-files`.
        log: the trainer's log history.
        metric: which metric the scores are.
        is_gathered: the folder above those of STL's models: it has scores, but neither a model nor a log.
        is_adapter: the folder holds PEFT's adapters, not a whole model.
        adapters: the settings of LoRA's adapters.
        steps: optimizer steps of the run, of STL of all its models together; `None` where the folder does not say.
        gradients: gradient computations, of all processes together: M × steps; likewise.
    """

    folder: Path
    method: str
    problem: str
    seed: int
    arguments: Mapping[str, Any]
    scores: ScoreTables
    results: Mapping[str, float]
    train_samples: float | None
    zero_shot: list[str]
    tasks: list[str]
    languages: list[str]
    base_model: str | None
    evaluated_on: str | None
    log: list[dict[str, Any]]
    metric: Metric
    is_gathered: bool = False
    is_adapter: bool = False
    adapters: Mapping[str, Any] = field(default_factory=dict)
    steps: int | None = None
    gradients: float | None = None

    @property
    def draws_per_step(self) -> float | None:
        """Gradient computations of an optimizer step, all processes together; `None` where no loss was logged."""
        steps = [entry["step"] for entry in self.log if _draws([entry])]
        return sum(_draws(self.log).values()) / steps[-1] if steps else None

    def setting(self, name: str) -> Any:
        """An argument of training or adapters: as given, or the default, which for some is the method's."""
        value = {**_DEFAULTS, **self.adapters, **self.arguments}.get(name)
        # Of a method of the user's own the defaults are not known.
        method = METHODS.get(self.method.partition(":")[0])
        return getattr(method, f"default_{name}", None) if value is None else value

    @property
    def settings(self) -> dict[str, Any]:
        """What the result depends on, seeds aside: the problem, the data, the start and the training arguments."""
        given = {name: value for name, value in self.arguments.items() if _has_effect(name)}
        own = {name: self.setting(name) for name in MAIN_SETTINGS}
        data: dict[str, Any] = {"problem": self.problem, "metric": self.metric.name, "tasks": self.tasks}
        data |= {"train_samples": self.train_samples, "base_model": self.base_model}
        return data | dict(self.adapters) | given | own

    def score(self, split: str = "test", task: str = AVERAGE) -> float | None:
        """The final score, as a fraction, of one task or on average; `None` where there is none."""
        return self.scores.get(split, {}).get(self.method, {}).get(task)

    def needed_score(self, split: str, task: str) -> float:
        """As [`score`], of one task.

        Raises:
            InputError: there is none.
        """
        score = self.score(split, task)
        if score is None:
            raise InputError(f"{self.folder} has no {split} score of {task!r}.")
        return score


_DEFAULTS: dict[str, Any] = {
    f.name: f.default if f.default_factory is MISSING else f.default_factory()
    for f in fields(MultiTaskTrainingArguments)
    if f.init
}


def read_run(folder: Path) -> SavedRun:
    """Read a finished output folder back.

    Args:
        folder: what a script's `--output_dir` named; of STL that above the languages' own.

    Raises:
        InputError: the folder is none of a finished run, or a file in it cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder. Give the --output_dir of a finished run.")
    if (folder / TRAINING_ARGUMENTS_FILE).is_file():
        return _read_model(folder)
    models = sorted(path.parent for path in folder.glob(f"*/{TRAINING_ARGUMENTS_FILE}"))
    of_stl = [model for model in models if read_object(model / TRAINING_ARGUMENTS_FILE).get("method") == "stl"]
    if of_stl and (folder / SCORES_JSON).is_file():
        runs, results = [_read_model(model) for model in of_stl], _read_results(folder)
        saved = read_scores(folder, "stl", results)
        counts = {n: sum(r.results[n] for r in runs) for n in COUNTS if all(n in r.results for r in runs)}
        tasks = [model.name for model in of_stl]
        return replace(
            runs[0], folder=folder, scores=saved.tables, results=results | counts, zero_shot=saved.zero_shot,
            tasks=tasks, languages=tasks, log=[], train_samples=counts.get("train_samples"),
            metric=saved.metric, is_gathered=True, steps=_sum(run.steps for run in runs),
            gradients=_sum(run.gradients for run in runs),
        )  # fmt: skip
    raise InputError(
        f"{folder} has no {TRAINING_ARGUMENTS_FILE}, so no training has finished there. Give the --output_dir of a "
        f"finished run with --do_train; in Python, trainer.save_model() writes it."
    )


def _read_model(folder: Path) -> SavedRun:
    arguments = _read_arguments(folder)
    is_adapter = (folder / ADAPTER_CONFIG).is_file()
    heads = heads_in(folder) or [""]
    problems = [problem_of(folder / head) for head in heads]
    languages, base_model, evaluated_on = _read_card(folder) if (folder / CARD_FILE).is_file() else ([], None, None)
    results = _read_results(folder)
    log = _read_log(folder, may_lack=bool(results) and not (folder / SCORES_JSON).is_file())
    method, tasks = arguments.get("method", _DEFAULTS["method"]), list(_draws(log))
    if (folder / SCORES_JSON).is_file():
        saved = read_scores(folder, method, results)
    else:
        usual = problems[0].metric if problems[0] is not None else None
        saved = scores_of_evaluations(method, tasks, results, log, arguments, usual)
    named = [name_of_problem(folder / head, problem) for head, problem in zip(heads, problems, strict=True)]
    run = SavedRun(
        folder=folder,
        method=method,
        problem=", ".join(dict.fromkeys(named)),
        seed=arguments.get("seed", _DEFAULTS["seed"]),
        arguments=arguments,
        scores=saved.tables,
        results=results,
        train_samples=results.get("train_samples"),
        zero_shot=saved.zero_shot,
        tasks=tasks,
        languages=languages,
        base_model=base_model,
        evaluated_on=evaluated_on,
        log=log,
        metric=saved.metric,
        is_adapter=is_adapter,
        adapters=read_adapters(folder) if is_adapter else {},
        steps=max((entry["step"] for entry in log), default=None),
    )
    return replace(run, gradients=_gradients(run))


def _gradients(run: SavedRun) -> float | None:
    """As the log counts them, else M × steps."""
    if run.steps is None:
        return None
    each = run.draws_per_step
    if each is None:
        each = run.setting("tasks_per_step") if not run.setting("all_tasks_each_step") else None
    return None if each is None else each * run.steps


def _sum(values: Iterable[Any]) -> Any:
    """`None` where one is."""
    given = list(values)
    return None if None in given else sum(given)


def _read_arguments(folder: Path) -> dict[str, Any]:
    path = folder / TRAINING_ARGUMENTS_FILE
    arguments = read_object(path)
    method = arguments.get("method", _DEFAULTS["method"])
    check(isinstance(method, str), path, "`method` is not a text")
    check(isinstance(arguments.get("seed", 0), int), path, "`seed` is not a whole number")
    for name in MAIN_SETTINGS[1:]:
        check(is_nested(arguments.get(name)), path, f"`{name}` is not a number")
    return arguments


def _read_log(folder: Path, may_lack: bool) -> list[dict[str, Any]]:
    """The log; of a run in Python that of its newest checkpoint, where it saved no state, or none."""
    path = folder / TRAINER_STATE_NAME
    if may_lack and not path.is_file():
        states = folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*/{TRAINER_STATE_NAME}")
        newest = max(states, key=lambda state: state.stat().st_mtime, default=None)
        if newest is None:
            return []
        path = newest
    log = read_object(path).get("log_history", [])
    check(isinstance(log, list) and all(map(_is_logged, log)), path, "`log_history` is not a log of steps")
    return [without_null(entry) for entry in log]


def _read_results(folder: Path) -> dict[str, float]:
    path = folder / RESULTS_JSON
    results = read_object(path) if path.is_file() else {}
    check(is_nested(results, 1), path, "it is not a table of numbers")
    return without_null(results)


def _draws(log: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """How often each task was drawn by the last step that says so."""
    counted: dict[str, float] = {}
    for entry in log:
        counted |= {key.removeprefix(DRAWS): value for key, value in entry.items() if key.startswith(DRAWS)}
    return counted


def _read_card(folder: Path) -> tuple[list[str], str | None, str | None]:
    path = folder / CARD_FILE
    try:
        card = ModelCard.load(path)
    except Exception as error:
        # The metadata are YAML, whose values raise errors of their own kinds.
        raise InputError(f"{path} cannot be read as a model card: {error}") from error
    base_model = OFFLINE_ENCODER if OFFLINE_MARK in card.text else card.data.base_model
    named = card.data.language or []
    languages = [named] if isinstance(named, str) else named
    check(base_model is None or isinstance(base_model, str), path, "`base_model` is not a text")
    check(are_texts(languages), path, "`language` is not a list of texts")
    results = card.data.eval_results or []
    evaluated_on = results[0].dataset_type if results else None
    check(evaluated_on is None or isinstance(evaluated_on, str), path, "the `type` of a dataset is not a text")
    return languages, base_model, evaluated_on


def _is_logged(entry: Any) -> bool:
    if not (is_nested(entry, 1) and isinstance(entry.get("step"), int)):
        return False
    return entry["step"] > 0 or not _draws([entry])


def _has_effect(name: str) -> bool:
    return name not in WITHOUT_EFFECT and not name.startswith(BEGIN_WITHOUT_EFFECT)
