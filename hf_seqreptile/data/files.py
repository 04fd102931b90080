"""Local files: `name=path`, a plain path, or a folder with one file a task."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from datasets import Dataset

from ..errors import InputError
from .build import Cache
from .columns import split_by_column, split_by_id, tell_of_ids
from .formats import SUFFIXES, Reading, check_file, read_file
from .names import SPLIT_NAMES, check_task_name, split_and_task, split_item, unknown_name
from .source import NoSuchSplitError

_ALL_STEMS = {stem for stems in SPLIT_NAMES.values() for stem in stems}
ONE_TASK = "all"
"""The task of `--train_file train.json --validation_file dev.json`, as Hugging Face's scripts take files."""


class FileSource:
    """The tasks that lists of files name.

    Args:
        items: split -> what the user typed after its argument.
        reading: what formats are told that cannot say it themselves.
        cache: where what is read is kept.
        task_column: the column that names each row's task; then every item is one plain file.
        id_names_task: whether the ids of a file given without a name may name the tasks.
        wanted: the tasks that the user named.
        argument: what named the files of all splits. Default: `--{split}_file`.
    """

    def __init__(
        self,
        items: Mapping[str, Sequence[str] | None],
        reading: Reading,
        cache: Cache,
        *,
        task_column: str | None = None,
        id_names_task: bool = False,
        wanted: Sequence[str] = (),
        argument: str | None = None,
    ) -> None:
        self._items = items
        self._reading = reading
        self._cache = cache
        self._task_column = task_column
        self._id_names_task = id_names_task
        self._wanted = wanted
        self._argument = argument
        self._found: dict[str, dict[str, Path | Dataset]] = {}

    def tasks(self, split: str) -> list[str]:
        """The tasks that have examples for `split`, in the order given; a folder's are sorted."""
        return list(self._find(split))

    def check(self, task: str, split: str, argument: str) -> None:
        """Refuse a task without a file for `split`; `argument` named it."""
        if task in self.tasks(split):
            return
        known = {name for each in self._items for name in self.tasks(each)}
        if task not in known:
            raise unknown_name(task, known, argument)
        mend = "Name" if self._argument else f"Add `{task}=path` to --{split}_file, or name"
        raise NoSuchSplitError(
            f"Task {task!r} has no {split} data. {mend} the tasks that have some with "
            f"--{'languages' if split == 'train' else 'eval_languages'}: {', '.join(self.tasks(split)) or 'none has'}."
        )

    def read(self, task: str, split: str) -> Dataset:
        """All examples of a task that `tasks` names."""
        found = self._find(split)[task]
        return self._read_file(found, split) if isinstance(found, Path) else found

    def _find(self, split: str) -> dict[str, Path | Dataset]:
        """The file of each task, or its examples where a file had to be read to learn of its tasks."""
        if split not in self._found:
            argument = self._argument or f"--{split}_file"
            found: dict[str, Path | Dataset] = {}
            for item in self._items.get(split) or ():
                for task, content in self._find_in(item, split, argument).items():
                    _refuse_twice(task, found, argument)
                    found[task] = content
            self._found[split] = found
        return self._found[split]

    def _find_in(self, item: str, split: str, argument: str) -> Mapping[str, Path | Dataset]:
        path = Path(item).expanduser()
        if self._task_column:
            return self._split_by_column(path, split, argument, self._task_column)
        paths = _expand(item, split, argument)
        for file in paths.values():
            check_file(file)
        if list(paths.values()) != [path]:
            return paths
        content: Path | Dataset = path
        if self._id_names_task:
            content = self._read_file(path, split)
            if by_id := split_by_id(content, self._wanted):
                tell_of_ids(by_id, str(path))
                return by_id
        return {ONE_TASK if self._is_one_task else next(iter(paths)): content}

    @property
    def _is_one_task(self) -> bool:
        """Whether each split is one file without a name, so that they belong together whatever they are called."""
        given = [items for items in self._items.values() if items]
        lone = [Path(items[0]).expanduser() for items in given if len(items) == 1]
        return len(lone) == len(given) and all(p.is_file() for p in lone) and len({p.stem for p in lone}) > 1

    def _split_by_column(self, path: Path, split: str, argument: str, column: str) -> dict[str, Dataset]:
        if not path.is_file():
            raise InputError(
                f"{argument}: `{path}` is not a file. With --task_column, give plain files: the column "
                f"{column!r} names the tasks."
            )
        check_file(path)
        return split_by_column(self._read_file(path, split), column, str(path))

    def _read_file(self, path: Path, split: str) -> Dataset:
        return read_file(path, split, self._reading, self._cache)


def _refuse_twice(task: str, found: Mapping[str, object], argument: str) -> None:
    if task in found:
        raise InputError(f"{argument}: the task {task!r} occurs twice. Give it one file, or two names.")


def _expand(item: str, split: str, argument: str) -> dict[str, Path]:
    """The task and file that one item of `argument` stands for, or the several of a folder."""
    origin = f"{argument}: `{item}`"
    name, typed = split_item(item)
    path = Path(typed).expanduser()
    if name is not None:
        check_task_name(name, origin)
    if not typed or not (path.is_file() or path.is_dir()):
        problem = "is neither a regular file nor a folder" if typed and path.exists() else "does not exist"
        raise InputError(f"{origin}: the file `{typed}` {problem}. Give a file, or a folder with one file a task.")
    if path.is_file():
        return {check_task_name(path.stem, origin) if name is None else name: path}
    own = _file_of_split(path, split)
    if name is not None:
        if own is None:
            raise InputError(
                f"{origin}: {path} holds no file named {' or '.join(SPLIT_NAMES[split])} (.conll, .jsonl, …)."
            )
        return {name: own}
    found = {path.resolve().name: own} if own else _files_of_folder(path, split, argument)
    if not found:
        raise InputError(
            f"{origin}: the folder holds no {split} files. Expected `{path}/de.conll` or `{path}/de/{split}.conll` "
            f"for a task `de`; supported: {', '.join(SUFFIXES)}."
        )
    return {check_task_name(task, origin): file for task, file in found.items()}


def _files_of_folder(folder: Path, split: str, argument: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "README", "LICENSE")) or path.stem in _ALL_STEMS:
            continue
        if path.is_dir():
            task, file = path.name, _file_of_split(path, split)
        else:
            of_split, task = split_and_task(path.stem) or (split, path.stem)
            file = path if of_split == split else None
        if file is not None:
            _refuse_twice(task, found, argument)
            found[task] = file
    return found


def _file_of_split(folder: Path, split: str) -> Path | None:
    """The folder's file that is named as the split; `None` where the task has none."""
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and path.stem in SPLIT_NAMES[split]]
    if len(files) > 1:
        raise InputError(
            f"{folder} holds several {split} files: {', '.join(file.name for file in files)}. Keep one, or name it."
        )
    return files[0] if files else None
