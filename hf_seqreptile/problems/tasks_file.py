"""The file that names tasks of different kinds: an entry a task, with its problem, its data and its head."""

import dataclasses
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ..data.arguments import DataArguments
from ..data.images import SAMPLE
from ..data.names import check_task_name, unknown_name
from ..errors import InputError
from ..models.multi_head_folder import check_head_name
from ..yaml_text import read_mapping
from .problem import Problem
from .registry import PROBLEMS

OF_SEVERAL_TASKS = ("eval_languages", "eval_dataset", "task_column", "num_clusters")
"""Arguments of the scripts that an entry, which is one task, has no use for."""
WANTED = "an entry for each task, `name: {problem: ner, …}`"
KINDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", list: "a list of texts"}


@dataclass(frozen=True)
class TaskEntry:
    """One task of a tasks' file.

    Args:
        name: of the task.
        problem: its kind.
        args: the data arguments of that kind of problem.
        head: which head it is trained with; tasks may share one.
        metric: the name of its main metric; `None` for that of the problem.
        batch_size: examples of a micro-batch on each process; `None` for the run's.
        weight: its share of the draws, beside the other tasks' weights; `None` for one that follows from sizes.
        zero_shot: whether its training data, where it has some, is left alone.
    """

    name: str
    problem: type[Problem]
    args: DataArguments
    head: str
    metric: str | None = None
    batch_size: int | None = None
    weight: float | None = None
    zero_shot: bool = False

    def has(self, split: str) -> bool:
        """Whether the entry names data of a split that is used; a dataset is taken to have all of them."""
        if split == "train" and self.zero_shot:
            return False
        return self.args.dataset_name is not None or self.args.names_local(split)


OWN = {"problem": str, "head": str, "metric": str, "batch_size": int, "weight": float, "zero_shot": bool}


def read_tasks_file(path: Path) -> list[TaskEntry]:
    """The entries of a tasks' file (YAML 1.2 or JSON): a mapping from each task's name to its keys.

    `problem` is one of `PROBLEMS`; `head` (default: the problem's name), `metric`, `batch_size`, `weight` and
    `zero_shot` are optional; all other keys are the data arguments of the problem's script. Paths are relative to the
    file's folder.

    Raises:
        InputError: the file cannot be read; an unknown problem or key; a value of another type; or tasks that share a
            head but differ in their problem or in what its labels depend on. Names file and entry.
    """
    content = read_mapping(path, "tasks' file", WANTED)
    if not content:
        raise InputError(f"The tasks' file {path} must hold {WANTED}.")
    entries = [read_entry(path, name, keys, f"{path}, task {name!r}") for name, keys in content.items()]
    _check_heads(path, entries)
    return entries


def read_entry(path: Path, name: Any, keys: Any, where: str) -> TaskEntry:
    """One entry of a tasks' file.

    Args:
        path: of the file.
        name: of the task.
        keys: of the entry.
        where: it stands, for messages.

    Raises:
        InputError: as [`read_tasks_file`].
    """
    if not isinstance(name, str):
        raise InputError(f"{where}: the name of a task is a text; put it into quotes.")
    check_task_name(name, where)
    if not isinstance(keys, dict) or "problem" not in keys:
        raise InputError(f"{where}: the entry must say which `problem` it is: {', '.join(PROBLEMS)}.")
    kind = _typed(where, "problem", keys["problem"], str)
    if kind not in PROBLEMS:
        raise unknown_name(kind, PROBLEMS, where, "problem")
    problem = PROBLEMS[kind]
    hints = typing.get_type_hints(problem.arguments)
    known = [f.name for f in dataclasses.fields(problem.arguments) if f.init and f.name not in OF_SEVERAL_TASKS]
    for key in keys:
        if key not in (*OWN, *known):
            nearest = get_close_matches(str(key), [*OWN, *known], n=1)
            hint = f" Did you mean {nearest[0]!r}?" if nearest else f" Known: {', '.join([*OWN, *known])}."
            raise InputError(f"{where}: unknown key {key!r}.{hint}")
    own = {key: _typed(where, key, keys[key], OWN[key]) for key in OWN if key in keys and key != "problem"}
    data = {key: _typed(where, key, keys[key], hints[key]) for key in known if key in keys}
    files = problem.arguments.files_of_splits.values()
    data |= {key: [_located(path, name, where, key, data[key])] for key in files if key in data}
    if data.get("glue_dir"):
        data["glue_dir"] = str(path.parent / data["glue_dir"])
    if "dataset_name" in data:
        data["dataset_name"] = _dataset(path, name, where, data["dataset_name"])
    try:
        args = problem.arguments(**data)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    head = check_head_name(own.pop("head", kind))
    return TaskEntry(name=name, problem=problem, args=args, head=head, **own)


