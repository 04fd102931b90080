"""Multiple choice: what rows say, choices of unequal number in one batch, and what is refused."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch.nn import functional
from transformers import AutoModelForMultipleChoice, EvalPrediction, PreTrainedTokenizerBase
from transformers.trainer_utils import PredictionOutput

from hf_seqreptile import InputError
from hf_seqreptile.command_line.fine_tuning import fine_tune
from hf_seqreptile.problems.choice_features import choice_loss
from hf_seqreptile.problems.multiple_choice import MultipleChoice, MultipleChoiceArguments
from tests import scripts
from tests.scripts import ROOT

CAUSES = ["What was the cause? a", "What was the cause? b"]
REAL = ROOT / "../shared/data/xcopa"
ROWS = [
    {"context": "Juma anaishi Nairobi", "choices": ["jana", "Mary"], "label": 1},
    {"context": "Anna wohnt", "choices": ["in Bonn", "gestern", "Jan Smit lives", "oft"], "label": 0},
    {"context": "Mary lives", "choices": ["in Bonn", "Juma anaishi Nairobi", "Mary"], "label": 2},
]


def problem(rows: Sequence[dict[str, Any]], split: str = "train", **options: Any) -> MultipleChoice:
    return MultipleChoice({split: {"sw": Dataset.from_list(list(rows))}}, MultipleChoiceArguments(**options))


def texts(row: dict[str, Any], **options: Any) -> set[str]:
    of = problem([row], **options)
    return of.texts({"train": {"sw": Dataset.from_list([row])}})


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"context": "C", "question": "Q", "choices": ["a", "b"]}, {"C", "Q a", "Q b"}),
        ({"question": "Q", "choices": {"label": ["A", "B"], "text": ["a", "b"]}, "answerKey": "B"}, {"Q", "a", "b"}),
        ({"premise": "P", "choice1": "a", "choice2": "b", "question": "cause"}, {"P", *CAUSES}),
        ({"sent1": "S", "sent2": "Then", "ending0": "a", "ending1": "b"}, {"S", "Then a", "Then b"}),
        ({"ctx": "C", "endings": ["a", "b"]}, {"C", "a", "b"}),
        ({"context": "C", "answer0": "a", "answer1": "b", "answer2": None}, {"C", "a", "b"}),
        ({"context": "C", "choices": '["a b", "c"]'}, {"C", "a b", "c"}),
    ],
    # A set has another order in each process.
    ids=lambda part: str(part) if isinstance(part, dict) else "",
)  # fmt: skip
def test_what_the_model_reads(row: dict[str, Any], expected: set[str]) -> None:
    """In the forms of COPA, SWAG, HellaSwag, CosmosQA and CommonsenseQA, and as JSON in a cell."""
    assert texts({"label": 0} | row if "answerKey" not in row else row) == expected


def test_columns_may_be_named() -> None:
    row = {"goal": "G", "a": "x", "b": "y", "right": 1, "choices": ["no"]}
    options = {"context_column_name": "goal", "choices_column_names": ["a", "b"], "label_column_name": "right"}
    assert texts(row, **options) == {"G", "x", "y"}


@pytest.mark.parametrize(
    ("choices", "label", "expected"),
    [
        (["a", "b", "c"], 2, 2),
        (["a", "b", "c"], 2.0, 2),
        (["a", "b", "c"], "2", 2),
        (["a", "b", "c"], "b", 1),
        (["1", "0"], 1, 1),
        ({"text": ["a", "b"], "label": ["A", "B"]}, "B", 1),
        ({"text": ["a", "b"], "label": ["1", "2"]}, "2", 1),
    ],
    ids=str,
)
def test_labels_are_numbers_names_or_texts(
    tokenizer: PreTrainedTokenizerBase, choices: Any, label: Any, expected: int
) -> None:
    rows = Dataset.from_list([{"context": "C", "choices": choices, "label": label}])
    of = MultipleChoice({"train": {"sw": rows}}, MultipleChoiceArguments())
    assert of.encode({"sw": rows}, tokenizer, "train")["sw"]["labels"][:] == [expected]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"choices": "a, b"}, r'`a, b` is not a list of choices\. Write \["one", "another"\]'),
        ({"choices": "7"}, "`7` is not a list of choices"),
        ({"choices": ["a"]}, "1 choice; there must be two at least"),
        ({"choices": []}, "0 choices; there must be two at least"),
        ({"choices": ["a", None]}, r"a choice is no text \(`None`\)"),
        ({"choices": ["a", " "]}, r"a choice is no text \(` `\)"),
        ({"choices": {"text": ["a", "b"], "label": ["A"]}}, "2 choices with 1 names. Give each its own"),
        ({"label": 2}, r"\(C\): the label `2` means none of them\. There are 2 choices, counted from 0; give the nu"),
        ({"label": -3}, "the label `-3` means none of them"),
        ({"label": "c"}, "the label `c` means none of them"),
        ({"choices": ["a", "a"], "label": "a"}, "the label `a` may mean those of numbers 0, 1"),
        ({"choices": ["1", "0"], "label": "1"}, "the label `1` may mean those of numbers 0, 1"),
        ({"context": None}, r"the context or the question is empty \(`None`\)"),
    ],
    ids=str,
)
def test_a_row_that_is_wrong_is_named(tokenizer: PreTrainedTokenizerBase, row: dict[str, Any], message: str) -> None:
    rows = Dataset.from_list([{"context": "C", "choices": ["a", "b"], "label": 0} | row])
    of = MultipleChoice({"train": {"sw": rows}}, MultipleChoiceArguments())
    with pytest.raises(InputError, match=rf"^task 'sw', train split, row 1.*{message}"):
        of.encode({"sw": rows}, tokenizer, "train")


@pytest.mark.parametrize(
    ("row", "options", "message"),
    [
        ({"choices": ["a"]}, {}, "has neither a context nor a question: its columns are choices, label"),
        ({"context": "C"}, {}, "which columns hold the choices cannot be told; there are context, label"),
        ({"context": "C", "choices": ["a"], "choice1": "a", "choice2": "b"}, {}, "may be choices or choice1 choice2"),
        ({"context": "C", "choices": ["a"]}, {"context_column_name": "c"}, "--context_column_name c is not a column"),
        ({"context": "C", "choices": ["a"]}, {"choices_column_names": "c"}, "--choices_column_names c is not a col"),
        ({"context": "C", "choices": ["a"]}, {"label_column_name": "c"}, "--label_column_name c is not a column"),
    ],
    ids=str,
)
def test_columns_that_cannot_be_told_are_refused(row: dict[str, Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        problem([row | {"label": 0}], **options)


def test_labels_may_be_missing(tokenizer: PreTrainedTokenizerBase, caplog: pytest.LogCaptureFixture) -> None:
    """Such rows are not learnt from, and of the test split predicted but not scored."""
    rows = Dataset.from_list([ROWS[0] | {"label": None}, ROWS[2]])
    of = MultipleChoice({"train": {"sw": rows}}, MultipleChoiceArguments())
    assert of.encode({"sw": rows}, tokenizer, "train")["sw"]["labels"][:] == [2]
    assert "train: 1 of 2 rows have no label (null, empty or -) and are left out: sw 1." in caplog.text
    assert of.encode({"sw": rows}, tokenizer, "test")["sw"]["labels"][:] == [-100, 2]
    test = rows.remove_columns("label")
    assert "labels" not in of.encode({"sw": test}, tokenizer, "test")["sw"].column_names
    with pytest.raises(InputError, match="'sw' has no column 'label', only"):
        MultipleChoice({"train": {"sw": test}}, MultipleChoiceArguments())


@pytest.fixture(scope="module")
def model(model_folder: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return AutoModelForMultipleChoice.from_pretrained(model_folder).eval()


def test_rows_of_one_batch_may_have_different_numbers_of_choices(
    tokenizer: PreTrainedTokenizerBase, model: torch.nn.Module
) -> None:
    """Loss, gradients and predictions are those of each row alone, by transformers' own loss; none wins by filling."""
    of = problem(ROWS)
    features = of.encode({"sw": Dataset.from_list(ROWS)}, tokenizer, "train")["sw"]
    collate = of.collator(tokenizer)
    batch = collate(list(features))
    assert batch["input_ids"].shape[:2] == (3, 4)
    output = model(**batch)
    loss = choice_loss(output, batch)
    model.zero_grad()
    loss.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    assert all(bool(grad.isfinite().all()) for grad in found.values())

    model.zero_grad()
    alone = [model(**collate([row])) for row in features]
    torch.stack([one.loss for one in alone]).mean().backward()
    torch.testing.assert_close(loss, torch.stack([one.loss for one in alone]).mean())
    for name, grad in found.items():
        torch.testing.assert_close(grad, model.get_parameter(name).grad, rtol=1e-4, atol=1e-6)
    # As if what fills up had won.
    logits = np.where(batch["attention_mask"].sum(-1) == 1, 1e6, output.logits.detach())
    metrics = of.compute_metrics(EvalPrediction(logits, np.array([1, 0, 2])), features)
    right = [one.logits[0].argmax().item() == row["label"] for one, row in zip(alone, ROWS, strict=True)]
    assert metrics == {"accuracy": pytest.approx(sum(right) / 3)}


