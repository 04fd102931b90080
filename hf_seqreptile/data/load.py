"""From arguments to one Dataset for each task and split."""

from collections.abc import Sequence
from typing import Protocol

from datasets import Dataset

from hf_seqreptile.data.arguments import DataArguments
from hf_seqreptile.data.build import Cache
from hf_seqreptile.data.files import FileSource
from hf_seqreptile.data.hub import HubSource
from hf_seqreptile.data.limits import check_limits, parse_limits, take_first
from hf_seqreptile.data.names import check_distinct, check_task_name
from hf_seqreptile.data.sample import sample_source
from hf_seqreptile.errors import InputError

_LIMITS = {"train": "max_train_samples", "validation": "max_eval_samples", "test": "max_predict_samples"}


class Source(Protocol):
    """Where examples come from."""

    def tasks(self, split: str) -> list[str]:
        """The tasks that the data names for `split`."""

    def check(self, task: str, split: str, argument: str) -> None:
        """Raise InputError where the task is known not to be there; `argument` named it."""

    def read(self, task: str, split: str) -> Dataset:
        """All examples of a task, at least one, with the columns that the data has."""


def load_tasks(
    args: DataArguments,
    splits: Sequence[str],
    columns: tuple[str, ...] = ("tokens", "ner_tags"),
    *,
    cache_dir: str | None = None,
    token: str | bool | None = None,
) -> dict[str, dict[str, Dataset]]:
    """Load the examples of every task, for each of `splits` (of "train", "validation", "test").

    Args:
        args: where the examples come from. "train" holds `languages` (default: every task the data names), the other
            splits `eval_languages` (default: `languages`, else the tasks of the training data, else every task of the
            split).
        columns: the columns whose values are lists, one item a word. A CSV file writes them as text; and they say
            which bundled sample to use. Empty for problems whose columns hold single values (QA, NLI).
        cache_dir: where prepared data is kept. Default: the cache of `datasets`.
        token: for private datasets of the Hub. Default: the one logged in with.

    Returns:
        split -> task -> Dataset with the columns of its source. CoNLL files give "tokens" and "ner_tags", lists of
        strings, tags in IOB2. `max_*_samples` keep the first examples of a task.

    Raises:
        InputError: what the user can mend, from malformed files to languages that the data does not have.
    """
    source = _choose_source(args, columns, Cache(cache_dir, args.overwrite_cache), token)
    limits = {split: parse_limits(getattr(args, _LIMITS[split]), f"--{_LIMITS[split]}") for split in splits}
    tasks = {split: _choose_tasks(args, source, split) for split in splits}
    for split in splits:
        check_limits(limits[split], tasks[split], f"--{_LIMITS[split]}")
    return {
        split: {task: take_first(_read(source, task, split), task, limits[split]) for task in tasks[split]}
        for split in splits
    }


def _choose_source(args: DataArguments, columns: tuple[str, ...], cache: Cache, token: str | bool | None) -> Source:
    files = {"train": args.train_file, "validation": args.validation_file, "test": args.test_file}
    given = [f"--{split}_file" for split, items in files.items() if items]
    if args.dataset_name and given:
        raise InputError(f"--dataset_name and {given[0]} exclude each other. Leave one of them out.")
    if not args.dataset_name and not given:
        raise InputError("No data. Give --dataset_name or --train_file; to try things out: --dataset_name sample")
    if args.dataset_config_name and (given or args.dataset_name == "sample"):
        raise InputError("--dataset_config_name is for datasets of the Hub. Leave it out.")
    if args.dataset_name == "sample":
        if args.task_column:
            raise InputError("--task_column does not go with the sample, which has one file a task. Leave it out.")
        return sample_source(columns, cache)
    if args.dataset_name:
        wanted = list(dict.fromkeys([*(args.languages or ()), *(args.eval_languages or ())]))
        return HubSource(args.dataset_name, args.dataset_config_name, args.task_column, wanted, cache, token)
    return FileSource(files, columns, args.task_column, cache)


def _choose_tasks(args: DataArguments, source: Source, split: str) -> list[str]:
    named, argument = args.languages, "--languages"
    if split != "train" and args.eval_languages:
        named, argument = args.eval_languages, "--eval_languages"
    if named:
        check_distinct(named, argument)
    tasks = named or source.tasks("train") or source.tasks(split)
    if not tasks:
        raise InputError(f"No {split} data. Add --{split}_file name=path.")
    for task in tasks:
        check_task_name(task, argument)
        source.check(task, split, argument)
    return tasks


def _read(source: Source, task: str, split: str) -> Dataset:
    try:
        return source.read(task, split)
    except InputError as error:
        raise InputError(f"Task {task!r}, {split} data: {error}") from error.__cause__
