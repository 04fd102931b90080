"""Pairs and labels to features: what labels mean however they are written, and what is refused or told."""

import logging
from typing import Any

import numpy as np
import pytest
from datasets import ClassLabel, Dataset
from transformers import AutoTokenizer, EvalPrediction, PreTrainedTokenizerBase

from hf_seqreptile import InputError
from hf_seqreptile.problems.sequence_classification import SequenceClassification, SequenceClassificationArguments
from tests import scripts

NLI = ["entailment", "neutral", "contradiction"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(scripts.write_model(tmp_path_factory.mktemp("model")))


def data(labels: list[Any]) -> Dataset:
    texts = {"premise": ["Juma jana"] * len(labels), "hypothesis": [f"jana {i}" for i, _ in enumerate(labels)]}
    return Dataset.from_dict({**texts, "label": labels})


def problem(*train: list[Any], **options: Any) -> SequenceClassification:
    tasks = {"train": {f"task{i}": data(labels) for i, labels in enumerate(train)}}
    return SequenceClassification(tasks, SequenceClassificationArguments(**options))


@pytest.mark.parametrize(
    "labels",
    [
        [2, 0, 1],
        [2.0, 0.0, 1.0],
        ["2", "0", "1"],
        ["2.0", "0.0", "1.0"],
        ["contradiction", "entailment", "neutral"],
        ["2", "entailment", "1.0"],
        ["contradictory", "entailment", "neutral"],
    ],
    ids=str,
)
def test_labels_mean_the_same_however_they_are_written(tokenizer: PreTrainedTokenizerBase, labels: list[Any]) -> None:
    for its_problem in (problem(labels), problem(NLI)):
        assert its_problem.labels == NLI
        for split in ("train", "test"):
            assert its_problem.encode({"sw": data(labels)}, tokenizer, split)["sw"]["labels"][:] == [2, 0, 1]


def test_columns_as_the_files_of_xnli_call_them(tokenizer: PreTrainedTokenizerBase) -> None:
    """The translations that are trained on have other names than what is evaluated."""
    translated = data(["contradictory", "entailment", "neutral"]).rename_column("hypothesis", "hypo")
    names = {"premise": "sentence1", "hypothesis": "sentence2", "label": "gold_label"}
    tasks = {"train": {"sw": translated}, "validation": {"sw": data(NLI).rename_columns(names)}}
    its_problem = SequenceClassification(tasks, SequenceClassificationArguments())
    assert its_problem.labels == NLI
    assert its_problem.encode(tasks["train"], tokenizer, "train")["sw"]["labels"][:] == [2, 0, 1]
    assert its_problem.encode(tasks["validation"], tokenizer, "validation")["sw"]["labels"][:] == [0, 1, 2]
    assert "jana 2" in its_problem.texts(tasks)
    with pytest.raises(InputError, match=r"no column 'premise', only .*'sentence1'"):
        SequenceClassification({"train": {"sw": data(NLI).rename_column("premise", "sentence1")}}, its_problem.args)


def test_the_test_split_alone_may_have_no_column_of_labels(tokenizer: PreTrainedTokenizerBase) -> None:
    pairs = data([0, 1]).remove_columns("label")
    features = problem(NLI).encode({"sw": pairs}, tokenizer, "test")["sw"]
    assert len(features) == 2 and "labels" not in features.column_names
    assert SequenceClassification({"test": {"sw": pairs}}, SequenceClassificationArguments()).labels == NLI
    with pytest.raises(InputError, match="no column 'label', only"):
        SequenceClassification({"validation": {"sw": pairs}}, SequenceClassificationArguments())


def test_other_names_stay_as_they_are() -> None:
    assert problem(["yes", "no"], ["no"]).labels == ["no", "yes"]
    assert problem([True, False]).labels == ["False", "True"]
    assert problem(["Entailment", "Neutral"]).labels == ["Entailment", "Neutral"]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage() for record in caplog.records if record.name.endswith(("text_classification", ".labels"))
    ]


@pytest.mark.parametrize("missing", [None, float("nan"), "", " ", "-"], ids=repr)
@pytest.mark.parametrize("split", ["train", "validation"])
def test_pairs_without_a_label_are_left_out_and_told(
    tokenizer: PreTrainedTokenizerBase, missing: Any, split: str, caplog: pytest.LogCaptureFixture
) -> None:
    known: list[Any] = NLI if isinstance(missing, str) else [0.0, 1.0, 2.0]
    labels = [missing, *known, missing]
    of_problem = problem(labels)
    assert of_problem.labels == NLI
    features = of_problem.encode({"sw": data(labels), "de": data(known)}, tokenizer, split)
    assert [features[task]["labels"][:] for task in ("sw", "de")] == [[0, 1, 2]] * 2
    assert warnings(caplog) == [f"{split}: 2 of 8 pairs have no label (null, empty or -) and are left out: sw 2."]
    with pytest.raises(InputError, match=rf"^Task 'sw', {split} split: no pair has a label\. Fill in the column"):
        of_problem.encode({"sw": data([missing])}, tokenizer, split)


