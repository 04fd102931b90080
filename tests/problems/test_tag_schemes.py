"""Schemes of tags in tasks: what is recognised, learnt and refused."""

import logging

import pytest
from datasets import Dataset, Features, List, Value
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from hf_seqreptile import InputError
from hf_seqreptile.problems.tag_columns import TaggedWords
from hf_seqreptile.problems.tag_schemes import common_labels
from tests.problems.tagging import IGNORED, TAGS, WORDS, class_labels, data, problem


@pytest.mark.parametrize(
    ("tags", "labels"),
    [
        ({"a": ["O", "B-PER"], "b": ["O"]}, ["O", "B-PER", "I-PER"]),
        ({"a": ["B-PER", "I-LOC", "O"], "b": ["I-PER"]}, ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]),
        ({"a": ["NOUN", "-LRB-", "VERB"]}, ["-LRB-", "NOUN", "VERB"]),
        ({"a": ["PER", "LOC", "O"], "b": ["O"]}, ["O", "LOC", "PER"]),
        ({"a": ["O", "U-PER", "B-LOC", "L-LOC"]}, ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]),
        ({"a": ["O", "B", "I"]}, ["O", "B", "I"]),
        ({"a": ["B-geo-loc", "B-person"]}, ["O", "B-geo-loc", "I-geo-loc", "B-person", "I-person"]),
        ({"a": ["O"]}, ["O"]),
    ],
)
def test_labels_of_all_tasks(tags: dict[str, list[str]], labels: list[str]) -> None:
    assert common_labels(tags) == labels


WRITTEN = {
    "iob1": ["I-PER", "I-PER", "B-PER", "O", "I-LOC"],
    "iob2": ["B-PER", "I-PER", "B-PER", "O", "B-LOC"],
    "iobes": ["B-PER", "E-PER", "S-PER", "O", "S-LOC"],
    "bilou": ["B-PER", "L-PER", "U-PER", "O", "U-LOC"],
}
"""The same entities, two of which touch."""


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("scheme", WRITTEN)
def test_a_model_learns_iob2_whatever_the_data_is_written_in(
    tokenizer: PreTrainedTokenizerBase, scheme: str, given: bool
) -> None:
    """As texts or by number, recognised or not."""
    tags = WRITTEN[scheme]
    texts = data((WORDS, tags))
    names = sorted({*tags, "O", "I-ORG"})
    numbers = Dataset.from_dict(
        {"tokens": [WORDS], "ner_tags": [[names.index(tag) for tag in tags]]}, features=class_labels(*names)
    )
    options = {"tag_scheme": scheme} if given else {}
    expected = problem(data((WORDS, WRITTEN["iob2"]))).encode(
        {"sw": data((WORDS, WRITTEN["iob2"]))}, tokenizer, "train"
    )
    its_problem = problem(texts, **options)
    assert its_problem.labels == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    assert its_problem.encode({"sw": texts}, tokenizer, "train")["sw"].to_dict() == expected["sw"].to_dict()
    of_numbers = problem(numbers, **options)
    assert of_numbers.labels == ["O", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-PER", "I-PER"]
    labels = of_numbers.encode({"sw": numbers}, tokenizer, "train")["sw"]["labels"][0]
    spelled = [of_numbers.labels[label] for label in labels if label != IGNORED]
    assert spelled == WRITTEN["iob2"]
    shown = scheme.upper() + (", as --tag_scheme says" if given else "")
    converted = "" if scheme == "iob2" else " Converted to IOB2."
    assert its_problem.notes == [f"Tags: {shown}.{converted}"]


def test_what_a_run_says_of_the_schemes() -> None:
    dirty = data((WORDS, ["I-PER", "I-PER", "O", "B-LOC", "O"]))
    rows = {"de": data((WORDS, WRITTEN["bilou"])), "en": data((WORDS, WRITTEN["iob2"])), "sw": dirty, "tr": dirty}
    rows |= {"nl": data((["a"], ["O"]))}
    assert problem(rows).notes == [
        "Tags: BILOU (de); IOB2 (en); IOB2, though 1 of 2 entities begin with I- (sw, tr); `O` alone (nl). "
        "Converted to IOB2."
    ]
    plain = problem(data((WORDS, ["PER", "PER", "O", "LOC", "O"]), tags="labels"))
    assert plain.notes == ["Tags (column 'labels'): IO (runs of equal tags are entities)."]
    assert plain.labels == ["O", "LOC", "PER"]
    assert (plain.scheme, plain.metric.name) == ("io", "f1")
    parts = problem(data((WORDS, ["PROPN", "PROPN", "VERB", "PROPN", "ADV"])))
    assert parts.notes == ["Tags: no scheme (each tag stands for itself). Scored by accuracy."]
    assert parts.labels == ["ADV", "PROPN", "VERB"]
    assert (parts.scheme, parts.metric.name) == ("none", "accuracy")
    given = problem(data((WORDS, ["PROPN", "PROPN", "O", "PROPN", "ADV"])), tag_scheme="none")
    assert given.labels == ["ADV", "O", "PROPN"]
    assert given.notes == ["Tags: no scheme (each tag stands for itself), as --tag_scheme says. Scored by accuracy."]
    with pytest.raises(
        InputError, match=r"--tag_scheme IOB is unknown\. Choose one of iob1, iob2, iobes, bilou, io, none"
    ):
        problem(tag_scheme="IOB")


def test_a_task_without_prefixes_beside_one_with_them(tokenizer: PreTrainedTokenizerBase) -> None:
    """Its runs of equal tags are entities; where no task has prefixes, one without an `O` has runs too."""
    plain = data((WORDS, ["PER", "PER", "O", "LOC", "LOC"]))
    both = problem({"de": data((WORDS, TAGS)), "sw": plain})
    features = both.encode({"sw": plain}, tokenizer, "train")["sw"]
    spelled = [both.labels[label] for label in features["labels"][0] if label != IGNORED]
    assert spelled == ["B-PER", "I-PER", "O", "B-LOC", "I-LOC"]
    assert problem({"de": plain, "sw": data((["Bonn"], ["LOC"]))}).scheme == "io"
    # And evaluation data with prefixes for a model that has learnt none.
    its_problem = problem(plain)
    features = its_problem.encode({"sw": data((WORDS, WRITTEN["iob2"]))}, tokenizer, "test")["sw"]
    spelled = [its_problem.labels[label] for label in features["labels"][0] if label != IGNORED]
    assert spelled == ["PER", "PER", "PER", "O", "LOC"]


@settings(max_examples=30, deadline=None)
@given(rows=st.lists(st.lists(st.sampled_from(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]), max_size=6), max_size=5))
def test_iob1_is_told_by_its_sentences(rows: list[list[str]]) -> None:
    """By how many entities begin with I-, and with B- though none of their type is before them."""
    with_i = with_b = 0
    for row in rows:
        for before, tag in zip(["O", *row], row, strict=False):
            begins = tag != "O" and before[2:] != tag[2:]
            with_i += begins and tag[0] == "I"
            with_b += begins and tag[0] == "B"
    names = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    columns = {"tokens": [["x"] * len(row) for row in rows], "ner_tags": rows}
    numbers = Dataset.from_dict(
        {**columns, "ner_tags": [[names.index(tag) for tag in row] for row in rows]}, features=class_labels(*names)
    )
    texts = Dataset.from_dict(columns, features=Features({name: List(Value("string")) for name in columns}))
    for dataset in (numbers, texts):
        assert TaggedWords(dataset, "tokens", "ner_tags", "de", "train").count_begins() == (with_i, with_b)


