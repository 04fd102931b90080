"""Finished output folders, read back."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard
from transformers.trainer import TRAINER_STATE_NAME
from transformers.utils import CONFIG_NAME

from ..errors import InputError
from ..methods import method_class
from ..models.multi_head_folder import heads_in
from ..models.offline_encoder import OFFLINE_ENCODER
from ..problems.image_classification import ImageClassification
from ..problems.multiple_choice import MultipleChoice
from ..problems.problem import Problem
from ..problems.question_answering import QuestionAnswering
from ..problems.sequence_classification import SequenceClassification
from ..problems.token_classification import TokenClassification
from ..publishing.file_names import CARD_FILE, TRAINING_ARGUMENTS_FILE
from ..publishing.model_card import OFFLINE_MARK
from ..scores import AVERAGE, SCORES_JSON, Metric, ScoreTables
from ..training.setting import settings_of
from ..training.training_args import MultiTaskTrainingArguments
from .saved_json import are_texts, check, is_nested, read_object, without_null

RESULTS_JSON = "all_results.json"
COUNTS = ("train_samples", "eval_samples", "predict_samples")
"""Numbers of examples among the results, all tasks together."""
DRAWS = "draws/"
ADAPTER_CONFIG = "adapter_config.json"
PROBLEMS: dict[str, type[Problem]] = {
    "ForTokenClassification": TokenClassification,
    "ForSequenceClassification": SequenceClassification,
    "ForQuestionAnswering": QuestionAnswering,
    "ForMultipleChoice": MultipleChoice,
    "ForImageClassification": ImageClassification,
}
"""The problem, by what a model's class is called."""
PROBLEMS_OF_ADAPTERS: dict[str, type[Problem]] = {
    "TOKEN_CLS": TokenClassification,
    "SEQ_CLS": SequenceClassification,
    "QUESTION_ANS": QuestionAnswering,
}
"""The problem, by PEFT's name for it."""
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

    @property
    def draws_per_step(self) -> float | None:
        """Gradient computations of an optimizer step, all processes together; `None` where no loss was logged."""
        steps = [entry["step"] for entry in self.log if _draws([entry])]
        return sum(_draws(self.log).values()) / steps[-1] if steps else None

    def setting(self, name: str) -> Any:
        """A training argument: as given, or the default, which for `inner_steps` and some others is the method's."""
        value = self.arguments.get(name, _DEFAULTS[name])
        return getattr(method_class(self.method), f"default_{name}", None) if value is None else value

    @property
    def settings(self) -> dict[str, Any]:
        """What the result depends on, seeds aside: the problem, the data, the start and the training arguments."""
        given = {name: value for name, value in self.arguments.items() if _has_effect(name)}
        own = {name: self.setting(name) for name in MAIN_SETTINGS}
        data = {"problem": self.problem, "metric": self.metric.name, "tasks": self.tasks}
        return data | {"train_samples": self.train_samples, "base_model": self.base_model} | given | own

    def score(self, split: str = "test", task: str = AVERAGE) -> float | None:
        """The final score, as a fraction, of one task or on average; `None` where there is none."""
        return self.scores.get(split, {}).get(self.method, {}).get(task)


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
        scores, zero_shot, metric = _read_scores(folder)
        runs = [_read_model(model) for model in of_stl]
        counts = {n: sum(r.results[n] for r in runs) for n in COUNTS if all(n in r.results for r in runs)}
        tasks = [model.name for model in of_stl]
        return replace(
            runs[0], folder=folder, scores=scores, results=_read_results(folder) | counts, zero_shot=zero_shot,
            tasks=tasks, languages=tasks, log=[], train_samples=counts.get("train_samples"),
            metric=metric or runs[0].metric, is_gathered=True,
        )  # fmt: skip
    raise InputError(
        f"{folder} has no {TRAINING_ARGUMENTS_FILE}, so no training has finished there. Give the --output_dir of a "
        f"finished run with --do_train."
    )