def _located(path: Path, name: str, where: str, key: str, value: Sequence[str]) -> str:
    """The one file of a task, relative to the tasks' file, as `name=path`."""
    if len(value) != 1:
        raise InputError(f"{where}: {key} names {len(value)} files; a task has one. Write an entry for each.")
    return f"{name}={path.parent / value[0]}"


def _dataset(path: Path, name: str, where: str, value: str | Sequence[str]) -> str | list[str]:
    """The one dataset of a task, a folder relative to the tasks' file; of a problem that names several by task."""
    if isinstance(value, str):
        return str(folder) if (folder := path.parent / value).is_dir() else value
    if len(value) != 1:
        raise InputError(
            f"{where}: dataset_name names {len(value)} datasets; a task has one. Write an entry for each."
        )
    one = _dataset(path, name, where, value[0])
    return [str(one) if one == SAMPLE else f"{name}={one}"]


def _typed(where: str, key: str, value: Any, wanted: Any) -> Any:
    """`value` as the type of a field takes it; numbers and texts may stand alone where several are allowed."""
    kinds = [kind for kind in (typing.get_args(wanted) if _is_union(wanted) else (wanted,)) if kind is not type(None)]
    origins = [typing.get_origin(kind) or kind for kind in kinds]
    if list in origins:
        items = value if isinstance(value, list) else [value]
        if items and all(isinstance(item, str | int) and not isinstance(item, bool) for item in items):
            return [str(item) for item in items]
    for kind in origins:
        if isinstance(value, kind) and isinstance(value, bool) == (kind is bool):
            return value
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
    named = " or ".join(KINDS.get(kind, str(kind)) for kind in origins)
    raise InputError(f"{where}: {key} is {value!r}; give {named}.")


def _is_union(kind: Any) -> bool:
    return typing.get_origin(kind) in (typing.Union, types.UnionType)


OWN_TO_DATA = (
    "task_name", "text_column_name", "label_column_name", "text_column_names", "context_column_name",
    "question_column_name", "choices_column_names", "tag_names", "tag_scheme", "label_map",
)  # fmt: skip
"""Where in its data a task has what, and what it means there."""
MAY_DIFFER = {
    "max_seq_length", "pad_to_max_length", *OWN_TO_DATA, *(field.name for field in dataclasses.fields(DataArguments)),
}  # fmt: skip
"""What tasks of one head may differ in."""


def _check_heads(path: Path, entries: Sequence[TaskEntry]) -> None:
    first: dict[str, TaskEntry] = {}
    for entry in entries:
        other = first.setdefault(entry.head, entry)
        if entry.problem is not other.problem:
            raise InputError(
                f"{path}: tasks {other.name!r} and {entry.name!r} are of different problems and share the head "
                f"{entry.head!r}. Give one of them another `head`."
            )
        ours, theirs = vars(entry.args), vars(other.args)
        if different := [key for key in ours if key not in MAY_DIFFER and ours[key] != theirs[key]]:
            raise InputError(
                f"{path}: tasks {other.name!r} and {entry.name!r} share the head {entry.head!r} and differ in "
                f"{different[0]} ({theirs[different[0]]!r}, {ours[different[0]]!r}). Give them the same, or give one "
                f"of them another `head`."
            )
