"""Local files: `name=path`, a plain path, or a folder with one file a task."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from datasets import Dataset

from hf_seqreptile.data.build import Cache
from hf_seqreptile.data.columns import split_by_column
from hf_seqreptile.data.formats import SUFFIXES, check_file, read_file
from hf_seqreptile.data.names import check_task_name, unknown_name
from hf_seqreptile.errors import InputError

_STEMS = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}
_ALL_STEMS = {stem for stems in _STEMS.values() for stem in stems}


class FileSource:
    """The tasks that lists of files name.

    Args:
        items: split -> what the user typed after its argument.
        list_columns: columns that hold a list, for formats that cannot say so.
        task_column: the column that names each row's task; then every item is one plain file.
    """

    def __init__(
        self,
        items: Mapping[str, Sequence[str] | None],
        list_columns: tuple[str, ...],
        task_column: str | None,
        cache: Cache,
    ) -> None:
        self._items = items
        self._list_columns = list_columns
        self._task_column = task_column
        self._cache = cache
        self._paths: dict[str, dict[str, Path]] = {}
        self._parts: dict[str, dict[str, Dataset]] = {}

    def tasks(self, split: str) -> list[str]:
        """The tasks that have examples for `split`, in the order given; a folder's are sorted."""
        return list(self._split_files(split) if self._task_column else self._find(split))

    def check(self, task: str, split: str, argument: str) -> None:
        """Refuse a task without a file for `split`; `argument` named it."""
        if task in self.tasks(split):
            return
        known = {name for each in _STEMS for name in self.tasks(each)}
        if task not in known:
            raise unknown_name(task, known, argument)
        raise InputError(
            f"Task {task!r} has no {split} data. Add `{task}=path` to --{split}_file, or name the tasks that have "
            f"some with --{'languages' if split == 'train' else 'eval_languages'}: "
            f"{', '.join(self.tasks(split)) or 'none has'}."
        )

    def read(self, task: str, split: str) -> Dataset:
        """All examples of a task that `tasks` names."""
        if self._task_column:
            return self._split_files(split)[task]
        return read_file(self._find(split)[task], split, self._list_columns, self._cache)

    def _find(self, split: str) -> dict[str, Path]:
        if split not in self._paths:
            found: dict[str, Path] = {}
            for item in self._items.get(split) or ():
                for task, path in _expand(item, split).items():
                    _refuse_twice(task, found, split)
                    check_file(path)
                    found[task] = path
            self._paths[split] = found
        return self._paths[split]

    def _split_files(self, split: str) -> dict[str, Dataset]:
        assert self._task_column is not None
        if split not in self._parts:
            parts: dict[str, Dataset] = {}
            for item in self._items.get(split) or ():
                path = Path(item).expanduser()
                if not path.is_file():
                    raise InputError(
                        f"--{split}_file: `{item}` is not a file. With --task_column, give plain files: the column "
                        f"{self._task_column!r} names the tasks."
                    )
                check_file(path)
                dataset = read_file(path, split, self._list_columns, self._cache)
                for task, part in split_by_column(dataset, self._task_column, str(path)).items():
                    _refuse_twice(task, parts, split)
                    parts[task] = part
            self._parts[split] = parts
        return self._parts[split]


def _refuse_twice(task: str, found: Mapping[str, object], split: str) -> None:
    if task in found:
        raise InputError(f"--{split}_file: the task {task!r} occurs twice. Give it one file, or two names.")


def _expand(item: str, split: str) -> dict[str, Path]:
    """The task and file that one item of `--{split}_file` stands for, or the several of a folder."""
    origin = f"--{split}_file: `{item}`"
    before, separator, after = item.partition("=")
    before = before.strip()
    named = bool(separator) and "/" not in before and "\\" not in before
    typed = after if named else item
    path = Path(typed).expanduser()
    if named:
        check_task_name(before, origin)
    if not typed or not (path.is_file() or path.is_dir()):
        raise InputError(
            f"{origin}: the file `{typed}` does not exist. Give a file, or a folder with one file a task."
        )
    if path.is_file():
        return {before if named else check_task_name(path.stem, origin): path}
    own = _file_of_split(path, split)
    if named:
        if own is None:
            raise InputError(f"{origin}: {path} holds no file named {' or '.join(_STEMS[split])} (.conll, .jsonl, …).")
        return {before: own}
    found = {path.resolve().name: own} if own else _files_of_folder(path, split)
    if not found:
        raise InputError(
            f"{origin}: the folder holds no {split} files. Expected `{path}/de.conll` or `{path}/de/{split}.conll` "
            f"for a task `de`; supported: {', '.join(SUFFIXES)}."
        )
    return {check_task_name(task, origin): file for task, file in found.items()}


def _files_of_folder(folder: Path, split: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "README", "LICENSE")) or path.stem in _ALL_STEMS:
            continue
        file = _file_of_split(path, split) if path.is_dir() else path
        if file is not None:
            task = path.name if path.is_dir() else path.stem
            _refuse_twice(task, found, split)
            found[task] = file
    return found


def _file_of_split(folder: Path, split: str) -> Path | None:
    """The folder's file that is named as the split; `None` where the task has none."""
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and path.stem in _STEMS[split]]
    if len(files) > 1:
        raise InputError(
            f"{folder} holds several {split} files: {', '.join(file.name for file in files)}. Keep one, or name it."
        )
    return files[0] if files else None