def test_the_loss_is_among_the_choices_of_a_row() -> None:
    logits = torch.tensor([[1.0, 2.0, 9.0], [0.5, 0.0, -1.0]])
    seen = torch.tensor([[[1, 1], [1, 1], [1, 0]], [[1, 1], [1, 1], [1, 1]]])
    labels = torch.tensor([1, 0])
    expected = (
        functional.cross_entropy(logits[:1, :2], labels[:1]) + functional.cross_entropy(logits[1:], labels[1:])
    ) / 2
    assert choice_loss({"logits": logits}, {"attention_mask": seen, "labels": labels}).item() == pytest.approx(
        expected.item()
    )


def test_predictions_are_numbers_of_choices(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    of = problem(ROWS)
    features = of.encode({"sw": Dataset.from_list(ROWS[:2])}, tokenizer, "test")["sw"]
    logits = np.array([[0.0, 1.0, 5.0, -100.0], [0.0, 1.0, 5.0, 2.0]])
    of.write_predictions(tmp_path, "predict", "_sw", PredictionOutput(logits, None, {}), features)
    assert (tmp_path / "predictions_sw.txt").read_text(encoding="utf-8") == "index\tprediction\n0\t1\n1\t2\n"
    assert of.compute_metrics(EvalPrediction(logits, None), features) == {}


def copa(folder: Path) -> list[str]:
    """Files of two languages: pairs of choices in columns, and lists of two or three."""
    premise = {"premise": "Juma anaishi Nairobi", "question": "cause"}
    choices = ["Anna wohnt in Bonn", "jana Mary", "Jan Smit lives in Nairobi"]
    of_task = {
        "de": [premise | {"choice1": choices[0], "choice2": choices[1], "label": i % 2} for i in range(8)],
        "sw": [premise | {"choices": choices[: 2 + i % 2], "label": i % 2} for i in range(8)],
    }
    return [
        f"{task}={scripts.write(folder / f'{task}.jsonl', ''.join(json.dumps(row) + chr(10) for row in rows))}"
        for task, rows in of_task.items()
    ]


@pytest.mark.parametrize("method", ["mtl", "seq_reptile"])
def test_it_trains_and_the_folder_loads_with_transformers_alone(
    tmp_path: Path, model_folder: str, method: str
) -> None:
    """By the lines of docs/multiple_choice.md, which choose as the predictions say, whatever else a batch has."""
    files = copa(tmp_path)
    own = ["--inner_steps", "2"] if method == "seq_reptile" else ["--tasks_per_step", "2"]
    fine_tune(
        MultipleChoice, "",
        ["--model_name_or_path", model_folder, "--train_file", *files, "--validation_file", *files, "--test_file",
         *files, *scripts.TRAINING, "--max_steps", "4", "--method", method, *own, "--cache_dir",
         str(tmp_path / "cache"), "--do_train", "--do_eval", "--do_predict", "--output_dir", str(tmp_path / "out"),
         "--per_device_eval_batch_size", "3"],
    )  # fmt: skip
    results = json.loads((tmp_path / "out/all_results.json").read_text(encoding="utf-8"))
    assert {"eval_de_accuracy", "eval_sw_accuracy", "eval_avg_accuracy", "eval_de_loss"} <= results.keys()
    config = json.loads((tmp_path / "out/config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["BertForMultipleChoice"]

    page = (ROOT / "docs/multiple_choice.md").read_text(encoding="utf-8")
    code = page.rpartition("```python\n")[2].partition("```")[0].replace('"out-choice"', repr(str(tmp_path / "out")))
    loading, _, rest = code.partition("context, question")
    using = rest.partition("]\n")[2]
    for task in ("de", "sw"):
        rows = [json.loads(line) for line in (tmp_path / f"{task}.jsonl").read_text(encoding="utf-8").splitlines()]
        _, *lines = (tmp_path / f"out/predictions_{task}.txt").read_text(encoding="utf-8").splitlines()
        names: dict[str, Any] = {"question": "What was the cause?"}
        exec(compile(loading, "docs/multiple_choice.md", "exec"), names)
        right = 0
        for i, (row, line) in enumerate(zip(rows, lines, strict=True)):
            names |= {"context": row["premise"], "choices": row.get("choices") or [row["choice1"], row["choice2"]]}
            exec(compile(using, "docs/multiple_choice.md", "exec"), names)
            assert line == f"{i}\t{names['best']}"
            right += names["best"] == row["label"]
        assert results[f"predict_{task}_accuracy"] == pytest.approx(right / 8)


@pytest.mark.skipif(not REAL.is_dir(), reason="needs XCOPA's files in ../shared/data")
def test_real_rows(tokenizer: PreTrainedTokenizerBase) -> None:
    rows = [json.loads(line) for line in (REAL / "en/train.jsonl").read_text(encoding="utf-8").splitlines()]
    of = problem(rows)
    features = of.encode({"sw": Dataset.from_list(rows)}, tokenizer, "train")["sw"]
    assert len(features) == 400 and set(features["num_choices"][:]) == {2}
    assert features["labels"][:] == [row["label"] for row in rows]
