"""What the model in a finished folder is: its problem, and its adapters."""

from pathlib import Path
from typing import Any

from transformers.utils import CONFIG_NAME

from ..models.adapters import ADAPTER_CONFIG, MODEL_CONFIG
from ..problems.image_classification import ImageClassification
from ..problems.multiple_choice import MultipleChoice
from ..problems.problem import Problem
from ..problems.question_answering import QuestionAnswering
from ..problems.sequence_classification import SequenceClassification
from ..problems.token_classification import TokenClassification
from .saved_json import are_texts, check, read_object

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


def problem_of(folder: Path) -> type[Problem] | None:
    """The problem of a model with one head, or of adapters, which may lack the configuration of the whole.

    `None` for a model of another class than those of the scripts.
    """
    config = _read_config(folder)
    if (kind := config.get("task_type")) in PROBLEMS_OF_ADAPTERS:
        return PROBLEMS_OF_ADAPTERS[kind]
    architecture = " ".join(config.get("architectures") or [])
    return next((problem for name, problem in PROBLEMS.items() if name in architecture), None)


def name_of_problem(folder: Path, problem: type[Problem] | None) -> str:
    """As the Hub names it; of a model of another class that class."""
    if problem is not None:
        return problem.pipeline_tag
    return " ".join(_read_config(folder).get("architectures") or []) or "other-problems"


def _read_config(folder: Path) -> dict[str, Any]:
    """The configuration of a model; empty for one that is none of transformers."""
    names = (CONFIG_NAME, MODEL_CONFIG, ADAPTER_CONFIG)
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    config = {} if path is None else read_object(path)
    kinds = (config.get("architectures") or [], [config.get("task_type") or ""])
    check(all(map(are_texts, kinds)), folder, "`architectures` or `task_type` of its model are not texts")
    return config


def read_adapters(folder: Path) -> dict[str, Any]:
    """What the results of LoRA's adapters depend on, under the names of the command line."""
    config = read_object(folder / ADAPTER_CONFIG)
    names = {"lora_r": "r", "lora_alpha": "lora_alpha", "lora_dropout": "lora_dropout"}
    layers = config.get("target_modules")
    ends = sorted({str(layer).rpartition(".")[2] for layer in layers}) if isinstance(layers, list) else None
    values = {name: config[key] for name, key in names.items() if isinstance(config.get(key), int | float)}
    kind = {"LORA": "LoRA"}.get(str(config.get("peft_type")), str(config.get("peft_type")))
    return {"adapters": kind} | values | ({"lora_target_modules": ends} if ends else {})
