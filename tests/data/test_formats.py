"""JSON, CSV and Parquet: what is read, and which line is named when it cannot be."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_seqreptile import InputError
from hf_seqreptile.data import DataArguments
from hf_seqreptile.data.csv_file import read_csv
from hf_seqreptile.problems.multiple_choice import MultipleChoiceArguments
from hf_seqreptile.problems.question_answering import QuestionAnsweringArguments
from hf_seqreptile.problems.text_classification import TextClassification, TextClassificationArguments
from hf_seqreptile.problems.token_classification import TokenClassification, TokenClassificationArguments

ROWS = [
    {"tokens": ["In", "Rom"], "ner_tags": ["O", "B-LOC"], "id": "007"},
    {"tokens": ["Ja", "[", '"a, b"'], "ner_tags": ["O", "O", "O"], "id": "2024-01-01"},
]
GLUE = Path(__file__).parents[3] / "shared" / "data" / "glue"
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


def csv_text(rows: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def csv_values(row: dict[str, Any]) -> list[str]:
    return [json.dumps(row["tokens"]), " ".join(row["ner_tags"]), row["id"]]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("de.jsonl", LINES),
        ("de.json", "\ufeff" + LINES.replace("\n", "\r\n\r\n")),
        ("de.json", json.dumps(ROWS, indent=1)),
        ("de.json", json.dumps({"version": "1", "data": ROWS})),
        ("de.csv", csv_text([list(ROWS[0]), *map(csv_values, ROWS)])),
    ],
)
def test_rows_are_read_as_they_are(
    load: Callable[..., Any], write: Callable[..., str], name: str, content: str
) -> None:
    assert load(train_file=[write(name, content)])["train"]["de"].to_list() == ROWS


def test_nested_and_missing_values_of_any_row_are_kept(load: Callable[..., Any], write: Callable[..., str]) -> None:
    """`datasets` alone infers types from the first rows and drops columns that they lack."""
    early = [{"id": i, "answers": {"text": []}} for i in range(2500)]
    late = {"id": 2.5, "answers": {"text": ["x"], "start": [1]}, "extra": [{"a": None}, {"b": "c"}]}
    path = write("de.jsonl", "".join(json.dumps(row) + "\n" for row in [*early, late]))
    rows = load(train_file=[path], kind=DataArguments)["train"]["de"]
    assert rows[2500] == {**late, "extra": [{"a": None, "b": None}, {"a": None, "b": "c"}]}
    assert rows[0] == {"id": 0.0, "answers": {"text": [], "start": None}, "extra": None}


def test_a_column_that_nothing_reads_may_hold_anything(
    load: Callable[..., Any], refusal: Callable[..., str], write: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    row = {"question": "Wo?", "context": "Rom", "answer_lang": "de", "n": 1}
    rows = [row] * 1500 + [row | {"answer_lang": float("nan"), "more": 1}, row | {"more": "x"}]
    path = write("de.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    dataset = load(train_file=[path], kind=QuestionAnsweringArguments)["train"]["de"]
    assert dataset.column_names == ["question", "context", "n"] and len(dataset) == 1502
    assert [record.getMessage() for record in caplog.records if "left out" in record.getMessage()] == [
        f"{path}, row {row}: the column {name!r} has another type of value than before. It is left out; "
        "nothing reads it."
        for row, name in ((1501, "answer_lang"), (1502, "more"))
    ]
    assert "row 1501" in refusal(train_file=[path], kind=QuestionAnsweringArguments, task_column="answer_lang")
    path = write("en.jsonl", json.dumps(row) + "\n" + json.dumps(row | {"context": 7}) + "\n")
    assert f"{path}, row 2: its values" in refusal(train_file=[path], kind=QuestionAnsweringArguments)


@pytest.mark.parametrize(
    ("kind", "row"),
    [
        (TextClassificationArguments, {"sentence": "Good.", "label": 1}),
        (MultipleChoiceArguments, {"premise": "It rains.", "choice1": "wet", "choice2": "dry", "label": 0}),
    ],
)
def test_it_blocks_no_script(
    load: Callable[..., Any], refusal: Callable[..., str], write: Callable[..., str],
    caplog: pytest.LogCaptureFixture, kind: type[DataArguments], row: dict[str, Any],
) -> None:  # fmt: skip
    path = write("de.jsonl", "".join(json.dumps(row | {"note": note}) + "\n" for note in ("a", ["b"])))
    for _ in range(2):
        # Also of a file that is cached.
        caplog.clear()
        assert load(train_file=[path], kind=kind)["train"]["de"].column_names == list(row)
        assert f"{path}, row 2: the column 'note'" in caplog.text
    path = write("en.jsonl", json.dumps(row) + "\n" + json.dumps(dict.fromkeys(row, "x") | {"label": [1]}) + "\n")
    assert f"{path}, row 2: its values" in refusal(train_file=[path], kind=kind)


def test_no_column_is_guessed_beside_one_that_was_left_out(
    refusal: Callable[..., str], load: Callable[..., Any], write: Callable[..., str]
) -> None:
    """`left` alone would be trained on as the only column of texts, `pos` as that of tags."""
    rows = [{"left": "a", "right": "b", "label": 0}, {"left": "c", "right": float("nan"), "label": 1}]
    path = write("de.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    data = load(train_file=[path], kind=TextClassificationArguments)
    with pytest.raises(InputError, match="it may be 'right' too, which has another type of value in row 2"):
        TextClassification(data, TextClassificationArguments(train_file=[path]))
    named = TextClassificationArguments(train_file=[path], text_column_names=["left"])
    assert TextClassification(data, named).text_columns("de", data["train"]["de"]) == ("left",)
    words = [{"words": ["a"], "ner": ["O"], "pos": ["X"]}, {"words": ["b"], "ner": "O", "pos": ["Y"]}]
    path = write("en.jsonl", "".join(json.dumps(row) + "\n" for row in words))
    with pytest.raises(InputError, match="it may be 'ner', which has another type of value in row 2"):
        TokenClassification(
            load(train_file=[path], kind=TokenClassificationArguments), TokenClassificationArguments(train_file=[path])
        )


def test_parquet_keeps_its_types(load: Callable[..., Any], tmp_path: Path) -> None:
    features = Features({"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=["O", "B-LOC"]))})
    path = tmp_path / "de[1].parquet"
    Dataset.from_dict({"tokens": [["In", "Rom"]], "ner_tags": [[0, 1]]}, features=features).to_parquet(path)
    rows = load(train_file=[f"de={path}"])["train"]["de"]
    assert rows.features == features
    assert rows[0] == {"tokens": ["In", "Rom"], "ner_tags": [0, 1]}


def test_csv_leaves_other_columns_alone(load: Callable[..., Any], write: Callable[..., str]) -> None:
    path = write("de.csv", 'premise,hypothesis,label,id\n"[Ja, a b",NA,2,1\n,null,-1,01\n')
    assert load(train_file=[path], kind=DataArguments)["train"]["de"].to_list() == [
        {"premise": "[Ja, a b", "hypothesis": "NA", "label": 2, "id": "1"},
        {"premise": "", "hypothesis": "null", "label": -1, "id": "01"},
    ]


def test_tabs_separate_the_values_of_a_table(load: Callable[..., Any], write: Callable[..., str]) -> None:
    """Quotation marks in it are text, as in GLUE's files and XNLI's; of words with tags it is CoNLL as ever."""
    path = write("de.tsv", '\ufeffsentence1\tgold_label\tid\r\n"Ja, sagt sie\t1\t01\r\n\r\n\t2\t""\r\n')
    assert load(train_file=[path], kind=DataArguments)["train"]["de"].to_list() == [
        {"sentence1": '"Ja, sagt sie', "gold_label": 1, "id": "01"},
        {"sentence1": "", "gold_label": 2, "id": '""'},
    ]
    # Programs that quote the names of columns quote values too.
    path = write("en.tsv", '"premise"\t"label"\n"Say ""no"", then.\tA"\t1\nIt "is".\t2\n')
    assert load(train_file=[path], kind=DataArguments)["train"]["en"].to_list() == [
        {"premise": 'Say "no", then.\tA', "label": 1}, {"premise": 'It "is".', "label": 2},
    ]  # fmt: skip
    answers = '{"text": ["Rom"], "answer_start": [0]}'
    path = write("qa.tsv", f"question\tcontext\tanswers\nWas?\tRom ist alt.\t{answers}\n")
    assert load(train_file=[path], kind=DataArguments)["train"]["qa"][0]["answers"] == json.loads(answers)
    path = write("words.tsv", "In\tO\nRom\tB-LOC\n")
    assert load(train_file=[path])["train"]["words"][0] == {"tokens": ["In", "Rom"], "ner_tags": ["O", "B-LOC"]}


@pytest.mark.parametrize(
    ("content", "place", "found"),
    [
        ("premise\tlabel\na\t1\n\na\tb\t1\n", "row 2 (line 4)", "3 values for the 2 columns of the header. Separate"),
        ("premise\tlabel\n\"a\nb\"\t1\n", "row 1 (line 2)", "a value holds no tab and no line end"),
        ("gj04\t1\t\tNo header.\n", "line 1", "a different name for every column"),
        ("a\tb\n" + "x" * 200_000 + "\t1\n", "line 2", "not TSV (field larger than field limit (131072)). A value"),
    ],
)  # fmt: skip
def test_mistakes_in_tables_with_tabs_are_named(
    write: Callable[..., str], refusal: Callable[..., str], content: str, place: str, found: str
) -> None:
    path = write("de.tsv", content)
    message = refusal(train_file=[path], kind=DataArguments)
    assert message.startswith(f"Task 'de', train data: {path}, {place}: ")
    assert found in message


@pytest.mark.parametrize(
    "sentence", ["[ Applause ] Thanks", "[Applause] , thanks", "[1] see above", "[ and ,", "[ [ ]"]
)
def test_a_sentence_may_begin_with_a_bracket(tmp_path: Path, sentence: str) -> None:
    path = tmp_path / "de.csv"
    path.write_text(csv_text([["tokens"], [sentence], ["In Rom"]]), newline="")
    assert [row["tokens"] for row in read_csv(path, ("tokens",))] == [sentence.split(), ["In", "Rom"]]


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=5).map(lambda t: "x" + t)


@settings(max_examples=50)
@given(rows=st.lists(st.tuples(TEXTS, st.lists(TEXTS)), min_size=1, max_size=4))
def test_csv_round_trip(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, list[str]]]) -> None:
    path = tmp_path_factory.getbasetemp() / "round_trip.csv"
    path.write_text(csv_text([["text", "tokens"], *([text, json.dumps(words)] for text, words in rows)]), newline="")
    assert [(row["text"], row["tokens"]) for row in read_csv(path, ("tokens",))] == rows


@pytest.mark.parametrize(
    ("name", "content", "place", "found"),
    [
        ("de.jsonl", '{"a": 1}\n{"a": 1,}\n', "line 2", "not JSON"),
        ("de.jsonl", '{"a": 1}\n[1]\n', "line 2", "`[1]` is not an object"),
        ("de.jsonl", b'{"a": "\xf6"}\n', "line 1", "byte 0xf6 at offset 7 is not UTF-8"),
        ("de.json", '[{"a": 1},\n {"a": 1]', "line 2", "not JSON"),
        ("de.json", '[{"a": 1}, 7]', "row 2", "`7` is not an object"),
        ("de.json", '{"a": 1}\n{"a": \n', "line 2", "not JSON"),
        ("de.json", '{"rows":\n [{"a": 1}]}', "line 1", "a list of objects"),
        ("de.jsonl", '{"a": [1]}\n{"a": ["x"]}\n', "row 2", "values of one type"),
        ("de.jsonl", '{"a": 1}\n' * 1500 + '{"a": "x"}\n', "row 1501", "values of one type"),
        ("de.jsonl", '{"a": "\\ud800"}\n', "line 1", "half of a character"),
        ("de.csv", "tokens,ner_tags\na,O\na,b,c\n", "row 2 (line 3)", "3 values for the 2 columns"),
        ("de.csv", "tokens,tokens\na,O\n", "line 1", "a different name for every column"),
        ("de.csv", 'tokens,ner_tags\n"a,O\n', "line 2", "not CSV"),
        ("de.csv", "tokens,ner_tags\na,O\n\"['a']\",O\n", "row 2 (line 3), column `tokens`", 'Write ["a", "b"].'),
        ("de.csv", 'tokens,ner_tags\na,"[O, O]"\n', "row 1 (line 2), column `ner_tags`", 'Write ["a", "b"].'),
        ("de.csv", "tokens,ner_tags\na\0,O\n", "line 2", "a NUL byte"),
        ("de.csv", "tokens,ner_tags\ra,O\rb c,O,O\r", "row 2 (line 3)", "3 values for the 2 columns"),
        ("de.json", '[\r{"a": 1},\r {"a": 1]', "line 3", "not JSON"),
    ],
)
def test_mistakes_are_named(
    write: Callable[..., str], refusal: Callable[..., str], name: str, content: str | bytes, place: str, found: str
) -> None:
    path = write(name, content)
    message = refusal(train_file=[path])
    assert message.startswith(f"Task 'de', train data: {path}, {place}")
    assert found in message


@pytest.mark.skipif(not GLUE.is_dir(), reason=f"{GLUE} is not there: it is no part of the project")
@pytest.mark.parametrize(("task", "rows"), [("MRPC", 3667), ("RTE", 2490), ("STS-B", 5749)])
def test_real_tables_with_tabs(load: Callable[..., Any], task: str, rows: int) -> None:
    assert len(load(train_file=[f"{task}={GLUE / task / 'train.tsv'}"], kind=DataArguments)["train"][task]) == rows


@pytest.mark.parametrize(("name", "content"), [("de.json", "[]"), ("de.jsonl", "\n"), ("de.csv", "tokens,ner_tags\n")])
def test_files_without_examples_are_refused(
    write: Callable[..., str], refusal: Callable[..., str], name: str, content: str
) -> None:
    path = write(name, content)
    assert refusal(train_file=[path]).startswith(f"Task 'de', train data: {path} holds no examples.")


def test_parquet_without_examples_is_refused(refusal: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "de.parquet"
    Dataset.from_dict({"tokens": []}).to_parquet(path)
    assert refusal(train_file=[str(path)]).startswith(f"Task 'de', train data: {path} holds no examples.")


def test_broken_parquet_is_refused(write: Callable[..., str], refusal: Callable[..., str]) -> None:
    path = write("de.parquet", "no parquet")
    assert refusal(train_file=[path]).startswith(f"Task 'de', train data: {path} cannot be read")


def test_a_changed_file_is_read_again(load: Callable[..., Any], write: Callable[..., str]) -> None:
    for tag in ("B-LOC", "B-ORG"):
        assert load(train_file=[write("de.conll", f"Rom {tag}\n")])["train"]["de"]["ner_tags"][0] == [tag]


def test_the_cache_serves_until_it_is_to_be_overwritten(
    load: Callable[..., Any], write: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("de.conll", "Rom B-LOC\n")
    first = load(train_file=[path])["train"]["de"]
    monkeypatch.setattr("hf_seqreptile.data.formats.read_conll", read_conll := _other_reader)
    assert read_conll.__name__ == "read_conll"
    assert load(train_file=[path])["train"]["de"].to_list() == first.to_list()
    assert load(train_file=[path], overwrite_cache=True)["train"]["de"][0]["tokens"] == ["other"]


def _other_reader(path: Path) -> Any:
    yield {"tokens": ["other"], "ner_tags": ["O"]}


_other_reader.__name__ = "read_conll"
