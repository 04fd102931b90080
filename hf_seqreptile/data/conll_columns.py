"""The columns of CoNLL files by name, by number, or as an attribute that is written within one."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

from ..errors import InputError
from .tags import OUTSIDE, is_tag
from .text import shown

TAGS = "ner_tags"
"""What the column of tags is called where the user does not name one, and the file's layout tells which it is."""
CONLL_U = 10
"""The columns of CoNLL-U."""
_CONLL_U = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
_ATTRIBUTES = (_CONLL_U.index("feats"), _CONLL_U.index("misc"))
_NAMES = {
    (CONLL_U, True): _CONLL_U,
    # GermEval 2014, and CoNLL-2003.
    (4, True): ("id", "tokens", TAGS, "nested_ner_tags"),
    (4, False): ("tokens", "pos_tags", "chunk_tags", TAGS),
}
"""What columns are called, by their number and whether the first counts the words."""
_GLOBAL = "global.columns"


@dataclass(frozen=True)
class TagColumn:
    """Where a word's tag is.

    Args:
        place: of the column, from 0.
        attribute: the tag is its value, in a column of `name=value|name=value`. Default: the tag is all of the column.
        missing: the tag of a word without the attribute.
    """

    place: int
    attribute: str | None = None
    missing: str = "_"

    @property
    def reader(self) -> Callable[[Sequence[str]], str]:
        """`read`, or what is as good and faster, for many lines."""
        return itemgetter(self.place) if self.attribute is None else self.read

    def read(self, row: Sequence[str]) -> str:
        """The tag of a line's word."""
        value = row[self.place]
        if self.attribute is None:
            return value
        found = _value(value, self.attribute)
        return self.missing if found is None else found


def find_tag_column(
    path: Path,
    name: str,
    columns: int,
    has_index: bool,
    rows: Callable[[], Iterator[Sequence[str]]],
    tag_scheme: str | None = None,
) -> TagColumn | None:
    """The column of tags that the user names; `None` where it is for the file's layout to tell.

    It is named by its number, from 1; as CoNLL-U, CoNLL-2003 (`pos_tags`, `chunk_tags`, `ner_tags`) or GermEval
    (`ner_tags`, `nested_ner_tags`) do; as the file's own comment `# global.columns = ID FORM …` does; or it is an
    attribute within CoNLL-U's FEATS or MISC, such as NorNE's `name=B-PER`. Words without that attribute have `O`, or
    `_` where nothing says that `O` is among the tags.

    Args:
        path: of the file.
        name: what the user calls the column.
        columns: how many there are.
        has_index: whether the first one counts the words.
        rows: reads the file anew.
        tag_scheme: of the tags, where the user names it.

    Raises:
        InputError: there is no such column.
    """
    usual = _NAMES.get((columns, has_index), ())
    if name == TAGS and name not in usual:
        return None
    if name.isdecimal():
        place = int(name) - 1
    else:
        names = usual if name.lower() in usual else _own_names(rows(), columns)
        place = names.index(name.lower()) if name.lower() in names else -1
        if place < 0 and columns == CONLL_U and has_index and (found := _attribute(rows(), name, tag_scheme)):
            return found
    if not (2 if has_index else 0) <= place < columns:
        raise InputError(
            f"{path}: --label_column_name {shown(name)} is not among its {columns} columns. Name the one of tags "
            f"{described_columns(columns, has_index)}."
        )
    return TagColumn(place)


def described_columns(columns: int, has_index: bool) -> str:
    """How the columns of tags may be named, for messages."""
    usual = [name for name in _NAMES.get((columns, has_index), ()) if name not in ("id", "form", "tokens")]
    attributes = ", or as an attribute in feats or misc" if columns == CONLL_U else ""
    return "by its number, counted from 1" + (f", as {', '.join(usual)}" if usual else "") + attributes


def _own_names(rows: Iterator[Sequence[str]], columns: int) -> Sequence[str]:
    """The names that a comment of CoNLL-U Plus gives the columns."""
    own = next((row for row in rows if len(row) == columns + 3 and row[1] == _GLOBAL), ())
    return [name.lower() for name in own[3:]]


def _attribute(rows: Iterator[Sequence[str]], name: str, tag_scheme: str | None) -> TagColumn | None:
    values: dict[int, set[str]] = {place: set() for place in _ATTRIBUTES}
    for row in rows:
        if len(row) == CONLL_U and row[0].isdecimal():
            for place, found in values.items():
                if (value := _value(row[place], name)) is not None:
                    found.add(value)
    place = max(values, key=lambda each: len(values[each]))
    if not values[place]:
        return None
    has_outside = tag_scheme not in (None, "none") or all(map(is_tag, values[place]))
    return TagColumn(place, name, OUTSIDE if has_outside else "_")


def _value(attributes: str, name: str) -> str | None:
    """The value of an attribute among `name=value|name=value`."""
    start = f"{name}="
    return next((one.removeprefix(start) for one in attributes.split("|") if one.startswith(start)), None)
