"""What a model card needs to know of the training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SettingRow = tuple[str, str, Any]
"""A setting in words, its symbol or an empty text, and its value."""


@dataclass(frozen=True)
class TaskFacts:
    """A task that has not all in common with the others.

    Args:
        head: the folder of its model, within the output folder.
        pipeline_tag: its problem, as the Hub names it.
        metric: the name of its main metric.
        dataset: what it was trained and scored on, as given by the user; `None` for local files.
        no_answer_threshold: as in [`write_model_card`].
        texts: likewise.
        languages: what it was trained on, by their codes, where they were named.
    """

    head: str
    pipeline_tag: str
    metric: str
    dataset: str | None = None
    no_answer_threshold: float | None = None
    texts: int = 2
    languages: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainingFacts:
    """A training run, as its trainer knows it.

    Args:
        method: as typed on the command line; the row of scores that are the model's.
        title: of the method.
        description: what an optimizer step was made of, in sentences.
        citation: how the method has to do with the paper that the card cites, up to a colon.
        tags: of the method, for the Hub.
        sizes: N_t, training examples of each task.
        probabilities: p_t of each task.
        draws: batches drawn of each task.
        settings: all that the result depends on.
        model: of transformers, or one of PEFT's with adapters.
        best: the step whose weights these are and the metric that chose it; `None` where they are the last.
    """

    method: str
    title: str
    description: str
    citation: str
    tags: Sequence[str]
    sizes: Mapping[str, int]
    probabilities: Mapping[str, float]
    draws: Mapping[str, int]
    settings: Sequence[SettingRow]
    model: Any
    best: tuple[int, str] | None = None
