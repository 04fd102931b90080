"""Sentences of two languages, of which some translate each other: what they are, and files of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..data.names import check_distinct, check_task_name
from ..data.text import read_lines, shown
from ..errors import InputError

PAIRS = "--pairs"


@dataclass(frozen=True)
class Pair:
    """Sentences of two languages.

    Args:
        source: of one.
        target: of the other.
        gold: which of the source translates which of the target, by their places from 0. Default: each the one at its
            own place, and both have equally many.

    Raises:
        InputError: unequally many without `gold`, fewer than two, or one that is empty.
    """

    source: Sequence[str]
    target: Sequence[str]
    gold: frozenset[tuple[int, int]] | None = None

    def __post_init__(self) -> None:
        if self.gold is None and len(self.source) != len(self.target):
            raise InputError(
                f"{len(self.source):,} sentences cannot be paired with {len(self.target):,}; give each its translation"
                f" at the same place."
            )
        for side in (self.source, self.target):
            if len(side) < 2:
                raise InputError(f"{len(side)} sentences are too few to search among; give at least 2.")
            for place, sentence in enumerate(side, 1):
                if not sentence.strip():
                    raise InputError(f"Sentence {place:,} is empty; fill it in, or leave it and its translation out.")


def read_pairs(items: Sequence[str], argument: str = PAIRS) -> dict[str, Pair]:
    """Pairs of text files, one sentence a line, line by line translations of each other; or three files, as BUCC has.

    A line that is empty in both files is passed over, and so are empty lines at a file's end. Of three files, the
    first two have lines `id TAB sentence`, and the third says which translate each other, `id TAB id`.

    Args:
        items: `name=source,target` or `name=source,target,gold`.
        argument: what named them.

    Raises:
        InputError: another form, a name that occurs twice, no such file, unequally many lines (with both numbers), a
            line that is empty in one file alone, or fewer than two sentences.
    """
    return {name: _read(name, files, argument) for name, files in split_items(items, argument).items()}


def split_items(items: Sequence[str], argument: str) -> dict[str, list[Path]]:
    """The files of each `name=source,target`, by name; InputError unless there are two or three of each."""
    form = "write name=source,target, such as deu=deu.txt,eng.txt"
    parts = [item.partition("=") for item in items]
    for (name, separator, rest), item in zip(parts, items, strict=True):
        if not separator or rest.count(",") not in (1, 2) or not all(part.strip() for part in rest.split(",")):
            raise InputError(f"{argument} {shown(item)}: {form}; a file's name must have no comma.")
        if not name.strip():
            raise InputError(f"{argument} {shown(item)}: the pair has no name; {form}.")
        check_task_name(name, argument, kind="pair")
    check_distinct([name for name, _, _ in parts], argument, kind="pair")
    files = {name: [Path(part) for part in rest.split(",")] for name, _, rest in parts}
    for path in (path for paths in files.values() for path in paths):
        if not path.is_file():
            raise InputError(f"{argument}: {path} is no file.")
    return files


def aligned(sides: Mapping[str, Sequence[str]], unit: str = "line") -> Pair:
    """A pair of two sides' sentences, those that are empty on both passed over.

    Args:
        sides: the sentences by where they come from, for messages: source and target.
        unit: what a place is called.

    Raises:
        InputError: as in [`read_pairs`].
    """
    (origin, source), (other, target) = ((name, _without_end(sentences)) for name, sentences in sides.items())
    if len(source) != len(target):
        raise InputError(
            f"{origin} has {len(source):,} {unit}s and {other} {len(target):,}; each {unit} of one must be the "
            f"translation of the same {unit} of the other."
        )
    kept = []
    for place, both in enumerate(zip(source, target, strict=True), 1):
        if all(both):
            kept.append(both)
        elif any(both):
            blank, full = (origin, other) if both[1] else (other, origin)
            raise InputError(
                f"{blank}, {unit} {place:,} is empty, and {full} has a sentence there. Fill it in, or empty both."
            )
    if len(kept) < 2:
        raise InputError(f"{origin} and {other} have {len(kept)} sentences; give at least two.")
    return Pair([one for one, _ in kept], [two for _, two in kept])


def _read(name: str, files: Sequence[Path], argument: str) -> Pair:
    try:
        if len(files) == 3:
            return _read_with_gold(*files)
        if files[0].resolve() == files[1].resolve():
            raise InputError(f"{files[0]} would be paired with itself; name the translations' file.")
        return aligned({str(path): [line.strip() for _, line in read_lines(path)] for path in files})
    except InputError as error:
        raise InputError(f"{argument}, pair {name!r}: {error}") from error


def _read_with_gold(source: Path, target: Path, gold: Path) -> Pair:
    places: list[dict[str, int]] = []
    sides: list[list[str]] = []
    for path in (source, target):
        rows = _columns(path, "id TAB sentence")
        places.append({key: place for place, (_, key, _) in enumerate(rows)})
        sides.append([sentence for _, _, sentence in rows])
        if len(places[-1]) < len(rows):
            raise InputError(f"{path}: an id occurs twice. Each sentence needs one of its own.")
        if len(rows) < 2:
            raise InputError(f"{path} has {len(rows)} sentences; give at least two.")
    found = set()
    for number, one, two in _columns(gold, "id TAB id"):
        for key, known, path in ((one, places[0], source), (two, places[1], target)):
            if key not in known:
                raise InputError(f"{gold}, line {number}: no line of {path} has the id {shown(key)!r}.")
        found.add((places[0][one], places[1][two]))
    if not found:
        raise InputError(f"{gold} names no pair; without one there is nothing to find.")
    return Pair(sides[0], sides[1], frozenset(found))


def _columns(path: Path, form: str) -> list[tuple[int, str, str]]:
    """The number of each line that is not empty, and its two columns."""
    rows = []
    for number, line in read_lines(path):
        if not line.strip():
            continue
        first, _, second = (part.strip() for part in line.partition("\t"))
        if not (first and second):
            raise InputError(f"{path}, line {number}: {shown(line.rstrip())!r} is not of the form {form}.")
        rows.append((number, first, second))
    return rows


def _without_end(sentences: Sequence[str]) -> Sequence[str]:
    """The sentences without the empty ones at their end."""
    end = len(sentences)
    while end and not sentences[end - 1]:
        end -= 1
    return sentences[:end]
