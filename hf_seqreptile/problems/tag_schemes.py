"""The schemes that the tasks' tags are written in, and the one that all of them are learnt in."""

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property

from ..data.tags import (
    OUTSIDE,
    PREFIX_SCHEMES,
    in_scheme,
    is_tag,
    position_and_type,
    recognised_scheme,
    with_position,
)
from ..errors import InputError
from .labels import misspelled, same_but_for_case, task_with_all_labels
from .tag_columns import TaggedWords

SHOWN_AS: dict[str | None, str] = {
    **{scheme: scheme.upper() for scheme in PREFIX_SCHEMES},
    "io": "IO (runs of equal tags are entities)",
    "none": "no scheme (each tag stands for itself)",
    None: "`O` alone",
}


class TaskSchemes:
    """The scheme of each task's tags.

    Args:
        defining: the sentences that tell the labels.

    Raises:
        InputError: odd tags; so many that they may be words; types that differ from another one in case or spaces
            alone.
    """

    def __init__(self, defining: Sequence[TaggedWords]) -> None:
        self._schemes = [(words, words.scheme) for words in defining]
        for words in defining:
            words.refuse_words()
        self._check_spelling()

    @cached_property
    def learnt(self) -> str:
        """The scheme of the labels: `iob2` if any task has prefixes, else `io` if any has an `O`, else `none`."""
        found = {scheme for _, scheme in self._schemes if scheme}
        if not found or found & {*PREFIX_SCHEMES}:
            return "iob2"
        has_outside = any(
            OUTSIDE in (*words.tags, *(words.renamed.get(tag) for tag in words.tags))
            for words, _ in self._schemes
            if not words.given
        )
        return "io" if "io" in found or has_outside else "none"

    @property
    def tags_by_task(self) -> dict[str, list[str]]:
        """Each task's tags as they are learnt."""
        found: dict[str, list[str]] = {}
        for words, scheme in self._schemes:
            given = scheme or self.learnt
            learnt = [in_scheme([tag], given, self.learnt, words.renamed)[0] for tag in words.tags]
            found.setdefault(words.task, []).extend(learnt)
        return found

    def described(self, label_by_default: str) -> str:
        """What was recognised and what is learnt, as a line to print.

        Args:
            label_by_default: the column of tags whose name needs no saying.
        """
        tasks: dict[str, list[str]] = {}
        for words, scheme in self._schemes:
            names = tasks.setdefault(self._shown(words, scheme), [])
            if words.task not in names:
                names.append(words.task)
        which = "; ".join(text + (f" ({', '.join(names)})" if len(tasks) > 1 else "") for text, names in tasks.items())
        columns = {words.column for words, _ in self._schemes} - {label_by_default}
        where = f" (column {', '.join(map(repr, sorted(columns)))})" if columns else ""
        by = ", as --tag_scheme says" if self._schemes[0][0].given else ""
        is_other = self.learnt == "iob2" and {*tasks} - {SHOWN_AS["iob2"], SHOWN_AS[None]}
        learnt = " Converted to IOB2." if is_other else ""
        score = " Scored by accuracy." if self.learnt == "none" else ""
        return f"Tags{where}: {which}{by}.{learnt}{score}"

    def _shown(self, words: TaggedWords, scheme: str | None) -> str:
        if scheme != "iob2" or words.given:
            return SHOWN_AS[scheme]
        with_i, with_b = words.count_begins()
        if with_i and not with_b:
            return SHOWN_AS["iob1"]
        begins = f", though {with_i:,} of {with_i + with_b:,} entities begin with I-" if with_i else ""
        return f"{SHOWN_AS[scheme]}{begins}"

    def _check_spelling(self) -> None:
        places: dict[str, tuple[TaggedWords, str]] = {}
        for words, scheme in self._schemes:
            for tag in words.occurring:
                if tag != OUTSIDE:
                    name = position_and_type(tag, scheme or "none")[1]
                    if (name := words.renamed.get(name, name)) != OUTSIDE:
                        places.setdefault(name, (words, tag))
        known: list[str] = []
        for name, (words, tag) in places.items():
            if other := same_but_for_case(name, known):
                raise InputError(f"{words.row_with(tag)}: {misspelled(tag, places[other][1])}")
            known.append(name)


def common_labels(
    tags_by_task: Mapping[str, Sequence[str]], scheme: str | None = None, unite: bool = False
) -> list[str]:
    """One label list for all tasks: `O`, then `B-` and `I-` of every entity type, or the tags where there are none.

    A small task may lack a type, but one task must have them all; otherwise the tasks spell their labels differently.

    Args:
        tags_by_task: each task's distinct tags.
        scheme: of all of them. Default: the recognised one.
        unite: take the types of all tasks, whatever others lack.

    Raises:
        InputError: two tasks each have an entity type that the other lacks.
    """
    scheme = scheme or recognised_scheme({tag for tags in tags_by_task.values() for tag in tags}) or "iob2"
    types = types_by_task(tags_by_task, scheme)
    names = sorted(set().union(*types.values()) if unite else types[task_with_all_labels(types)])
    if scheme == "none":
        return names
    return [OUTSIDE, *(names if scheme == "io" else labels_of_types(names, "iob2"))]


def types_by_task(tags_by_task: Mapping[str, Sequence[str]], scheme: str) -> dict[str, set[str]]:
    """Each task's types, or tags where there are none."""
    return {
        task: {position_and_type(tag, scheme)[1] for tag in tags if tag != OUTSIDE or scheme == "none"}
        for task, tags in tags_by_task.items()
    }


def labels_of_types(types: Sequence[str], scheme: str) -> list[str]:
    """The labels of entity types in a scheme with prefixes, without `O`."""
    return [with_position(position, name) for name in types for position in PREFIX_SCHEMES[scheme]]


def entity_types(labels: Sequence[str], scheme: str) -> list[str]:
    """The types that labels of a scheme are of."""
    return list(dict.fromkeys(position_and_type(label, scheme)[1] for label in labels if label != OUTSIDE))


def scheme_of_model(labels: Sequence[str], types: Collection[str]) -> str:
    """The scheme of a model's labels, of these entity types if it has any; `io` where they have no prefixes."""
    own = {label for label in labels if label not in types and position_and_type(label, "iob2")[1] in types}
    if not own and not {*labels} & {*types}:
        own = set(filter(is_tag, labels))
    return recognised_scheme(own | {OUTSIDE}) or "io"