def test_labels_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(InputError, match=r"task 'b' has \['TIME'\], which task 'a' lacks; that one has"):
        common_labels({"a": ["B-PER", "B-LOC"], "b": ["B-PER", "B-TIME"]})


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [["O"], ["O", "b-per"]],
            r"task 'sw', train split, row 2 \(w w\): `b-per` is not a tag. A tag is `O`, or one of",
        ),
        ([["B-PER"], ["B-LOC ", "O"]], r"row 2 \(w w\): `B-LOC ` is not a tag. Write it without white space"),
        ([["0", "1"]], r"row 1 \(w w\): `0` is not a tag. It is a number without a name."),
        ([["NOUN"], ["_"]], r"row 2 \(w\): `_` is not a tag. It stands for a missing tag."),
        (
            [["B-PER"], ["I-Per"]],
            r"row 2 \(w\): the label 'I-Per' differs from 'B-PER' in case or spaces alone. Spell",
        ),
        ([["O", "PER"], ["per"]], r"row 2 \(w\): the label 'per' differs from 'PER' in case or spaces alone."),
        ([["NOUN"], ["Noun"]], r"row 2 \(w\): the label 'Noun' differs from 'NOUN' in case or spaces alone."),
    ],
)
@pytest.mark.parametrize("by_number", [False, True])
def test_odd_tags_are_refused_with_their_row(rows: list[list[str]], message: str, by_number: bool) -> None:
    columns: dict[str, list] = {"tokens": [["w"] * len(row) for row in rows], "ner_tags": rows}
    names = sorted({tag for row in rows for tag in row})
    dataset = Dataset.from_dict(columns)
    if by_number:
        numbers = [[names.index(tag) for tag in row] for row in rows]
        dataset = Dataset.from_dict(columns | {"ner_tags": numbers}, features=class_labels(*names))
    with pytest.raises(InputError, match=message):
        problem(dataset)


def test_odd_tags_of_other_splits_are_refused_too(tokenizer: PreTrainedTokenizerBase) -> None:
    its_problem = problem()
    for tags, message in (
        (["B_PER"], r"task 'sw', test split, row 1 \(w\): `B_PER` is not a tag"),
        (["B-per"], r"task 'sw', test split, row 1 \(w\): the label 'B-per' differs from 'B-PER' in case or spaces"),
        (["U-TIME"], r"task 'sw', test split, row 1 \(w\): unknown label 'U-TIME' \('B-TIME' as a label\); the"),
    ):
        with pytest.raises(InputError, match=message):
            its_problem.encode({"sw": data((["w"], tags))}, tokenizer, "test")


def test_names_that_no_row_has_may_be_anything() -> None:
    numbers = Dataset.from_dict(
        {"tokens": [["Mary", "x"]], "ner_tags": [[1, 0]]},
        features=class_labels("O", "B-PER", "I-LOC", "X", "b-per", ""),
    )
    assert problem(numbers).labels == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]


def test_a_task_with_one_tag_to_learn_is_warned_of(
    tokenizer: PreTrainedTokenizerBase, caplog: pytest.LogCaptureFixture
) -> None:
    few = data((["Bonn", "is"], ["O", "O"]))
    its_problem = problem({"de": few, "sw": data((WORDS, TAGS))})
    with caplog.at_level(logging.WARNING):
        its_problem.encode({"de": few, "sw": data((WORDS, TAGS))}, tokenizer, "train")
        its_problem.encode({"de": few}, tokenizer, "test")
    assert [record.getMessage() for record in caplog.records] == [
        "Task 'de': all training tags are `O`; it teaches nothing else."
    ]
