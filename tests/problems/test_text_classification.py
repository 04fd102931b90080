"""One text or a pair to features: which columns are read, what labels mean, and numbers to predict."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from transformers import EvalPrediction, PreTrainedTokenizerBase
from transformers.trainer_utils import PredictionOutput

from hf_seqreptile import InputError
from hf_seqreptile.problems.text_classification import TextClassification, TextClassificationArguments


def texts(labels: list[Any], columns: tuple[str, ...] = ("sentence",), **others: list[Any]) -> Dataset:
    words = {column: [f"Juma jana {i}" for i, _ in enumerate(labels)] for column in columns}
    return Dataset.from_dict({**words, **others, "label": labels})


def problem(*train: Dataset, **options: Any) -> TextClassification:
    tasks = {"train": {f"task{i}": dataset for i, dataset in enumerate(train)}}
    return TextClassification(tasks, TextClassificationArguments(**options))


def labels_of(
    of: TextClassification, dataset: Dataset, tokenizer: PreTrainedTokenizerBase, split: str = "train"
) -> list:
    return of.encode({"task0": dataset}, tokenizer, split)["task0"]["labels"][:]


# Columns.


@pytest.mark.parametrize(
    ("columns", "options", "expected"),
    [
        (("sentence",), {}, ("sentence",)),
        (("review",), {}, ("review",)),
        (("idx", "review"), {}, ("review",)),
        (("genre", "sentence2", "sentence1", "file"), {}, ("sentence1", "sentence2")),
        (("question", "sentence"), {}, ("question", "sentence")),
        (("question1", "id", "question2"), {}, ("question1", "question2")),
        (("title", "body"), {}, ("title", "body")),
        (("title", "body"), {"text_column_names": "body"}, ("body",)),
        (("title", "body"), {"text_column_names": ["body", "title"]}, ("body", "title")),
        (("title", "body"), {"text_column_names": "body,title"}, ("body", "title")),
        (("title", "body"), {"text_column_names": {"task0": "body"}}, ("body",)),
        (("title", "body", "topic"), {"text_column_names": ["task0=body", "title"]}, ("body",)),
        (("lang", "review"), {"task_column": "lang"}, ("review",)),
    ],
    ids=str,
)
def test_the_columns_of_texts(columns: tuple[str, ...], options: dict[str, Any], expected: tuple[str, ...]) -> None:
    dataset = texts(["a", "b"], columns)
    assert problem(dataset, **options).text_columns("task0", dataset) == expected


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        (
            ("text", "language"),
            {},
            r"'task0': which columns hold the texts cannot be told; .*text, language\. Name",
        ),
        (("title", "body", "topic"), {}, "it may be any of title, body, topic"),
        (("premise", "hypothesis", "sentence1", "sentence2"), {}, "it may be any of premise, "),
        ((), {}, "cannot be told; which has label"),
        (
            ("title",),
            {"text_column_names": "body"},
            "--text_column_names: body is not a column of task 'task0'",
        ),
        (("a", "b", "c"), {"text_column_names": ["a", "b", "c"]}, "Give one column of texts, or two for pairs"),
        (("a", "b"), {"text_column_names": ["a", "a"]}, "none of them twice"),
        (("a", "b"), {"text_column_names": "label"}, r"none of them that of labels \('label'\)"),
        (("a",), {"label_column_name": "stars"}, r"task 'task0' has no column 'stars', only \['a', 'label'\]"),
        (("a", "b"), {"label_column_name": ["label", "b"]}, "--label_column_name gives task 'task0' 2 columns"),
    ],
    ids=str,
)
def test_columns_that_cannot_be_told_are_refused(
    columns: tuple[str, ...], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        problem(texts(["a", "b"], columns), **options)


def test_tasks_may_have_columns_of_their_own(tokenizer: PreTrainedTokenizerBase) -> None:
    """One text and pairs, labels in other columns; a part of a task has its columns."""
    tasks = {
        "mood": texts(["good", "bad"], ("review",)),
        "other": texts(["x", "y"], ("a", "b"), stars=["bad", "good"]),
    }
    of = TextClassification(
        {"train": tasks},
        TextClassificationArguments(text_column_names=["other=a", "other=b"], label_column_name={"other": "stars"}),
    )
    assert of.labels == ["bad", "good"]
    encoded = of.encode(tasks, tokenizer, "train")
    assert encoded["mood"]["labels"][:] == [1, 0] and encoded["other"]["labels"][:] == [0, 1]
    assert len(encoded["other"][0]["input_ids"]) > len(encoded["mood"][0]["input_ids"])
    alone = problem(tasks["mood"])
    part = tasks["mood"].add_column("task", ["0", "0"])
    assert alone.text_columns("0", part) == ("review",)


# Classes.


def test_numbers_are_names_of_classes_and_sorted_as_numbers(tokenizer: PreTrainedTokenizerBase) -> None:
    ints = [10, 9, 2, 9]
    assert problem(texts(ints)).labels == ["2", "9", "10"]
    assert labels_of(problem(texts(ints)), texts(ints), tokenizer) == [2, 1, 0, 1]
    for same in (list(map(str, ints)), [10.0, 9.0, 2.0, 9.0]):
        of = problem(texts(same), do_regression=False)
        assert of.labels == ["2", "9", "10"] and labels_of(of, texts(ints), tokenizer) == [2, 1, 0, 1]
    assert problem(texts([True, False])).labels == ["False", "True"]


def test_names_keep_the_order_of_a_class_label(tokenizer: PreTrainedTokenizerBase) -> None:
    features = Features({"sentence": Value("string"), "label": ClassLabel(names=["unacceptable", "acceptable"])})
    dataset = texts([1, 0]).cast(features)
    of = problem(dataset, texts(["acceptable"]))
    assert of.labels == ["unacceptable", "acceptable"] and of.metric.name == "accuracy"
    assert labels_of(of, texts(["acceptable", "unacceptable"]), tokenizer) == [1, 0]
    assert of.problem_type == "single_label_classification"


def test_label_sets_must_fit_together_and_be_spelled_alike() -> None:
    with pytest.raises(InputError, match=r"The label sets differ: task 'task1' has \['1'\], which task 'task0' lacks"):
        problem(texts(["no", "yes"]), texts([1]))
    with pytest.raises(InputError, match="task 'task1', train split, row 2: the label 'Yes' differs from 'yes'"):
        problem(texts(["no", "yes"]), texts(["no", "Yes"]))
    with pytest.raises(InputError, match="All training labels are yes: there is nothing to tell apart"):
        problem(texts(["yes", "yes"]))


def test_scores_and_predictions_of_classes(tmp_path: Path) -> None:
    of = problem(texts(["no", "yes"]))
    found, true = np.array([0, 1, 1, 0]), np.array([0, 1, 0, -100])
    assert of.compute_metrics(EvalPrediction(found, true)) == {"accuracy": pytest.approx(2 / 3)}
    of.write_predictions(tmp_path, "predict", "_sw", PredictionOutput(found, true, {}), texts([]))
    of.write_predictions(tmp_path, "eval", "_sw", PredictionOutput(found, true, {}), texts([]))
    assert [path.name for path in tmp_path.iterdir()] == ["predict_results_sw.txt"]
    lines = (tmp_path / "predict_results_sw.txt").read_text(encoding="utf-8")
    assert lines == "index\tprediction\n0\tno\n1\tyes\n2\tyes\n3\tno\n"


def test_a_test_split_may_have_no_column_of_labels(tokenizer: PreTrainedTokenizerBase) -> None:
    train = texts(["no", "yes"])
    test = train.remove_columns("label")
    of = TextClassification({"train": {"sw": train}, "test": {"sw": test}}, TextClassificationArguments())
    assert of.encode({"sw": test}, tokenizer, "test")["sw"].column_names == [
        "input_ids", "token_type_ids", "attention_mask",
    ]  # fmt: skip
    for tasks in ({"train": {"sw": test}}, {"train": {"sw": train}, "validation": {"sw": test}}):
        with pytest.raises(InputError, match=r"'sw' has no column 'label', only .* Name the column of labels with"):
            TextClassification(tasks, TextClassificationArguments())
    assert TextClassification({"test": {"sw": test}}, TextClassificationArguments()).labels == []


# Numbers.


@pytest.mark.parametrize("numbers", [[3.8, 0.0, 5.0], ["3.800", "0", "5.0"], ["3.800", "0.", "+5.e0"]], ids=str)
def test_labels_with_a_decimal_point_are_numbers_to_predict(
    tokenizer: PreTrainedTokenizerBase, numbers: list[Any]
) -> None:
    of = problem(texts(numbers))
    assert of.labels is None and of.problem_type == "regression" and of.metric.name == "pearson"
    assert of.metric_names == {"pearson", "spearmanr"} and "label_smoothing_factor" in of.without_effect
    assert labels_of(of, texts(numbers), tokenizer) == [3.8, 0.0, 5.0]
    batch = of.collator(tokenizer)([{"input_ids": [1], "labels": value} for value in (3.8, 5.0)])
    assert str(batch["labels"].dtype) == "torch.float32"


def test_whole_numbers_are_to_be_predicted_where_that_is_said(tokenizer: PreTrainedTokenizerBase) -> None:
    of = problem(texts([1, 5, 3]), do_regression=True)
    assert of.labels is None and labels_of(of, texts([1, 5, 3]), tokenizer) == [1.0, 5.0, 3.0]
    named = Features({"sentence": Value("string"), "label": ClassLabel(names=["bad", "good"])})
    with pytest.raises(InputError, match="Task 'task0' has classes with names, which are no numbers to predict"):
        problem(texts([0, 1]).cast(named), do_regression=True)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf], ids=str)
def test_targets_that_are_not_finite_are_refused(tokenizer: PreTrainedTokenizerBase, wrong: float) -> None:
    dataset = texts([1.5, wrong])
    with pytest.raises(
        InputError, match=rf"^task 'task0', train split, row 2 \(Juma jana 1\): the label `{wrong}` is"
    ):
        labels_of(problem(dataset), dataset, tokenizer)


@pytest.mark.parametrize("wrong", ["high", "nan", "1.5.2", "1,5"])
def test_targets_that_are_text_are_refused(tokenizer: PreTrainedTokenizerBase, wrong: str) -> None:
    dataset = texts(["1.5", wrong])
    with pytest.raises(InputError, match=r"row 2 .* is not a number .* --do_regression False if the labels are"):
        labels_of(problem(dataset), dataset, tokenizer)
    assert problem(dataset, do_regression=False).labels == sorted(["1.5", wrong])


def test_classes_beside_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="of task 'task1' are numbers to predict, those of task 'task0' are classes"):
        problem(texts(["no", "yes"]), texts([1.5]))


def test_numbers_that_are_missing(tokenizer: PreTrainedTokenizerBase, caplog: pytest.LogCaptureFixture) -> None:
    dataset = texts([1.5, None, 2.0])
    of = problem(dataset)
    assert labels_of(of, dataset, tokenizer, "validation") == [1.5, 2.0]
    assert "validation: 1 of 3 texts have no label (null, empty or -) and are left out: task0 1." in caplog.text
    caplog.clear()
    encoded = of.encode({"task0": dataset}, tokenizer, "test")["task0"]
    assert len(encoded) == 3 and "labels" not in encoded.column_names
    assert "are predicted, but not scored; nor are the others of these tasks: task0 1." in caplog.text


def test_scores_and_predictions_of_numbers(tmp_path: Path) -> None:
    of = problem(texts([1.5, 2.0]))
    found = np.array([0.12345, 2.0, 1.0])
    scores = of.compute_metrics(EvalPrediction(found, np.array([0.0, 4.0, 3.0])))
    assert scores == {"pearson": pytest.approx(np.corrcoef(found, [0, 4, 3])[0, 1]), "spearmanr": pytest.approx(1)}
    of.write_predictions(tmp_path, "predict", "", PredictionOutput(found, None, {}), texts([]))
    lines = (tmp_path / "predict_results.txt").read_text(encoding="utf-8")
    assert lines == "index\tprediction\n0\t0.123\n1\t2.000\n2\t1.000\n"
