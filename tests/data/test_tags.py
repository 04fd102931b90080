"""Schemes of tags: which one it is, what is no tag, and all of them as IOB2."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from hf_seqreptile.data.tags import PREFIX_SCHEMES, entity_spans, in_scheme, odd_tags, recognised_scheme, to_iob2

TYPES = ["PER", "geo-loc", "E-mail"]
Entities = list[tuple[str | None, int]]
"""Types and lengths of what follows one another; no type is what lies between entities."""
ENTITIES = st.lists(st.tuples(st.none() | st.sampled_from(TYPES), st.integers(1, 4)), max_size=6)


def write(entities: Entities, scheme: str) -> list[str]:
    """The tags, by the definition of each scheme."""
    tags: list[str] = []
    before: str | None = None
    for of_type, length in entities:
        inner = ["I"] * max(length - 2, 0)
        places = {
            "iob1": ["B" if of_type == before else "I"] + ["I"] * (length - 1),
            "iob2": ["B"] + ["I"] * (length - 1),
            "iobes": ["S"] if length == 1 else ["B", *inner, "E"],
            "bilou": ["U"] if length == 1 else ["B", *inner, "L"],
        }
        if of_type is None:
            tags += ["O"] * length
        elif scheme == "io":
            tags += [of_type] * length
        else:
            tags += [f"{place}-{of_type}" for place in places[scheme]]
        before = of_type
    return tags


def spans(entities: Entities) -> list[tuple[int, int]]:
    found, start = [], 0
    for of_type, length in entities:
        if of_type is not None:
            found.append((start, start + length - 1))
        start += length
    return found


@given(entities=ENTITIES, scheme=st.sampled_from([*PREFIX_SCHEMES]))
def test_entities_are_the_same_in_every_scheme(entities: Entities, scheme: str) -> None:
    iob2 = write(entities, "iob2")
    assert to_iob2(write(entities, scheme), scheme) == to_iob2(iob2) == iob2
    assert entity_spans(iob2) == spans(entities) == [(first, last) for _, first, last in get_entities(iob2)]


@given(entities=ENTITIES)
def test_runs_of_equal_tags_are_entities(entities: Entities) -> None:
    """Those that touch and have one type are one."""
    apart = [part for one in entities for part in (one, (None, 1))]
    assert to_iob2(write(apart, "io"), "io") == write(apart, "iob2")
    assert in_scheme(write(entities, "bilou"), "bilou", "io") == write(entities, "io")


@pytest.mark.parametrize(
    ("written", "iob2"),
    [
        ("I-PER I-PER O I-LOC B-LOC I-LOC", "B-PER I-PER O B-LOC B-LOC I-LOC"),
        ("I-PER I-LOC I-LOC", "B-PER B-LOC I-LOC"),
        ("B-PER I-PER E-PER S-LOC S-LOC O", "B-PER I-PER I-PER B-LOC B-LOC O"),
        ("B-PER I-PER L-PER U-LOC B-LOC L-LOC", "B-PER I-PER I-PER B-LOC B-LOC I-LOC"),
        ("E-PER O L-PER I-PER", "B-PER O B-PER B-PER"),
        ("B I O I B", "B I O B B"),
    ],
)
def test_schemes_become_iob2(written: str, iob2: str) -> None:
    assert to_iob2(written.split()) == iob2.split()
    assert to_iob2(iob2.split()) == iob2.split()


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        ("O B-PER I-PER", "iob2"),
        ("O I-PER", "iob2"),
        ("O B-PER S-LOC", "iobes"),
        ("O B-PER I-PER E-PER", "iobes"),
        ("O U-PER", "bilou"),
        ("B-PER I-PER L-PER", "bilou"),
        ("O B-geo-loc", "iob2"),
        ("O B I", "iob2"),
        ("O B I L U", "bilou"),
        ("O PER LOC", "io"),
        ("O L", "io"),
        ("O BANK INSURANCE", "io"),
        ("BN IN NN", "none"),
        ("NOUN -LRB- `` $ SYM", "none"),
        ("NN I", "none"),
        ("O", None),
        ("", None),
    ],
)
def test_schemes_are_recognised(tags: str, scheme: str | None) -> None:
    assert recognised_scheme(tags.split()) == scheme
    assert odd_tags(tags.split()) == {}


@pytest.mark.parametrize(
    ("tags", "odd"),
    [
        (["O", "B-PER", "LOC"], ["LOC"]),
        (["O", "B-PER", "b-per"], ["b-per"]),
        (["O", "b-per", "i-per"], ["b-per", "i-per"]),
        (["O", "B_PER", "I_PER"], ["B_PER", "I_PER"]),
        (["O", "PER-B", "PER-I"], ["PER-B", "PER-I"]),
        (["O", "BPER", "IPER", "BLOC"], ["BPER", "IPER", "BLOC"]),
        (["O", "B-LOC ", "I-LOC"], ["B-LOC "]),
        (["O", "B-LOC\u200b"], ["B-LOC\u200b"]),
        (["O ", "LOC"], ["O "]),
        (["o", "per"], ["o"]),
        (["o", "B-PER"], ["o"]),
        (["0", "1"], ["0", "1"]),
        (["0", "B-PER"], ["0"]),
        (["O", "B-"], ["B-"]),
        (["O", "B-PER", "M-PER"], ["M-PER"]),
        (["O", "B-PER", "E-PER", "L-PER"], ["L-PER"]),
        (["O", "B-PER", "I"], ["I"]),
        (["O", ""], [""]),
        (["NOUN", "_"], ["_"]),
        (["NOUN", "proper noun"], ["proper noun"]),
    ],
)
def test_odd_tags(tags: Sequence[str], odd: Sequence[str]) -> None:
    reasons = odd_tags(tags)
    assert [tag for tag in tags if tag in reasons] == odd
    assert all(reason.endswith(".") for reason in reasons.values())


def test_a_given_scheme_says_what_is_odd() -> None:
    assert odd_tags(["O", "PER", "E-mail"]).keys() == {"PER"}
    for tags in (["O", "PER", "E-mail"], ["O", "b-per"], ["o", "_"]):
        assert odd_tags(tags, "io") == odd_tags(tags, "none") == {}
    assert odd_tags(["O", "0", "a b", ""], "none").keys() == {"0", "a b", ""}
    assert odd_tags(["O", "B-PER", "S-PER"], "iob2").keys() == {"S-PER"}
    assert odd_tags(["O", "PER"], "iob2").keys() == {"PER"}
    assert odd_tags(["O", "B", "L"], "bilou") == {}


def test_tags_without_entities_stay() -> None:
    assert in_scheme(["NOUN", "B-PER"], "none", "none") == ["NOUN", "B-PER"]
