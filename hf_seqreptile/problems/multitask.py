"""Tasks of different kinds in one run, as a tasks' file names them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from datasets import Dataset

from ..data.load import check_data_arguments, load_all_rows, take_samples
from ..data.source import NoSuchSplitError
from ..errors import InputError
from .problem import Splits
from .several_heads import SeveralHeads, tasks_of_head
from .tasks_file import OWN_TO_DATA, TaskEntry, read_tasks_file


@dataclass
class MultitaskArguments:
    """Data arguments of `run_multitask.py`."""

    dataset_name: ClassVar[str | None] = None
    eval_dataset: ClassVar[str | None] = None
    num_clusters: ClassVar[int | None] = None
    stock_names: ClassVar[Mapping[str, str]] = {}

    tasks_file: str | None = field(
        default=None,
        metadata={
            "help": "The file with an entry for each task; the script's first argument (docs/run_multitask.md)."
        },
    )

    def dataset_of(self, task: str | None) -> str | None:
        """None: each entry names its own."""
        return None

    @property
    def number_of_tasks(self) -> int:
        """How many tasks will be trained on."""
        return sum(entry.has("train") for entry in self.entries())

    def described(self, split: str) -> list[tuple[str, str]]:
        """For a dry run: where the examples of a split come from, a title and a text for each task."""
        return [
            (split, f"{e.name}: {e.args.problem}, head {e.head}, {e.args.described(split)[0][1]}")
            for e in self.entries()
            if e.has(split)
        ]

    def entries(self) -> list[TaskEntry]:
        """The tasks.

        Raises:
            InputError: no file, or one with a mistake.
        """
        if self.tasks_file is None:
            raise InputError("Name the tasks' file first: run_multitask.py tasks.yaml … (docs/run_multitask.md).")
        return read_tasks_file(Path(self.tasks_file))


class Multitask(SeveralHeads):
    """The problems of a tasks' file."""

    arguments = MultitaskArguments  # type: ignore[assignment]

    @classmethod
    def check(cls, args: MultitaskArguments, splits: Sequence[str]) -> None:
        """As in the parent, of each task."""
        for entry in args.entries():
            with _named(entry):
                check_data_arguments(entry.args, _splits_of(entry, splits))

    @classmethod
    def read(
        cls,
        args: MultitaskArguments,
        splits: Sequence[str],
        cache_dir: str | None = None,
        token: str | bool | None = None,
    ) -> tuple[SeveralHeads, Splits]:
        """As in the parent.

        Raises:
            InputError: a mistake in the file or in the data; a split that no task has.
        """
        entries = args.entries()
        of_entries = [rows_of_entry(entry, splits, cache_dir, token) for entry in entries]
        rows = _together(of_entries, splits)
        for split in splits:
            if not rows[split]:
                raise InputError(f"{args.tasks_file}: no task has {split} data. Add `{split}_file` to one.")
        missing = _missing(rows, [entry.name for entry in entries])
        with_rows = [any(own.values()) for own in of_entries]
        entries = [entry for entry, has_rows in zip(entries, with_rows, strict=True) if has_rows]
        of_entries = [own for own, has_rows in zip(of_entries, with_rows, strict=True) if has_rows]
        heads = {entry.name: entry.head for entry in entries}
        # The entries of a head agree in all that its problem depends on but for columns and names, their data's own.
        first = {entry.head: entry for entry in reversed(entries)}
        problems = {}
        for head in dict.fromkeys(heads.values()):
            own = tasks_of_head(rows, heads, head)
            differing = _own_arguments([entry for entry in entries if entry.head == head])
            first[head].problem.check_labels(own, first[head].args, differing)
            problems[head] = first[head].problem(own, first[head].args, *([differing] if differing else []))
        made = cls(
            problems,
            heads,
            args_of_tasks={entry.name: entry.args for entry in entries},
            metric_of_tasks={entry.name: entry.metric for entry in entries if entry.metric},
        )
        weights = [f"{entry.name}={entry.weight:g}" for entry in entries if entry.weight is not None]
        batches = [f"{entry.name}={entry.batch_size}" for entry in entries if entry.batch_size is not None]
        given = {"task_weights": weights, "task_batch_sizes": batches}
        made.task_arguments = {name: items for name, items in given.items() if items}
        made.notes = [*missing, *made.notes]
        samples = [take_samples(own, entry.args) for own, entry in zip(of_entries, entries, strict=True)]
        return made, _together(samples, splits)


def _own_arguments(entries: Sequence[TaskEntry]) -> dict[str, Any]:
    """The arguments of each entry of a head, where they differ in what is its data's own."""

    def own(entry: TaskEntry) -> dict[str, Any]:
        return {name: value for name, value in vars(entry.args).items() if name in OWN_TO_DATA}

    if all(own(entry) == own(entries[0]) for entry in entries):
        return {}
    return {entry.name: entry.args for entry in entries}


def rows_of_entry(
    entry: TaskEntry, splits: Sequence[str], cache_dir: str | None = None, token: str | bool | None = None
) -> dict[str, dict[str, Dataset]]:
    """All rows of a task, by split and its name; a dataset may lack some of the splits."""

    def load(wanted: Sequence[str]) -> dict[str, dict[str, Dataset]]:
        return load_all_rows(entry.args, wanted, cache_dir=cache_dir, token=token)

    found: dict[str, dict[str, Dataset]] = {}
    wanted = _splits_of(entry, splits)
    with _named(entry):
        try:
            found = load(wanted)
        except NoSuchSplitError:
            if entry.args.dataset_name is None:
                raise
            for split in wanted:
                with suppress(NoSuchSplitError):
                    found |= load([split])
    rows = {}
    for split, tasks in found.items():
        if len(tasks) > 1:
            raise InputError(
                f"Task {entry.name!r}: its {split} data holds several tasks ({', '.join(tasks)}); name one with "
                f"`languages`, and write an entry for each."
            )
        rows[split] = {entry.name: next(iter(tasks.values()))}
    return rows


def _together(of_entries: Sequence[Splits], splits: Sequence[str]) -> dict[str, dict[str, Dataset]]:
    """The tasks of all entries, by split."""
    return {split: {t: data for own in of_entries for t, data in own.get(split, {}).items()} for split in splits}


def _splits_of(entry: TaskEntry, splits: Sequence[str]) -> list[str]:
    return [split for split in splits if entry.has(split)]


@contextmanager
def _named(entry: TaskEntry) -> Iterator[None]:
    """Within, what is wrong with the data is said to be of this entry."""
    try:
        yield
    except InputError as error:
        raise InputError(f"Task {entry.name!r} of the tasks' file: {error}") from error.__cause__


def _missing(rows: Splits, tasks: Iterable[str]) -> list[str]:
    """What a run says of tasks that have no data of a split."""
    lacking = {split: [task for task in tasks if task not in of_split] for split, of_split in rows.items()}
    return [f"no {split} data: {', '.join(named)}" for split, named in lacking.items() if named]
