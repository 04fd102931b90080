"""Words with tags, and the problem that they make up, for the tests of its files."""

from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, Features, List, Value
from transformers import EvalPrediction

from hf_seqreptile.problems.token_classification import TokenClassification, TokenClassificationArguments

WORDS = ["Juma", "Odhiambo", "alitembelea", "Nairobi", "jana"]
TAGS = ["B-PER", "I-PER", "O", "B-LOC", "O"]
IGNORED = -100


def data(*rows: tuple[list[str], list[str]], **columns: str) -> Dataset:
    text, tags = columns.get("text", "tokens"), columns.get("tags", "ner_tags")
    return Dataset.from_dict({text: [row[0] for row in rows], tags: [row[1] for row in rows]})


def problem(train: Dataset | dict[str, Dataset] | None = None, **options: Any) -> TokenClassification:
    train = data((WORDS, TAGS)) if train is None else train
    tasks = {"train": train if isinstance(train, dict) else {"sw": train}}
    return TokenClassification(tasks, TokenClassificationArguments(**options))


def class_labels(*tags: str) -> Features:
    return Features({"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=list(tags)))})


def prediction(its_problem: TokenClassification, rows: list[list[tuple[str | None, str]]]) -> EvalPrediction:
    """Of true and predicted tags; `None` is a subword without a tag."""
    width = max(map(len, rows))
    ids = its_problem.label2id
    true = [[IGNORED if t is None else ids[t] for t, _ in row] + (width - len(row)) * [IGNORED] for row in rows]
    found = [[ids[p] for _, p in row] + (width - len(row)) * [0] for row in rows]
    return EvalPrediction(predictions=np.array(found), label_ids=np.array(true))