def _read_model(folder: Path) -> SavedRun:
    arguments = _read_arguments(folder)
    is_adapter = (folder / ADAPTER_CONFIG).is_file()
    problems = [] if is_adapter else _problems_of_heads(folder)
    if not problems:
        problems = [_problem(read_object(folder / (ADAPTER_CONFIG if is_adapter else CONFIG_NAME)), folder)]
    scores, zero_shot, metric = _read_scores(folder) if (folder / SCORES_JSON).is_file() else ({}, [], None)
    languages, base_model, evaluated_on = _read_card(folder) if (folder / CARD_FILE).is_file() else ([], None, None)
    log, results = _read_log(folder), _read_results(folder)
    return SavedRun(
        folder=folder,
        method=arguments.get("method", _DEFAULTS["method"]),
        problem=", ".join(dict.fromkeys(problem.pipeline_tag for problem in problems)),
        seed=arguments.get("seed", _DEFAULTS["seed"]),
        arguments=arguments,
        scores=scores,
        results=results,
        train_samples=results.get("train_samples"),
        zero_shot=zero_shot,
        tasks=list(_draws(log)),
        languages=languages,
        base_model=base_model,
        evaluated_on=evaluated_on,
        log=log,
        metric=metric or problems[0].metric,
        is_adapter=is_adapter,
    )


def _read_arguments(folder: Path) -> dict[str, Any]:
    path = folder / TRAINING_ARGUMENTS_FILE
    arguments = read_object(path)
    method = arguments.get("method", _DEFAULTS["method"])
    check(isinstance(method, str), path, "`method` is not a text")
    check(isinstance(arguments.get("seed", 0), int), path, "`seed` is not a whole number")
    for name in MAIN_SETTINGS[1:]:
        check(is_nested(arguments.get(name)), path, f"`{name}` is not a number")
    try:
        method_class(method)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return arguments


def _read_log(folder: Path) -> list[dict[str, Any]]:
    path = folder / TRAINER_STATE_NAME
    log = read_object(path).get("log_history", [])
    check(isinstance(log, list) and all(map(_is_logged, log)), path, "`log_history` is not a log of steps")
    return [without_null(entry) for entry in log]


def _read_results(folder: Path) -> dict[str, float]:
    path = folder / RESULTS_JSON
    results = read_object(path) if path.is_file() else {}
    check(is_nested(results, 1), path, "it is not a table of numbers")
    return without_null(results)


def _problems_of_heads(folder: Path) -> list[type[Problem]]:
    """The problems of a model with several heads; empty where there is none."""
    return [_problem(read_object(folder / head / CONFIG_NAME), folder / head) for head in heads_in(folder) or []]


def _problem(config: Mapping[str, Any], folder: Path) -> type[Problem]:
    kinds = (config.get("architectures") or [], [config.get("task_type") or ""])
    check(all(map(are_texts, kinds)), folder, "`architectures` or `task_type` of its model are not texts")
    if (kind := config.get("task_type")) in PROBLEMS_OF_ADAPTERS:
        return PROBLEMS_OF_ADAPTERS[kind]
    architecture = " ".join(config.get("architectures") or [])
    for name, problem in PROBLEMS.items():
        if name in architecture:
            return problem
    raise InputError(
        f"{folder}: its model is {architecture or kind or 'of no named class'}; runs of this package's scripts can be "
        f"read."
    )


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


def _read_scores(folder: Path) -> tuple[ScoreTables, list[str], Metric | None]:
    """The scores, the zero-shot tasks, and the metric where the file names it."""
    path = folder / SCORES_JSON
    content = read_object(path)
    tables, zero_shot = content.get("scores", {}), content.get("zero_shot", [])
    check(is_nested(tables, 3), path, "`scores` are not tables of numbers")
    check(are_texts(zero_shot), path, "`zero_shot` is not a list of texts")
    scores = {split: {name: without_null(row) for name, row in rows.items()} for split, rows in tables.items()}
    return scores, zero_shot, _metric(content["metric"], path) if "metric" in content else None


def _metric(content: Any, path: Path) -> Metric:
    named: dict[str, Any] = content if isinstance(content, dict) else {}
    name, perfect, of_tasks = named.get("name"), named.get("perfect", 0), named.get("of_tasks", {})
    problems = named.get("problems", {})
    is_metric = isinstance(name, str) and isinstance(perfect, int | float) and perfect > 0
    are_tables = all(isinstance(table, dict) and are_texts([*table.values()]) for table in (of_tasks, problems))
    check(is_metric and are_tables, path, "`metric` is none")
    return Metric(str(name), perfect, tuple(of_tasks.items()), tuple(problems.items()))


def _is_logged(entry: Any) -> bool:
    if not (is_nested(entry, 1) and isinstance(entry.get("step"), int)):
        return False
    return entry["step"] > 0 or not _draws([entry])


def _has_effect(name: str) -> bool:
    return name not in WITHOUT_EFFECT and not name.startswith(BEGIN_WITHOUT_EFFECT)
