"""Tags of entities: one scheme in, whatever scheme the file was written in."""

import re
from collections.abc import Sequence

_TAG = re.compile(r"O|[BIESLU]-\S+")


def is_tag(text: str) -> bool:
    """Whether `text` is a tag of IOB1, IOB2, IOBES or BILOU, such as `O` or `B-PER`."""
    return _TAG.fullmatch(text) is not None


def to_iob2(tags: Sequence[str]) -> list[str]:
    """Convert the tags of one sentence, each of which `is_tag`, from IOB1, IOBES or BILOU to IOB2.

    IOB2 comes out as it went in, but for an `I-` that no entity precedes: it starts an entity and becomes `B-`.
    """
    converted = []
    open_type = None
    for tag in tags:
        if tag == "O":
            converted.append(tag)
            open_type = None
            continue
        position, entity_type = tag.split("-", 1)
        inside = position in "IEL" and entity_type == open_type
        converted.append(f"{'I' if inside else 'B'}-{entity_type}")
        open_type = None if position in "ESLU" else entity_type
    return converted
