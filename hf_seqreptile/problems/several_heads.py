"""Several problems in one run: tasks of different kinds, each with its head on one encoder."""

import copy
import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from ..data.arguments import DataArguments
from ..errors import InputError
from ..models.loading import ModelArguments, load_head
from ..models.multi_head import MultiHeadModel
from ..scores import SCORE, Metric
from .problem import Problem, Splits, Tasks

Tokenizers = Mapping[str, PreTrainedTokenizerBase]
"""The tokenizer of each head."""


class SeveralHeads(Problem):
    """The problems of a run whose tasks do not all share one head; one whose tasks do is that problem itself.

    Each task is scored by the main metric of its problem. Where these differ, `score` is that metric as a fraction,
    of which there is an average.

    Args:
        problems: by head.
        heads: the head of each task.
        args_of_tasks: a task's own arguments, where they differ from its problem's in sizes. Default: they do not.
        metric_of_tasks: the name of a task's main metric, where it is not its problem's.

    Raises:
        InputError: a metric that the task's problem does not have.
    """

    def __init__(
        self,
        problems: Mapping[str, Problem],
        heads: Mapping[str, str],
        args_of_tasks: Mapping[str, DataArguments] | None = None,
        metric_of_tasks: Mapping[str, str] | None = None,
    ) -> None:
        self.problems = dict(problems)
        self.heads = dict(heads)
        self._args = dict(args_of_tasks or {})
        self._metrics = {}
        for task, name in (metric_of_tasks or {}).items():
            problem = self.problems[self.heads[task]]
            if name not in problem.metric_names:
                known = ", ".join(sorted(problem.metric_names))
                raise InputError(f"Task {task!r}: its problem has no metric {name!r}. Known: {known}.")
            self._metrics[task] = Metric(name, problem.metric.perfect)
        self.notes = [f"{head}: {note}" for head, problem in self.problems.items() for note in problem.notes]
        self.without_effect = {
            name: why for problem in self.problems.values() for name, why in problem.without_effect.items()
        }
        self.has_evaluation_loss = all(  # type: ignore[misc]
            problem.has_evaluation_loss for problem in self.problems.values()
        )
        if self._has_one_head:
            self.pipeline_tag = next(iter(self.problems.values())).pipeline_tag  # type: ignore[misc]
        self._of_task: dict[str, Problem] = {}

    @property
    def tasks_are_languages(self) -> bool:  # type: ignore[override]
        """As in the parent: of some problem they are."""
        return any(problem.tasks_are_languages for problem in self.problems.values())

    @property
    def _has_one_head(self) -> bool:
        return len(self.problems) == 1

    def of_run(self, tasks: Splits) -> Problem:
        """As in the parent; of tasks with one head the problem is that head's."""
        named = {task for of_split in tasks.values() for task in of_split}
        heads = {task: head for task, head in self.heads.items() if task in named}
        problems = {head: self.problems[head] for head in dict.fromkeys(heads.values())}
        args = {task: args for task, args in self._args.items() if task in named}
        metrics = {task: metric.name for task, metric in self._metrics.items() if task in named}
        return SeveralHeads(problems, heads, args, metrics)

    def of_task(self, task: str) -> Problem:
        """As in the parent."""
        if task not in self._of_task:
            own = copy.copy(self.problems[self.heads[task]])
            own.args = self._args.get(task, own.args)
            own.metric = self._metrics.get(task, own.metric)
            self._of_task[task] = own
        return self._of_task[task]

    @property
    def metric(self) -> Metric:  # type: ignore[override]
        """The one that all tasks have, or `score`, which is each one's own."""
        own = {task: self._metrics.get(task, self.problems[head].metric) for task, head in self.heads.items()}
        shared = set(own.values())
        if len(shared) == 1:
            return shared.pop()
        return Metric(
            SCORE,
            of_tasks=tuple((task, metric.name) for task, metric in own.items()),
            problems=tuple((task, self.of_task(task).args.problem) for task in own),
        )

    def head_of(self, task: str) -> str | None:
        """As in the parent."""
        return None if self._has_one_head else self.heads[task]

    @property
    def metric_names(self) -> Collection[str]:
        """As in the parent: those that all tasks have."""
        shared = set.intersection(*(set(problem.metric_names) for problem in self.problems.values()))
        return shared | ({SCORE} if self.metric.of_tasks else set())

    def text_columns(self, task: str, dataset: Dataset) -> tuple[str, ...]:
        """As in the parent."""
        return self.of_task(task).text_columns(task, dataset)

    def load_model(
        self, args: ModelArguments, texts: Callable[[], Iterable[str]], will_train: bool = True
    ) -> tuple[Any, Tokenizers]:
        """As in the parent: a [`MultiHeadModel`], or the plain model of one head, and a tokenizer for each head."""
        models, tokenizers = {}, {}
        for head, problem in self.problems.items():
            own = _arguments_for(problem, args)
            own = own if self._has_one_head else load_head(own, head, problem.has_head, will_train)
            models[head], tokenizers[head] = problem.load_model(own, texts, will_train)
        self._of_task = {}
        if self._has_one_head:
            return next(iter(models.values())), tokenizers
        return MultiHeadModel(models), tokenizers

    def encode(self, tasks: Tasks, tokenizer: Any, split: str) -> dict[str, Dataset]:
        """As in the parent; `tokenizer` is one for each head."""
        encoded: dict[str, Dataset] = {}
        for task, dataset in tasks.items():
            encoded |= self.of_task(task).encode({task: dataset}, tokenizer[self.heads[task]], split)
        return encoded

    def collator(self, tokenizer: Any) -> Any:
        """As in the parent, for each task."""
        return {task: self.of_task(task).collator(tokenizer[head]) for task, head in self.heads.items()}

    def scoring(self) -> dict[str, Any]:
        """As in the parent, for each task."""
        of_tasks = {task: self._scoring_of(task) for task in self.heads}
        names = dict.fromkeys(name for own in of_tasks.values() for name in own)
        return {name: {task: own.get(name) for task, own in of_tasks.items()} for name in names}

    def for_trainer(self, tokenizer: Any) -> dict[str, Any]:
        """As in the parent, with each task's head."""
        given = super().for_trainer(tokenizer)
        if self._has_one_head:
            return given | {"processing_class": next(iter(tokenizer.values()))}
        return given | {"task_heads": self.heads}

    def _scoring_of(self, task: str) -> dict[str, Callable]:
        own = self.of_task(task)
        scoring = own.scoring()
        if not self.metric.of_tasks:
            return scoring
        wrapped = {
            name: partial(_with_score, scoring[name], own.metric)
            for name in ("compute_metrics", "compute_dataset_metrics")
            if name in scoring
        }
        return scoring | wrapped


