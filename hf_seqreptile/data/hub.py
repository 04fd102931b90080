"""Datasets of the Hugging Face Hub, and local folders that `datasets.load_dataset` accepts."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from datasets import Dataset, DatasetBuilder, DownloadMode, get_dataset_config_names, load_dataset_builder
from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError

from hf_seqreptile.data.build import Cache
from hf_seqreptile.data.columns import split_by_column
from hf_seqreptile.data.names import unknown_name
from hf_seqreptile.errors import InputError


class HubSource:
    """The tasks of a dataset: its configurations, or the values of one column.

    Args:
        name: repository id or folder.
        config: the one configuration to use; the default is one a task, named as the task.
        task_column: the column that names each example's task.
        wanted: the tasks that the user named. A dataset with one configuration is one task where there is one at
            most: the one named, else it has the name of `config` or of the dataset.
    """

    def __init__(
        self,
        name: str,
        config: str | None,
        task_column: str | None,
        wanted: Sequence[str],
        cache: Cache,
        token: str | bool | None,
    ) -> None:
        self._name = name
        self._config = config
        self._task_column = task_column
        self._wanted = wanted
        self._cache = cache
        self._token = token
        # A folder's whole path, or `datasets` takes a folder named `text` for a format of its own.
        self._path = str(Path(name).resolve()) if Path(name).is_dir() else name
        self._builders: dict[str | None, DatasetBuilder] = {}
        self._parts: dict[str, Mapping[str, Dataset]] = {}

    def tasks(self, split: str) -> list[str]:
        """The tasks that the dataset names; which configurations have examples for `split` only loading tells."""
        if self._task_column:
            return list(self._split_column(split))
        if self._config is None and (len(self._configs) > 1 or len(self._wanted) > 1):
            return self._configs
        return list(self._wanted) if len(self._wanted) == 1 else [self._config or Path(self._path).name]

    def check(self, task: str, split: str, argument: str) -> None:
        """Refuse a task that the dataset does not have; `argument` named it."""
        # Offline, any cached dataset passes for one with one configuration: only loading can tell.
        guessed = not self._task_column and self._config is None and len(self._configs) == 1
        if not guessed and task not in self.tasks(split):
            raise unknown_name(task, self.tasks(split), argument)

    def read(self, task: str, split: str) -> Dataset:
        """All examples of a task."""
        if self._task_column:
            return self._split_column(split)[task]
        return self._take_split(self._load_task(task), split)

    @cached_property
    def _configs(self) -> list[str]:
        with self._explained():
            return get_dataset_config_names(self._path, token=self._token, cache_dir=self._cache.directory)

    def _load_task(self, task: str) -> DatasetBuilder:
        if self._config is not None:
            return self._load(self._config)
        if len(self._configs) == 1 and not self._wanted:
            return self._load(self._configs[0])
        try:
            return self._load(task)
        except InputError:
            # The one task wanted may be all of a dataset whose one configuration has another name.
            if len(self._configs) > 1 or len(self._wanted) > 1:
                raise
            try:
                return self._load(self._configs[0])
            except InputError:
                pass
            raise

    def _load(self, config: str | None) -> DatasetBuilder:
        if config not in self._builders:
            if config is not None and len(self._configs) > 1 and config not in self._configs:
                raise unknown_name(config, self._configs, f"--dataset_name {self._name}", kind="configuration")
            mode = DownloadMode.REUSE_CACHE_IF_EXISTS if self._cache.overwrite else None
            with self._explained(config):
                builder = load_dataset_builder(
                    self._path, config, cache_dir=self._cache.directory, token=self._token, download_mode=mode
                )
                builder.download_and_prepare(download_mode=mode)
            self._builders[config] = builder
        return self._builders[config]

    def _take_split(self, builder: DatasetBuilder, split: str) -> Dataset:
        splits = builder.info.splits
        if split not in splits:
            raise InputError(
                f"--dataset_name {self._name} has no split {split!r}, only {', '.join(splits)}. Do without {split} "
                f"data, or give files for all splits (--{split}_file name=path) instead of --dataset_name."
            )
        if not splits[split].num_examples:
            raise InputError(
                f"--dataset_name {self._name} has no examples in the split {split!r}. Leave the task out."
            )
        return builder.as_dataset(split=split)

    def _split_column(self, split: str) -> Mapping[str, Dataset]:
        assert self._task_column is not None
        if split not in self._parts:
            dataset = self._take_split(self._load(self._config), split)
            self._parts[split] = split_by_column(dataset, self._task_column, f"{self._name}, {split}")
        return self._parts[split]

    @contextmanager
    def _explained(self, config: str | None = None) -> Iterator[None]:
        """Turn the errors of `datasets` into InputErrors that name the dataset and the mend."""
        place = f"--dataset_name {self._name}" + (f", configuration {config!r}" if config else "")
        try:
            yield
        except DatasetNotFoundError as error:
            mend = "Check its name; if it is private or gated, log in with `hf auth login`."
            raise InputError(f"{place}: {error} {mend}") from error
        except ConnectionError as error:
            mend = "Load it once while online (is HF_HUB_OFFLINE set?), or give local files with --train_file."
            raise InputError(f"{place}: neither reachable nor in the cache ({error}). {mend}") from error
        except FileNotFoundError as error:
            mend = "Give files in a format of ours with --train_file."
            raise InputError(f"{place}: no data files that `datasets` can read ({error}). {mend}") from error
        except DatasetGenerationError as error:
            raise InputError(f"{place}: its files cannot be read ({error.__cause__ or error}).") from error
        except RuntimeError as error:
            mend = "Download its files, or convert them, and give them with --train_file."
            raise InputError(f"{place}: {error}. {mend}") from error
        except (OSError, ValueError) as error:
            mend = "Choose another with --languages or --dataset_config_name, or give --task_column." if config else ""
            raise InputError(f"{place}: {str(error).rstrip('.')}. {mend}".rstrip()) from error
