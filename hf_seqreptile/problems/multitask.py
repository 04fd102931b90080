"""Tasks of different kinds in one run, as a tasks' file names them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from datasets import Dataset

from ..data.load import check_data_arguments, load_all_rows, take_samples
from ..errors import InputError
from .problem import Splits
from .several_heads import SeveralHeads
from .tasks_file import TaskEntry, by_head, read_tasks_file


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
        rows = {entry.name: _rows(entry, splits, cache_dir, token) for entry in entries}
        for split in splits:
            if not any(split in of_task for of_task in rows.values()):
                raise InputError(f"{args.tasks_file}: no task has {split} data. Add `{split}_file` to one.")
        problems = {}
        for head, own in by_head(entries).items():
            tasks = {split: {e.name: rows[e.name][split] for e in own if split in rows[e.name]} for split in splits}
            problems[head] = own[0].problem({split: named for split, named in tasks.items() if named}, own[0].args)
        made = cls(
            problems,
            heads={entry.name: entry.head for entry in entries},
            args_of_tasks={entry.name: entry.args for entry in entries},
            metric_of_tasks={entry.name: entry.metric for entry in entries if entry.metric},
        )
        weights = [f"{entry.name}={entry.weight:g}" for entry in entries if entry.weight is not None]
        batches = [f"{entry.name}={entry.batch_size}" for entry in entries if entry.batch_size is not None]
        of_entries = {"task_weights": weights, "task_batch_sizes": batches}
        made.task_arguments = {name: given for name, given in of_entries.items() if given}
        made.notes = [*_missing(rows, splits), *made.notes]
        return made, {
            split: {
                entry.name: take_samples({split: {entry.name: rows[entry.name][split]}}, entry.args)[split][entry.name]
                for entry in entries
                if split in rows[entry.name]
            }
            for split in splits
        }


def _rows(
    entry: TaskEntry, splits: Sequence[str], cache_dir: str | None, token: str | bool | None
) -> dict[str, Dataset]:
    """All rows of a task, by split."""
    with _named(entry):
        found = load_all_rows(entry.args, _splits_of(entry, splits), cache_dir=cache_dir, token=token)
    rows = {}
    for split, tasks in found.items():
        if len(tasks) > 1:
            raise InputError(
                f"Task {entry.name!r}: its {split} data holds several tasks ({', '.join(tasks)}); name one with "
                f"`languages`, and write an entry for each."
            )
        rows[split] = next(iter(tasks.values()))
    return rows


def _splits_of(entry: TaskEntry, splits: Sequence[str]) -> list[str]:
    return [split for split in splits if entry.has(split)]


@contextmanager
def _named(entry: TaskEntry) -> Iterator[None]:
    """Within, what is wrong with the data is said to be of this entry."""
    try:
        yield
    except InputError as error:
        raise InputError(f"Task {entry.name!r} of the tasks' file: {error}") from error.__cause__


def _missing(rows: dict[str, dict[str, Dataset]], splits: Sequence[str]) -> list[str]:
    """What a run says of tasks that have no data of a split."""
    lacking = {split: [task for task, of_task in rows.items() if split not in of_task] for split in splits}
    return [f"no {split} data: {', '.join(tasks)}" for split, tasks in lacking.items() if tasks]