def several_heads(
    problem_class: type[Problem], rows: Splits, args: DataArguments, heads: Mapping[str, str]
) -> SeveralHeads:
    """The problems of a run of one kind, whose tasks have heads of their own.

    Args:
        problem_class: the kind.
        rows: all raw rows of all tasks, by split.
        args: of the problem.
        heads: the head of each task.
    """
    return SeveralHeads(
        {head: problem_class(tasks_of_head(rows, heads, head), args) for head in dict.fromkeys(heads.values())}, heads
    )


def tasks_of_head(rows: Splits, heads: Mapping[str, str], head: str) -> dict[str, dict[str, Dataset]]:
    """The tasks of one head, by split; splits that it has none of are left out."""
    own = {split: {t: data for t, data in of_split.items() if heads[t] == head} for split, of_split in rows.items()}
    return {split: tasks for split, tasks in own.items() if tasks}


def _arguments_for(problem: Problem, args: ModelArguments) -> ModelArguments:
    """The model's arguments as the class that the problem has for them, such as that of a model that takes words."""
    if isinstance(args, problem.model_arguments):
        return args
    names = {field.name for field in dataclasses.fields(problem.model_arguments) if field.init}
    return problem.model_arguments(**{name: value for name, value in vars(args).items() if name in names})


def _with_score(compute: Callable[..., dict[str, float]], metric: Metric, *given: Any) -> dict[str, float]:
    """What `compute` returns, and its main metric as a fraction, `score`."""
    metrics = compute(*given)
    return metrics | ({SCORE: metric.fraction(metrics[metric.name])} if metric.name in metrics else {})
