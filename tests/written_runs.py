"""Finished output folders, written as the scripts write them, with scores of one's choice."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_seqreptile.analysis.runs import SavedRun, read_run
from hf_seqreptile.scores import AVERAGE, Metric, Scores, write_scores

CLASSES = {
    "token-classification": "BertForTokenClassification",
    "text-classification": "BertForSequenceClassification",
    "question-answering": "BertForQuestionAnswering",
}


METRICS = {
    "token-classification": Metric("f1"),
    "text-classification": Metric("accuracy"),
    "question-answering": Metric("f1", perfect=100),
}


CARD = """---
model-index:
- name: m
  results:
  - task: {{type: token-classification}}
    dataset: {{name: d, type: {}}}
    metrics: [{{type: f1, value: 0.5}}]
---
"""


def write_run(
    folder: Path,
    method: str,
    scores: Scores,
    *,
    seed: int = 1,
    zero_shot: Sequence[str] = (),
    start: Scores | None = None,
    split: str = "test",
    problem: str = "token-classification",
    results: Mapping[str, float] | None = None,
    trained: Sequence[str] | None = None,
    evaluated_on: str | None = None,
    **arguments: Any,
) -> SavedRun:
    """Write a folder, and read it.

    Args:
        folder: where to.
        method: as typed.
        scores: by task, as fractions, without the average.
        seed: of the run.
        zero_shot: the tasks among them that have no training examples.
        start: as `scores`, before training.
        split: which the scores are of.
        problem: of the model.
        results: all_results.json.
        trained: the tasks that the log names. Default: those that are not zero-shot.
        evaluated_on: what the model card's metadata name the scores' dataset. Default: there is no card.
        arguments: further ones of the training.
    """
    rows = ({} if start is None else {"before training": _averaged(start)}) | {method: _averaged(scores)}
    write_scores(folder, {split: rows}, zero_shot, METRICS[problem])
    trained = [task for task in scores if task not in zero_shot] if trained is None else trained
    for name, content in {
        "training_args.json": {"method": method, "seed": seed, **arguments},
        "config.json": {"architectures": [CLASSES[problem]], "model_type": "bert"},
        "trainer_state.json": {"log_history": [{"step": 2, **{f"draws/{task}": 1.0 for task in trained}}]},
        "all_results.json": dict(results or {}),
    }.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    if evaluated_on is not None:
        (folder / "README.md").write_text(CARD.format(evaluated_on), encoding="utf-8")
    return read_run(folder)


def write_stl(folder: Path, scores: Scores, seed: int = 1, results: Mapping[str, float] | None = None) -> SavedRun:
    """Write STL's folders, one for each task with these results, and read the one above them."""
    for task, score in scores.items():
        write_run(folder / task, "stl", {task: score}, seed=seed, results=results)
    write_scores(folder, {"test": {"stl": _averaged(scores)}}, [], METRICS["token-classification"])
    return read_run(folder)


def _averaged(scores: Scores) -> dict[str, float]:
    return dict(scores) | {AVERAGE: sum(scores.values()) / len(scores)}
