"""What `datasets` loads by name: which configurations there are, and how to get one."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from datasets import Dataset, DatasetBuilder, DownloadMode, get_dataset_config_names, load_dataset_builder
from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError
from huggingface_hub import try_to_load_from_cache

from ..errors import InputError
from .build import Cache
from .names import unknown_name
from .parquet_copy import copied_configs, download_copy
from .source import NoSuchSplitError


class Repository:
    """A dataset of the Hub or a local folder; all that can be wrong with it is an InputError.

    Args:
        name: repository id or folder.
        cache: where prepared data is kept.
        token: for private datasets.
        argument: what named it.
        files: the argument for files instead, for messages.
        choose: the arguments that choose a configuration, for messages.
    """

    def __init__(
        self,
        name: str,
        cache: Cache,
        token: str | bool | None,
        argument: str,
        *,
        files: str = "--train_file",
        choose: str = "--languages or --dataset_config_name, or give --task_column",
    ) -> None:
        self._files, self._choose = files, choose
        self._is_folder = Path(name).is_dir()
        # A folder's whole path, or `datasets` takes a folder named `text` for a format of its own.
        self._path = str(Path(name).resolve()) if self._is_folder else name
        self._cache = cache
        self._token = token
        self._builders: dict[str | None, DatasetBuilder] = {}
        self.name = Path(self._path).name
        """Without the organization or the folders above."""
        self.origin = f"{argument} {name}"
        """For messages."""

    @property
    def configs(self) -> list[str]:
        """The configurations; offline and not in a folder, one guess for all that is cached."""
        return self._listing[0]

    def load(self, config: str | None) -> DatasetBuilder:
        """A configuration, downloaded and prepared; `None` means the only one."""
        if config not in self._builders:
            if config is not None and len(self.configs) > 1 and config not in self.configs:
                raise unknown_name(config, self.configs, self.origin, kind="configuration")
            mode = DownloadMode.REUSE_CACHE_IF_EXISTS if self._cache.overwrite else None
            with self._explained(config):
                path, name = self._locate(config)
                builder = load_dataset_builder(
                    path, name, cache_dir=self._cache.directory, token=self._token, download_mode=mode
                )
                builder.download_and_prepare(download_mode=mode)
            self._builders[config] = builder
        return self._builders[config]

    def take_split(self, builder: DatasetBuilder, split: str) -> Dataset:
        """All examples of a split of what `load` returned, at least one."""
        splits = builder.info.splits
        if split not in splits:
            raise NoSuchSplitError(
                f"{self.origin} has no split {split!r}, only {', '.join(splits)}. Do without {split} "
                f"data, or give files for all splits ({self._files.replace('train', split)} name=path) instead."
            )
        if not splits[split].num_examples:
            raise InputError(f"{self.origin} has no examples in the split {split!r}. Leave the task out.")
        return builder.as_dataset(split=split)

    @cached_property
    def _listing(self) -> tuple[list[str], bool]:
        """The configurations, and whether they are those of the Parquet copy."""
        with self._explained():
            try:
                names = get_dataset_config_names(self._path, token=self._token, cache_dir=self._cache.directory)
            except RuntimeError:
                # The dataset needs a script, which `datasets` does not run.
                if self._is_folder or not (names := copied_configs(self._path, self._token)):
                    raise
                return names, True
            if self._has_script() and (copied := copied_configs(self._path, self._token)):
                return copied, True
            return names, False

    def _has_script(self) -> bool:
        """Whether `datasets` found a script but did not say so, because an earlier version cached what it loaded."""
        script = f"{self.name}.py"
        return not self._is_folder and isinstance(try_to_load_from_cache(self._path, script, repo_type="dataset"), str)

    def _locate(self, config: str | None) -> tuple[str, str | None]:
        """The path and the configuration to give to `datasets`."""
        names, is_copy = self._listing
        if not is_copy:
            return self._path, config
        if config is None and len(names) > 1:
            raise InputError(f"{self.origin}: choose one with --dataset_config_name: {', '.join(names)}.")
        return str(download_copy(self._path, config or names[0], self._token)), None

    @contextmanager
    def _explained(self, config: str | None = None) -> Iterator[None]:
        """Turn the errors of `datasets` into InputErrors that name the dataset and the mend."""
        place = self.origin + (f", configuration {config!r}" if config else "")
        try:
            yield
        except DatasetNotFoundError as error:
            mend = "Check its name; if it is private or gated, log in with `hf auth login`."
            raise InputError(f"{place}: {error} {mend}") from error
        except ConnectionError as error:
            mend = f"Load it once while online (is HF_HUB_OFFLINE set?), or give local files with {self._files}."
            raise InputError(f"{place}: neither reachable nor in the cache ({error}). {mend}") from error
        except FileNotFoundError as error:
            mend = f"Give files in a format of ours with {self._files}."
            raise InputError(f"{place}: no data files that `datasets` can read ({error}). {mend}") from error
        except DatasetGenerationError as error:
            raise InputError(f"{place}: its files cannot be read ({error.__cause__ or error}).") from error
        except RuntimeError as error:
            mend = f"Download its files, or convert them, and give them with {self._files}."
            raise InputError(f"{place}: {error}. {mend}") from error
        except Exception as error:
            # OSError and ValueError from sound datasets, anything from one whose metadata is not what it should be.
            mend = f"Choose another with {self._choose}." if config else ""
            raise InputError(f"{place}: {str(error).rstrip('.')}. {mend}".rstrip()) from error
