"""Datasets of the Hugging Face Hub, and local folders that `datasets.load_dataset` accepts: what their tasks are."""

import logging
import re
from collections.abc import Mapping, Sequence
from functools import cached_property

from datasets import Dataset, DatasetBuilder

from ..errors import InputError
from .build import Cache
from .columns import split_by_column, split_by_id, tell_of_ids
from .names import SPLIT_NAMES, split_and_task, unknown_name
from .repository import Repository

logger = logging.getLogger(__name__)

_ALL_TASKS = re.compile(r"all(?:[_-].*)?", re.IGNORECASE)


class HubSource:
    """The tasks of a dataset: its configurations, the values of one column, the prefixes of ids, or its splits.

    A configuration is named as its task, or as dataset and task: `xquad.de` of google/xquad and `mlqa.de.de` of
    facebook/mlqa are the task `de`. Where some are named so, the others are tasks only when wanted, as is always a
    configuration of all tasks (`all_languages`). Where one configuration has splits such as `train_de` and none
    that is called `train` or the like, they name the tasks.

    Args:
        name: repository id or folder.
        config: the one configuration to use; the default is one a task.
        wanted: the tasks that the user named. A dataset with one configuration is one task where there is one at
            most: the one named, else it has the name of `config` or of the dataset.
        cache: where prepared data is kept.
        token: for private datasets.
        task_column: the column that names each example's task.
        id_names_task: whether the ids of a dataset with one configuration may name the tasks.
        argument: what named the dataset.
    """

    def __init__(
        self,
        name: str,
        config: str | None,
        wanted: Sequence[str],
        cache: Cache,
        token: str | bool | None,
        *,
        task_column: str | None = None,
        id_names_task: bool = False,
        argument: str = "--dataset_name",
    ) -> None:
        self._repository = Repository(name, cache, token, argument)
        self._config = config
        self._wanted = wanted
        self._task_column = task_column
        self._id_names_task = id_names_task
        self._parts: dict[str, Mapping[str, Dataset]] = {}

    def tasks(self, split: str) -> list[str]:
        """The tasks that the dataset names; which configurations have examples for `split` only loading tells."""
        if self._rows_name_tasks:
            return list(self._split_rows(split)) if split in self._one_builder.info.splits else []
        if self._tasks_of_splits:
            return list(self._tasks_of_splits.get(split, ()))
        if self._config is None and (len(self._repository.configs) > 1 or len(self._wanted) > 1):
            return list(self._task_configs)
        return list(self._wanted) if len(self._wanted) == 1 else [self._config or self._repository.name]

    def check(self, task: str, split: str, argument: str) -> None:
        """Refuse a task that the dataset does not have; `argument` named it."""
        if self._rows_name_tasks:
            known = list(self._split_rows(split))
        elif self._tasks_of_splits:
            known = self.tasks(split)
            if task not in known:
                raise unknown_name(task, known, argument)
        elif self._config is None and len(self._repository.configs) == 1:
            # Offline, any cached dataset passes for one with one configuration: only loading can tell.
            return
        else:
            known = self.tasks(split)
        if task not in known and (self._rows_name_tasks or self._config or task not in self._repository.configs):
            raise unknown_name(task, known, argument)

    def read(self, task: str, split: str) -> Dataset:
        """All examples of a task."""
        if self._rows_name_tasks:
            return self._split_rows(split)[task]
        if self._tasks_of_splits:
            return self._repository.take_split(self._one_builder, self._tasks_of_splits[split][task])
        return self._repository.take_split(self._load_task(task), split)

    @cached_property
    def _task_configs(self) -> dict[str, str]:
        """The tasks and their configurations where none is wanted."""
        names = self._repository.configs
        dotted = {}
        for name in names:
            first, *rest = name.split(".")
            if first.lower() == self._repository.name.lower() and len(set(rest)) == 1:
                dotted[rest[0]] = name
        single = [name for name in names if not _ALL_TASKS.fullmatch(name)]
        return dotted or {name: name for name in single or names}

    def _load_task(self, task: str) -> DatasetBuilder:
        names = self._repository.configs
        if self._config is not None:
            return self._repository.load(self._config)
        if len(names) > 1:
            return self._repository.load(self._task_configs.get(task, task))
        if not self._wanted:
            return self._repository.load(names[0])
        # The one task wanted may be all of a dataset whose one configuration has another name.
        alone = names if len(self._wanted) == 1 else []
        # Offline, `names` is one guess, whatever is cached.
        dataset = self._repository.name
        return self._load_first([task, *alone, f"{dataset}.{task}", f"{dataset}.{task}.{task}"])

    def _load_first(self, configs: Sequence[str]) -> DatasetBuilder:
        """The first of `configs` that can be loaded; where none can, the error is that of the first."""
        errors = []
        for config in configs:
            try:
                return self._repository.load(config)
            except InputError as error:
                errors.append(error)
        raise errors[0]

    @cached_property
    def _rows_name_tasks(self) -> bool:
        if self._task_column:
            return True
        if not self._id_names_task or (self._config is None and len(self._repository.configs) > 1):
            return False
        try:
            splits = self._one_builder.info.splits
        except InputError:
            # Reading the task will say what is wrong.
            return False
        filled = [split for split in splits if splits[split].num_examples]
        datasets = (self._one_builder.as_dataset(split=split) for split in filled)
        return bool(filled) and all(split_by_id(dataset, self._wanted) for dataset in datasets)

    @cached_property
    def _tasks_of_splits(self) -> dict[str, dict[str, str]]:
        """By split, the tasks that the dataset's own splits name, and what these are called; empty if they do not."""
        if self._config is None and len(self._repository.configs) > 1:
            return {}
        try:
            names = [*self._one_builder.info.splits]
        except InputError:
            # Reading the task will say what is wrong.
            return {}
        if any(name in known for name in names for known in SPLIT_NAMES.values()):
            return {}
        found: dict[str, dict[str, str]] = {}
        for name in names:
            if parts := split_and_task(name):
                found.setdefault(parts[0], {})[parts[1]] = name
        if found:
            tasks = dict.fromkeys(task for of_split in found.values() for task in of_split)
            logger.warning("The splits of %s name its tasks: %s.", self._repository.origin, ", ".join(tasks))
        return found

    @property
    def _one_builder(self) -> DatasetBuilder:
        return self._repository.load(self._config)

    def _split_rows(self, split: str) -> Mapping[str, Dataset]:
        if split not in self._parts:
            dataset = self._repository.take_split(self._one_builder, split)
            if self._task_column:
                parts = split_by_column(dataset, self._task_column, f"{self._repository.origin}, {split}")
            else:
                parts = split_by_id(dataset, self._wanted) or {}
                tell_of_ids(parts, f"{self._repository.origin}, {split}")
            self._parts[split] = parts
        return self._parts[split]
