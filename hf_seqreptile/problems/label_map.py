"""Labels of corpora that differ: other names for some of them, and whether tasks may lack each other's."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from ..data.arguments import DataArguments
from ..data.text import shown
from ..errors import InputError

ARGUMENT = "--label_map"


@dataclass
class LabelArguments(DataArguments):
    """Data arguments of the problems whose labels have names."""

    label_map: list[str] | None = field(
        default=None,
        metadata={
            "nargs": "+",
            "help": "Other names for labels, in all splits: `MISC=O` leaves entities of that type out, `PER=person` "
            "renames one; of one task alone `de:MISC=O`.",
        },
    )
    unite_labels: bool = field(
        default=False,
        metadata={
            "help": "Learn the labels of all tasks, though some lack what others have. Default: two tasks that each "
            "have a label which the other lacks are refused."
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for item in self.label_map or ():
            old, separator, new = item.rpartition("=")
            if not (separator and old and new) or any(map(str.isspace, item.strip())):
                raise InputError(f"{ARGUMENT} {item}: write old=new, such as MISC=O, or task:old=new.")


@dataclass(frozen=True)
class LabelMap:
    """Other names for labels.

    Args:
        of_all: by the names in the data of any task.
        of_task: of single tasks, which come first.
    """

    of_all: Mapping[str, str] = field(default_factory=dict)
    of_task: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @classmethod
    def read(cls, items: Sequence[str] | None, tasks: Collection[str]) -> "LabelMap":
        """From `old=new` and `task:old=new`.

        Raises:
            InputError: two names for one label.
        """
        of_all: dict[str, str] = {}
        of_task: dict[str, dict[str, str]] = {}
        for item in items or ():
            old, _, new = item.rpartition("=")
            task, separator, name = old.partition(":")
            own, old = (of_task.setdefault(task, {}), name) if separator and task in tasks else (of_all, old)
            if own.setdefault(old, new) != new:
                raise InputError(f"{ARGUMENT} gives {old!r} two names, {own[old]} and {new}. Leave one of them out.")
        return cls(of_all, of_task)

    @classmethod
    def of_tasks(cls, args: LabelArguments, args_of_tasks: Mapping[str, Any], tasks: Sequence[str]) -> "LabelMap":
        """What arguments say, of all tasks and in those that are a task's own."""
        own = {
            task: cls.read(args_of_tasks[task].label_map, [task]).of(task) for task in tasks if task in args_of_tasks
        }
        of_others = cls.read(args.label_map, tasks) if len(own) < len(tasks) else cls()
        return cls(of_others.of_all, {**of_others.of_task, **{task: names for task, names in own.items() if names}})

    def __bool__(self) -> bool:
        return bool(self.of_all or self.of_task)

    def of(self, task: str) -> dict[str, str]:
        """The new names of a task's labels by the old ones."""
        return {**self.of_all, **self.of_task.get(task, {})}

    def meanings(self, task: str, known: Mapping[str, str]) -> dict[str, str]:
        """What a task's labels mean, where what they are written as has `known` meanings."""
        own = self.of(task)
        return {**{written: own.get(name, name) for written, name in known.items()}, **own}

    def check(self, labels: Mapping[str, Collection[str]], others: Collection[str] = ()) -> None:
        """Refuse names that no label has.

        Args:
            labels: those in the data, by task.
            others: those of the model.

        Raises:
            InputError: names the nearest one.
        """
        every = {name for own in labels.values() for name in own} | {*others}
        for old in self.of_all:
            _refuse_unknown(old, every, "no task has the", f"{ARGUMENT} {old}={self.of_all[old]}")
        for task, names in self.of_task.items():
            for old, new in names.items():
                known = {*labels.get(task, ()), *others}
                _refuse_unknown(old, known, f"task {task!r} has no", f"{ARGUMENT} {task}:{old}={new}")

    def described(self, counts: Mapping[str, Mapping[str, int]], what: str) -> str:
        """The map as a line to print.

        Args:
            counts: how often each label is in the data, by task.
            what: is counted.
        """
        parts = []
        for old in dict.fromkeys([*self.of_all, *(name for names in self.of_task.values() for name in names)]):
            new: dict[str, list[str]] = {}
            for task, own in counts.items():
                if old in self.of(task):
                    new.setdefault(self.of(task)[old], []).extend([f"{task} {own[old]:,}"] if old in own else [])
            parts += [f"{old}={name} ({what} {', '.join(of_tasks) or 'none'})" for name, of_tasks in new.items()]
        return f"Labels are mapped: {'; '.join(parts)}."


def _refuse_unknown(old: str, known: Collection[str], what: str, where: str) -> None:
    if old in known:
        return
    nearest = get_close_matches(old, known, n=1) or [name for name in known if name.casefold() == old.casefold()]
    stripped = old[2:]
    if old[1:2] == "-" and stripped in known:
        hint = f" Map the type, without a prefix: {stripped}."
    elif nearest:
        hint = f" Did you mean {nearest[0]}?"
    else:
        hint = f" Known: {shown(', '.join(sorted(known)))}."
    raise InputError(f"{where}: {what} label {old!r}.{hint}")


def lacking_labels(labels: Mapping[str, Collection[str]]) -> str:
    """Which labels of a union each task lacks, as a line to print; empty where none does."""
    every = {name for own in labels.values() for name in own}
    parts = [f"{task} has no {', '.join(lacks)}" for task, own in labels.items() if (lacks := sorted(every - {*own}))]
    return f"Labels are united: {'; '.join(parts)}." if parts else ""
