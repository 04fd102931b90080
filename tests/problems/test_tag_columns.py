"""Columns of words and tags: by name, or as the only ones that can be; never a guess."""

from typing import Any

import pytest
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from hf_seqreptile import InputError
from hf_seqreptile.problems.tag_columns import find_columns
from hf_seqreptile.problems.token_classification import TokenClassification, TokenClassificationArguments
from tests.problems.tagging import TAGS, WORDS, data, problem


@pytest.mark.parametrize(
    ("options", "columns"),
    [
        ({}, {"text": "tokens", "tags": "ner_tags"}),
        ({}, {"text": "first", "tags": "second"}),
        ({"task_name": "POS"}, {"text": "tokens", "tags": "pos_tags"}),
        ({"text_column_name": "words", "label_column_name": "labels"}, {"text": "words", "tags": "labels"}),
    ],
    ids=str,
)
def test_columns_are_found_as_hugging_faces_script_finds_them(
    tokenizer: PreTrainedTokenizerBase, options: dict[str, Any], columns: dict[str, str]
) -> None:
    dataset = data((WORDS, TAGS), **columns)
    its_problem = problem(dataset.add_column("more", ["x"]), **options)
    assert its_problem.texts({"train": {"sw": dataset}}) == set(WORDS)
    assert len(its_problem.encode({"sw": dataset}, tokenizer, "train")["sw"]) == 1


@pytest.mark.parametrize(
    ("columns", "options", "found"),
    [
        ({"id": ["1"], "tokens": [WORDS], "tags": [TAGS]}, {}, ("tokens", "tags")),
        ({"id": ["1"], "tags": [TAGS], "tokens": [WORDS]}, {}, ("tokens", "tags")),
        ({"words": [WORDS], "lang": ["sw"], "ner_tags": [TAGS], "n": [[1]]}, {}, ("words", "ner_tags")),
        ({"labels": [TAGS], "words": [WORDS]}, {}, ("words", "labels")),
        ({"tokens": [WORDS], "pos_tags": [WORDS], "ner_tags": [TAGS]}, {}, ("tokens", "ner_tags")),
        ({"tokens": [WORDS], "raw": [WORDS], "tags": [TAGS]}, {"label_column_name": "tags"}, ("tokens", "tags")),
        ({"raw": [WORDS], "tokens": [TAGS]}, {"text_column_name": "raw"}, ("raw", "tokens")),
        ({"tokens": [TAGS], "raw": [WORDS]}, {"label_column_name": "tokens"}, ("raw", "tokens")),
    ],
    ids=str,
)
def test_columns_are_taken_by_name_or_as_the_only_ones(
    columns: dict[str, list], options: dict[str, str], found: tuple[str, str]
) -> None:
    args = TokenClassificationArguments(**options)
    dataset = Dataset.from_dict(columns)
    assert find_columns("sw", dataset, args.text_column_name, args.label_column_name, args.label_by_default) == found


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"tokens": [WORDS], "tags": [TAGS], "pos": [WORDS]}, {},
         "which column holds the tags cannot be told; it may be any of tags, pos. Name it with --label_column_name."),
        ({"words": [WORDS], "pos": [["N"] * 5]}, {},
         "which column holds the tags cannot be told; it may be any of words, pos. Name it with --label_column_name."),
        ({"a": [WORDS], "b": [WORDS], "ner_tags": [TAGS]}, {},
         "which column holds the words cannot be told; it may be any of a, b. Name it with --text_column_name."),
        ({"id": ["1"], "tokens": [WORDS], "tags": ["O O"]}, {},
         "which column holds the tags cannot be told; there are id, tokens, tags. Name it with --label_column_name."),
        ({"tokens": [WORDS], "tags": [[0, 1]]}, {}, r"Column 'tags' of task 'sw' holds List\(Value\('int64'\)\)"),
        ({"tokens": [WORDS], "tags": [TAGS]}, {"label_column_name": "tokens", "text_column_name": "tokens"},
         "--text_column_name and --label_column_name both name 'tokens'. Give each its own column."),
        ({"x_tags": [WORDS], "y": [TAGS], "z": [TAGS]}, {"task_name": "x", "text_column_name": "x_tags"},
         "which column holds the tags cannot be told; it may be any of y, z"),
    ],
    ids=str,
)  # fmt: skip
def test_columns_that_cannot_be_told_are_refused(
    columns: dict[str, list], options: dict[str, str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        problem(Dataset.from_dict(columns), **options)


def test_numbers_may_be_given_names(tokenizer: PreTrainedTokenizerBase) -> None:
    """One task's tags may be numbers, and another's written out."""
    numbers = Dataset.from_dict({"tokens": [["Juma", "jana"], ["jana"]], "ner_tags": [[1, 0], [2]]})
    names = ["O", "B-PER", "B-LOC"]
    written = Dataset.from_dict({"tokens": [["jana"]], "ner_tags": [["B-LOC"]]})
    args = TokenClassificationArguments(tag_names=names)
    its_problem = TokenClassification({"train": {"sw": numbers, "de": written}}, args)
    assert its_problem.labels == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    assert its_problem.encode({"sw": numbers}, tokenizer, "test")["sw"].with_format(None)["labels"][:] == [
        [-100, 3, 0, -100],
        [-100, 1, -100],
    ]
    with pytest.raises(InputError, match=r"^--label_names has no effect here: no task's tags are numbers"):
        TokenClassification({"train": {"de": written}}, args)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["O", "B-PER"], r"task 'sw', train split, row 2: the tag 2 has no name: --label_names has 2, for 0 to 1\."),
        (["O", "B-PER", "B-LOC", "O"], "--label_names: 'O' occurs twice"),
        (["O", "B-PER", "b-loc"], "task 'sw', train split, row 2 .*: `b-loc` is not a tag"),
        (None, "holds .*int64.*or as a ClassLabel with names; name the numbers with --label_names"),
    ],
)
def test_numbers_without_a_fitting_name_are_refused(names: list[str] | None, message: str) -> None:
    dataset = Dataset.from_dict({"tokens": [["Juma", "jana"], ["jana"]], "ner_tags": [[1, 0], [2]]})
    with pytest.raises(InputError, match=message):
        problem(dataset, tag_names=names)


def test_words_are_not_taken_for_tags() -> None:
    """More tags than a scheme has, nearly as many as words; the user may say that they are tags."""
    lemmas = Dataset.from_dict(
        {"tokens": [[f"w{i}" for i in range(150)]], "lemmas": [[f"l{i}" for i in range(120)] * 2]}
    )
    message = "task 'sw', train split: 120 different tags in the column 'lemmas' for 150 different words"
    with pytest.raises(InputError, match=message):
        problem(lemmas)
    assert len(problem(lemmas, tag_scheme="none").labels) == 120
