"""From arguments to one Dataset for each task and split."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset

from ..errors import InputError
from ..ranges import AT_LEAST_1, check_ranges
from .arguments import DataArguments
from .build import Cache
from .files import FileSource
from .hub import HubSource
from .limits import check_limits, parse_limits, take_first
from .names import check_distinct, check_task_name
from .sample import sample_source
from .source import NoSuchSplitError, Source

logger = logging.getLogger(__name__)

_LIMITS = {"train": "max_train_samples", "validation": "max_eval_samples", "test": "max_predict_samples"}


def load_tasks(
    args: DataArguments,
    splits: Sequence[str],
    *,
    cache_dir: str | None = None,
    token: str | bool | None = None,
) -> dict[str, dict[str, Dataset]]:
    """Load the examples of every task, for each of `splits` (of "train", "validation", "test").

    Args:
        args: where the examples come from. "train" holds `languages` (default: every task the data names), the other
            splits `eval_languages` (default: with `eval_dataset`, every task it names; else `languages`, as far as
            files of the split have them; else every task of these files or, where there are none, of the training
            data).
        splits: which to load.
        cache_dir: where prepared data is kept. Default: the cache of `datasets`.
        token: for private datasets of the Hub. Default: the one logged in with.

    Returns:
        split -> task -> Dataset with the columns of its source. CoNLL files give "tokens" and "ner_tags", lists of
        strings, tags as written; nested SQuAD files give "id", "title", "context", "question" and "answers".
        `max_*_samples` keep the first examples of a task; where they are not to hide labels, make the problem of what
        [`load_all_rows`] gives, and the features of what [`take_samples`] leaves of that.

    Raises:
        InputError: what the user can mend, from malformed files to languages that the data does not have.
    """
    return take_samples(load_all_rows(args, splits, cache_dir=cache_dir, token=token), args)


def load_all_rows(
    args: DataArguments,
    splits: Sequence[str],
    *,
    cache_dir: str | None = None,
    token: str | bool | None = None,
) -> dict[str, dict[str, Dataset]]:
    """As [`load_tasks`], with all rows of a task, whatever `max_*_samples` says: they tell the labels."""
    check_data_arguments(args, splits)
    sources = _choose_sources(args, splits, Cache(cache_dir, args.overwrite_cache), token)
    tasks = {split: _choose_tasks(args, sources[split], split) for split in splits}
    if "train" in tasks and not (args.dataset_name or args.eval_languages or args.eval_dataset):
        _tell_of_differences(tasks, args.files_of_splits)
    for split in splits:
        check_limits(_limits(args, split), tasks[split], f"--{_LIMITS[split]}")
    return {split: {task: _read(sources[split], task, split) for task in tasks[split]} for split in splits}


def take_samples(tasks: Mapping[str, Mapping[str, Dataset]], args: DataArguments) -> dict[str, dict[str, Dataset]]:
    """The first rows of each task that `load_all_rows` gave, as many as `max_*_samples` says."""
    return {
        split: {task: take_first(dataset, task, _limits(args, split)) for task, dataset in of_split.items()}
        for split, of_split in tasks.items()
    }


def check_data_arguments(args: DataArguments, splits: Sequence[str]) -> None:
    """Raise InputError for arguments that no data could make sense of; nothing is loaded.

    Args:
        args: where the examples come from.
        splits: which are to be loaded.
    """
    _refuse_contradictions(args)
    if not (args.dataset_name or any(args.local.values())) and ("train" in splits or not args.eval_dataset):
        raise InputError(
            f"No data. Give --dataset_name or --{args.files_of_splits['train']}; to try things out: --dataset_name "
            f"sample"
        )
    for split in splits:
        _limits(args, split)
    check_ranges(args, [("preprocessing_num_workers", "", AT_LEAST_1)])
    for argument in ("languages", "eval_languages"):
        check_distinct(getattr(args, argument) or (), f"--{argument}")


def _limits(args: DataArguments, split: str) -> dict[str | None, int]:
    return parse_limits(getattr(args, _LIMITS[split]), f"--{_LIMITS[split]}")


def _refuse_contradictions(args: DataArguments) -> None:
    given = [f"--{args.files_of_splits[split]}" for split, items in args.local.items() if items]
    if args.dataset_name and given and not args.sources_combine:
        raise InputError(f"--dataset_name and {given[0]} exclude each other. Leave one of them out.")
    if args.eval_dataset and given and given[-1] != "--train_file":
        raise InputError(f"--eval_dataset and {given[-1]} exclude each other. Leave one of them out.")
    if args.dataset_config_name and (given or args.dataset_name == "sample"):
        raise InputError("--dataset_config_name is for datasets of the Hub. Leave it out.")
    if args.task_column and args.dataset_name == "sample":
        raise InputError("--task_column does not go with the sample, which has one file a task. Leave it out.")


def _choose_sources(
    args: DataArguments, splits: Sequence[str], cache: Cache, token: str | bool | None
) -> dict[str, Source]:
    """Where the examples of each split come from."""
    elsewhere = [split for split in splits if split != "train" and args.eval_dataset]
    sources: dict[str, Source] = {}
    if len(elsewhere) < len(splits):
        sources = dict.fromkeys(splits, _own_source(args, cache, token))
    if elsewhere:
        sources |= dict.fromkeys(elsewhere, _evaluation_source(args, elsewhere, cache, token))
    return sources


def _own_source(args: DataArguments, cache: Cache, token: str | bool | None) -> Source:
    if own := args.own_source(cache, token):
        return own
    if args.dataset_name == "sample":
        return sample_source(args.problem, cache)
    rows: dict[str, Any] = {"task_column": args.task_column, "id_names_task": args.id_names_task}
    wanted = [*(args.languages or ()), *(() if args.eval_dataset else args.eval_languages or ())]
    wanted = list(dict.fromkeys(wanted))
    if args.dataset_name:
        return HubSource(args.dataset_name, args.dataset_config_name, wanted, cache, token, **rows)
    return FileSource(args.local, args.reading, cache, wanted=wanted, **rows)


def _evaluation_source(args: DataArguments, splits: Sequence[str], cache: Cache, token: str | bool | None) -> Source:
    """The source that `eval_dataset` names; a folder without a dataset card is one of files, one a task."""
    name, argument = str(args.eval_dataset), "--eval_dataset"
    if name == "sample":
        return sample_source(args.problem, cache, argument)
    if Path(name).is_dir() and not (Path(name) / "README.md").is_file():
        return FileSource({split: [name] for split in splits}, args.reading, cache, argument=argument)
    wanted = args.eval_languages or ()
    return HubSource(name, None, wanted, cache, token, id_names_task=args.id_names_task, argument=argument)


def _choose_tasks(args: DataArguments, source: Source, split: str) -> list[str]:
    named, argument, like_training = args.languages, "--languages", True
    if split != "train" and (args.eval_languages or args.eval_dataset):
        named, argument, like_training = args.eval_languages, "--eval_languages", False
    elif split != "train" and args.local[split]:
        named, like_training = _named_by_files(args, source, split), False
    tasks = named or (like_training and source.tasks("train")) or source.tasks(split)
    if not tasks:
        mend = (
            "Choose a dataset that has some."
            if args.dataset_name
            else f"Add --{args.files_of_splits[split]} name=path."
        )
        raise NoSuchSplitError(f"No {split} data. {mend}")
    for task in tasks:
        check_task_name(task, argument)
        source.check(task, split, argument)
    return tasks


def _named_by_files(args: DataArguments, source: Source, split: str) -> list[str]:
    """The tasks of a split's files, whether trained on or not; of them `languages`, if any of these is among them."""
    found = source.tasks(split)
    for task in args.languages or ():
        if not any(task in source.tasks(each) for each in _LIMITS):
            source.check(task, split, "--languages")
    chosen = [task for task in args.languages or () if task in found] or found
    if left_out := [task for task in found if task not in (*chosen, *source.tasks("train"))]:
        logger.warning(
            "--languages leaves out tasks of the %s files that cannot be trained on: %s. To evaluate them, name them "
            "in --eval_languages.", split, ", ".join(left_out),
        )  # fmt: skip
    return chosen


def _tell_of_differences(tasks: Mapping[str, Sequence[str]], arguments: Mapping[str, str]) -> None:
    """Say which tasks a split's files do not have, and which they alone have; nobody named these for it."""
    for split in tasks:
        new = [task for task in tasks[split] if task not in tasks["train"]]
        if new:
            logger.warning(
                "The %s files name tasks that are not trained on, and are evaluated zero-shot: %s.",
                split, ", ".join(new),
            )  # fmt: skip
        if lacking := [task for task in tasks["train"] if task not in tasks[split]]:
            logger.warning(
                "Trained on, but not evaluated, since no --%s names them: %s.", arguments[split], ", ".join(lacking)
            )


def _read(source: Source, task: str, split: str) -> Dataset:
    try:
        return source.read(task, split)
    except InputError as error:
        raise type(error)(f"Task {task!r}, {split} data: {error}") from error.__cause__
