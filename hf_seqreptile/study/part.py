"""A part of a study's file, which knows where it stands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.names import unknown_name
from ..errors import InputError
from ..problems.tasks_file import TaskEntry, read_entry

SET_BY_THE_STUDY = {
    "method", "seed", "output_dir", "model_name_or_path", "max_gradient_computations", "max_steps",
    "num_train_epochs", "do_train", "do_eval", "dry_run", "save_example_sums", "tasks_file",
}  # fmt: skip
"""Arguments of the scripts that a study sets itself."""


@dataclass(frozen=True)
class Part:
    """A part of the file: what it holds, and where it stands.

    Args:
        path: of the file.
        lines: of each name in the file, as [`lines_of`] gives them.
        place: the names above it.
        content: what it holds.
    """

    path: Path
    lines: Mapping[tuple[Any, ...], int]
    place: tuple[Any, ...]
    content: Any

    def where(self, *names: Any) -> str:
        """File, line and names of a place in this part, for messages."""
        place = (*self.place, *names)
        line = next((self.lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in self.lines), 1)
        return ", ".join([f"{self.path}", f"line {line}", *([".".join(map(str, place))] if place else [])])

    def wrong(self, message: str, *names: Any) -> InputError:
        """The error for a place in this part."""
        return InputError(f"{self.where(*names)}: {message}")

    def mapping(self, what: str) -> dict[str, Any]:
        """The content as names with their values; refused if it is something else."""
        if not isinstance(self.content, dict) or not all(isinstance(name, str) for name in self.content):
            raise self.wrong(f"give {what}.")
        return self.content

    def part(self, name: Any) -> "Part":
        """The part under a name, or at a place of a list."""
        return Part(self.path, self.lines, (*self.place, name), self.content[name])

    def known(self, names: Sequence[str]) -> None:
        """Refuse a name that is none of these, with the nearest."""
        for name in self.mapping(f"some of {', '.join(names)}"):
            if name not in names:
                raise unknown_name(name, names, self.where(name), "key")

    def needed(self, name: str, what: str) -> "Part":
        """The part under a name that must be there."""
        if name not in self.content:
            raise self.wrong(f"`{name}` is missing: {what}.")
        return self.part(name)

    def check_entry(self, name: str, keys: Mapping[str, Any], *place: Any) -> TaskEntry:
        """An entry of a tasks' file that stands in this part; its files must be there.

        Args:
            name: of the task.
            keys: of the entry.
            place: where in this part it stands.
        """
        entry = read_entry(self.path, name, keys, self.where(*place))
        for key in entry.problem.arguments.files_of_splits.values():
            for file in keys[key] if isinstance(keys.get(key), list) else [keys.get(key)]:
                if file is not None and not (self.path.parent / file).exists():
                    raise self.wrong(f"task {name!r} has no such {key}: {self.path.parent / file}.", *place)
        return entry

    def number(self, minimum: int) -> int:
        """The content as a whole number."""
        if not isinstance(self.content, int) or isinstance(self.content, bool) or self.content < minimum:
            raise self.wrong(f"is {self.content!r}; give a whole number of at least {minimum}.")
        return self.content

    def arguments(self) -> list[str]:
        """The content as arguments of a script, as on its command line."""
        given = self.mapping("arguments of the scripts by name")
        for name in given:
            if name.removeprefix("--") in SET_BY_THE_STUDY:
                raise self.wrong("a study sets this argument itself; remove it.", name)
            if name.removeprefix("--") == "use_peft":
                raise self.wrong("a study carries whole encoders from run to run, and adapters have none.", name)
        parts = []
        for name, value in given.items():
            values = value if isinstance(value, list) else [value]
            if not all(isinstance(one, str | int | float) for one in values):
                raise self.wrong(f"is {value!r}; give a value, or a list of them.", name)
            parts += [f"--{name}", *map(str, values)]
        return parts
