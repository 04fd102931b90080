"""Tags of words: which scheme they are written in, which are none, and one scheme for all of entities."""

import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache

PREFIX_SCHEMES = {"iob1": "BI", "iob2": "BI", "iobes": "BIES", "bilou": "BILU"}
"""The letters that tell a word's place in its entity, by the schemes that have any."""
TAG_SCHEMES = (*PREFIX_SCHEMES, "io", "none")
"""`io`: runs of equal tags are entities, and `O` is outside of them; `none`: each tag stands for itself."""
OUTSIDE = "O"
NO_NAMES: Mapping[str, str] = {}
"""Of types that keep theirs."""
_LAST_AND_ONLY = {"iobes": ("E", "S"), "bilou": ("L", "U")}

_LETTERS = "BIESLU"
_PREFIXED = re.compile(rf"[{_LETTERS}]-\S+")
_POSITION_AND_TYPE = re.compile(rf"([{_LETTERS}])(?:-(\S+))?")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
# Of all schemes that are in use, those of M- and W- too, in either case and with any sign.
_LIKE_PREFIXED = re.compile(r"[BIESLUMW](?:[^\w\s]|_)\S*", re.IGNORECASE)
_LETTER_LAST = re.compile(rf"\S+[-_/:.][{_LETTERS}]")
_TAG = "A tag is `O`, or one of B- I- E- S- L- U- and a type, such as `B-PER`."
_WITHOUT_PREFIXES = "--tag_scheme io (runs of equal tags are entities) or none (each tag stands for itself)"


def is_tag(text: str) -> bool:
    """Whether `text` is a tag of IOB1, IOB2, IOBES or BILOU, such as `O` or `B-PER`."""
    return text == OUTSIDE or _PREFIXED.fullmatch(text) is not None


def recognised_scheme(tags: Collection[str]) -> str | None:
    """The scheme of the distinct tags of a dataset, one of `TAG_SCHEMES`; `None` where all are `O`.

    IOB1 comes out as `iob2`: only sentences tell them apart. Tags that are letters alone (`B`, `I`, `O`) have a scheme
    as well. Where some tags have prefixes and others do not, it is that of those that do.
    """
    inside = {tag for tag in tags if tag != OUTSIDE}
    if not inside:
        return None
    letters = {tag[0] for tag in inside if is_tag(tag)}
    if not letters and OUTSIDE in tags and inside <= {*_LETTERS} and inside & {"B", "I"}:
        letters = inside
    if not letters:
        return "io" if OUTSIDE in tags else "none"
    if letters & {*"LU"} and not letters & {*"ES"}:
        return "bilou"
    return "iobes" if letters & {*"ES"} else "iob2"


def odd_tags(tags: Collection[str], given: str | None = None) -> dict[str, str]:
    """The tags that cannot be what the data means, each with the reason and the mend, as sentences.

    Args:
        tags: the distinct tags of a dataset.
        given: their scheme, where the user names it. Default: the recognised one, and tags that look like those of
            another are odd too.
    """
    scheme = given or recognised_scheme(tags)
    reasons = {tag: reason for tag in tags if (reason := _reason_in_any_scheme(tag))}
    others = [tag for tag in tags if tag not in reasons and tag != OUTSIDE]
    if scheme in PREFIX_SCHEMES:
        have_types = any(map(is_tag, others))
        allowed = re.compile(rf"[{PREFIX_SCHEMES[scheme]}]" + (r"-\S+" if have_types else ""))
        mend = f" Mend it, or say {_WITHOUT_PREFIXES}."
        for tag in others:
            if not allowed.fullmatch(tag):
                other = f" The tags beside it are {scheme.upper()}." if is_tag(tag) else ""
                reasons[tag] = f"{_TAG}{other}{mend}"
    elif not given:
        are_others = bool(others) and all(map(_LETTER_LAST.fullmatch, others))
        if scheme == "io" and all(tag[0] in _LETTERS for tag in others):
            # Letters without a sign between them and the types.
            are_others |= bool({t[1:] for t in others if t[0] == "B"} & {t[1:] for t in others if t[0] == "I"})
        for tag in others:
            if are_others or _LIKE_PREFIXED.fullmatch(tag) or tag == OUTSIDE.lower():
                reasons[tag] = f"{_TAG} Mend it, or, if it is meant so, say {_WITHOUT_PREFIXES}."
            elif tag == "_":
                reasons[tag] = "It stands for a missing tag. Fill it in, or add --tag_scheme none to learn it as one."
    return reasons