def test_rows_behind_pairs_without_a_label_keep_their_numbers(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(InputError, match=r"row 3 \(jana 2\): unknown label 'maybe'"):
        problem(NLI).encode({"sw": data(["-", "neutral", "maybe"])}, tokenizer, "validation")


def test_the_test_split_keeps_them_for_prediction(
    tokenizer: PreTrainedTokenizerBase, caplog: pytest.LogCaptureFixture
) -> None:
    of_problem = problem(NLI)
    features = of_problem.encode({"sw": data(["-", *NLI])}, tokenizer, "test")["sw"]
    assert features["labels"][:] == [-100, 0, 1, 2]
    assert warnings(caplog) == [
        "test: 1 of 4 pairs have no label (null, empty or -) and are predicted, but not scored: sw 1."
    ]
    prediction = EvalPrediction(predictions=np.array([0, 0, 1, 1]), label_ids=np.array(features["labels"][:]))
    assert of_problem.compute_metrics(prediction) == {"accuracy": pytest.approx(2 / 3)}
    rows = data([None, 0]).select([0])
    assert "labels" not in of_problem.encode({"sw": rows}, tokenizer, "test")["sw"].column_names


def test_a_class_labels_left_out_one_is_missing(tokenizer: PreTrainedTokenizerBase) -> None:
    for names, codes in ((NLI, [0, -1, 2]), ([*NLI, "-"], [0, 3, 2])):
        rows = data(codes).cast_column("label", ClassLabel(names=names))
        of_problem = SequenceClassification({"train": {"sw": rows}}, SequenceClassificationArguments())
        assert of_problem.labels == NLI
        assert of_problem.encode({"sw": rows}, tokenizer, "validation")["sw"]["labels"][:] == [0, 2]


def test_training_labels_that_are_all_equal_or_never_there_are_warned_of(
    tokenizer: PreTrainedTokenizerBase, caplog: pytest.LogCaptureFixture
) -> None:
    sorted_by_label = ["yes"] * 3 + ["no"] * 3
    first = {"de": data(sorted_by_label[:3]), "sw": data(sorted_by_label)}
    problem(sorted_by_label, sorted_by_label).encode(first, tokenizer, "train")
    assert warnings(caplog) == [
        "All training pairs of a task have one label, and teach the model nothing else: de (yes). Where a file is "
        "sorted by label, shuffle it, or take all of it."
    ]
    caplog.clear()
    two = data([0, 1, 1, 0])
    problem([0, 1]).encode({"sw": two}, tokenizer, "train")
    assert warnings(caplog) == ["The model has labels that no training pair has: contradiction."]
    caplog.clear()
    problem([0, 1]).encode({"sw": two}, tokenizer, "validation")
    assert not warnings(caplog)


@pytest.mark.parametrize("number", [3, -1, 1.5, "3", "1.5"], ids=repr)
def test_numbers_without_a_name_are_refused(tokenizer: PreTrainedTokenizerBase, number: Any) -> None:
    with pytest.raises(InputError, match=rf"Task 'task0' has the label {number}, a number without a name"):
        problem([number])
    with pytest.raises(InputError, match=rf"unknown label '{number}'; the model knows entailment, "):
        problem(NLI).encode({"sw": data([number])}, tokenizer, "test")


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (
            [["entailment", "Entailment"]],
            "task 'task0', train split, row 2: the label 'Entailment' differs from 'enta",
        ),
        ([["yes", "no"], ["yes", "no", "no "]], "task 'task1', train split, row 3: the label 'no ' differs from 'no'"),
        (
            [["entailment", " neutral"]],
            "task 'task0', train split, row 2: the label ' neutral' differs from 'neutral'",
        ),
        ([[0, 1], ["ENTAILMENT"]], "task 'task1', train split, row 1: the label 'ENTAILMENT' differs from 'entail"),
    ],
)
def test_names_that_differ_in_case_or_spaces_alone_are_refused(train: list[list[Any]], message: str) -> None:
    with pytest.raises(InputError) as error:
        problem(*train)
    assert str(error.value).startswith(message)
    assert str(error.value).endswith("in case or spaces alone. Spell both alike.")


def test_the_same_for_names_that_the_model_knows(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(InputError, match=r"row 1 .*: the label 'Neutral' differs from 'neutral' in case or spaces"):
        problem(NLI).encode({"sw": data(["Neutral"])}, tokenizer, "test")


def test_unknown_labels_are_to_be_mended_or_trained_on(tokenizer: PreTrainedTokenizerBase) -> None:
    for split, mend in (("train", r"Mend the row\.$"), ("test", "Mend the row, or train on examples with that label")):
        with pytest.raises(InputError, match=f"unknown label 'maybe'; the model knows .*{mend}"):
            problem(NLI).encode({"sw": data(["maybe"])}, tokenizer, split)


def test_a_label_must_be_one_value() -> None:
    with pytest.raises(InputError, match=r"Column 'label' of task 'task0' holds List.*one label a row"):
        problem([[0], [1]])


def test_one_warning_tells_how_many_pairs_are_cut(
    tokenizer: PreTrainedTokenizerBase, caplog: pytest.LogCaptureFixture
) -> None:
    rows = data(NLI)
    long = rows.map(lambda row, i: {"premise": row["premise"] * (1 + 9 * (i == 0))}, with_indices=True)
    with caplog.at_level(logging.WARNING):
        encoded = problem(NLI, max_seq_length=10).encode({"sw": long, "de": rows}, tokenizer, "test")
    assert [record.getMessage() for record in caplog.records] == [
        "test: pairs longer than 10 tokens (--max_seq_length), which are cut: 1 of 6."
    ]
    assert encoded["sw"].column_names == ["input_ids", "token_type_ids", "attention_mask", "labels"]
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        problem(NLI, max_seq_length=64).encode({"sw": rows}, tokenizer, "test")
    assert not caplog.records