def _reason_in_any_scheme(tag: str) -> str | None:
    if not tag:
        return "The tag is missing. Fill it in."
    if not tag.isprintable() or any(map(str.isspace, tag)):
        return "Write it without white space and invisible characters."
    if _NUMBER.fullmatch(tag):
        return "It is a number without a name. Write the tags' names, or give them as a ClassLabel with names."
    return None


@lru_cache(maxsize=2**14)
def position_and_type(tag: str, scheme: str) -> tuple[str, str]:
    """The letter of a tag's place in its entity and the entity's type; `I` where the scheme has no such letters."""
    match = _POSITION_AND_TYPE.fullmatch(tag) if scheme in PREFIX_SCHEMES else None
    return (match[1], match[2] or "") if match else ("I", tag)


def with_position(position: str, entity_type: str) -> str:
    """The tag of that type at that place, such as `B-PER`; the letter alone where the type has no name."""
    return f"{position}-{entity_type}" if entity_type else position


def to_iob2(tags: Sequence[str], scheme: str = "iob2") -> list[str]:
    """Convert the tags of one sentence, none of which is odd, from any scheme but `none` to IOB2.

    IOB2 comes out as it went in, but for an `I-` that no entity precedes: it starts an entity and becomes `B-`.
    """
    converted = []
    open_type: str | None = None
    for tag in tags:
        if tag == OUTSIDE:
            converted.append(tag)
            open_type = None
            continue
        as_iob2, open_type = _next_iob2(tag, open_type, scheme)
        converted.append(as_iob2)
    return converted


@lru_cache(maxsize=2**14)
def _next_iob2(tag: str, open_type: str | None, scheme: str) -> tuple[str, str | None]:
    """A tag in IOB2, behind an entity that is open or none, and the type of the entity that is open behind it."""
    position, entity_type = position_and_type(tag, scheme)
    inside = position in "IEL" and entity_type == open_type
    return with_position("I" if inside else "B", entity_type), None if position in "ESLU" else entity_type


def in_scheme(tags: Sequence[str], scheme: str, learnt: str, renamed: Mapping[str, str] = NO_NAMES) -> list[str]:
    """A sentence's tags as the model learns them.

    Args:
        tags: none of which is odd.
        scheme: that they are written in, one of `TAG_SCHEMES`.
        learnt: the scheme of the labels, one of these but `iob1`.
        renamed: other names of types; those that are `O` are outside. Entities that touch stay apart.
    """
    if learnt in PREFIX_SCHEMES:
        return _from_iob2(rename(to_iob2(tags, scheme), renamed, "iob2"), learnt)
    if learnt == "io" and scheme in PREFIX_SCHEMES:
        tags = [tag if tag == OUTSIDE else position_and_type(tag, scheme)[1] for tag in tags]
    return rename(tags, renamed, learnt)


def rename(tags: Sequence[str], renamed: Mapping[str, str], scheme: str) -> list[str]:
    """Tags of a scheme, with other names of types."""
    if not renamed:
        return list(tags)
    parts = [(tag, *position_and_type(tag, scheme)) for tag in tags]
    return [_renamed(tag, position, name, renamed, scheme) for tag, position, name in parts]


def _renamed(tag: str, position: str, name: str, renamed: Mapping[str, str], scheme: str) -> str:
    if name not in renamed or (tag == OUTSIDE and scheme != "none"):
        return tag
    new = renamed[name]
    return with_position(position, new) if scheme in PREFIX_SCHEMES and new != OUTSIDE else new


def _from_iob2(tags: list[str], scheme: str) -> list[str]:
    if scheme not in _LAST_AND_ONLY:
        return tags
    last, only = _LAST_AND_ONLY[scheme]
    for begin, end in entity_spans(tags):
        tags[end] = with_position(only if begin == end else last, position_and_type(tags[end], scheme)[1])
    return tags


def entity_spans(tags: Sequence[str]) -> list[tuple[int, int]]:
    """First and last word, counted from 0, of each entity in the IOB2 tags of one sentence."""
    begins = [i for i, tag in enumerate(tags) if tag[0] == "B"]
    ends = [i for i, tag in enumerate(tags) if tag != OUTSIDE and (i + 1 == len(tags) or tags[i + 1][0] != "I")]
    return list(zip(begins, ends, strict=True))
