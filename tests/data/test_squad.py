"""Questions with answers: nested SQuAD files, CSV files, and the languages that ids name."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_seqreptile.data import DataArguments
from hf_seqreptile.data.csv_file import read_csv
from hf_seqreptile.data.json_file import read_json

SHARED = Path(__file__).parents[3] / "shared" / "data"
CONTEXT = "Rom liegt am Tiber."


class Questions(DataArguments):
    """As question answering has them."""

    problem = "qa"
    id_names_task = True


def row(name: str, *answers: str) -> dict[str, Any]:
    starts = [CONTEXT.index(answer) for answer in answers]
    content = {"title": "Rom", "context": CONTEXT, "question": "Wo?"}
    return {"id": name, **content, "answers": {"text": list(answers), "answer_start": starts}}


def nested(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The SQuAD file of the rows: an article with one paragraph for each."""
    paragraphs = [{"context": row["context"], "qas": [question(row)]} for row in rows]
    return {"version": "1.1", "data": [{"title": "Rom", "paragraphs": paragraphs}]}


def question(row: dict[str, Any]) -> dict[str, Any]:
    pairs = zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True)
    answers = [{"text": text, "answer_start": start} for text, start in pairs]
    return {"id": row["id"], "question": row["question"], "answers": answers, "is_impossible": not answers}


def csv_text(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def in_cells(row: dict[str, Any]) -> dict[str, Any]:
    content, answers = dict(row), row["answers"]
    del content["answers"]
    return {
        **content,
        "answer_text": "".join(answers["text"]),
        "answer_start": "".join(map(str, answers["answer_start"])),
    }


ROWS = [row("1e5"), row("007"), row("56be", "Tiber"), row("12", "Rom")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("de.json", json.dumps(nested(ROWS))),
        ("de.json", json.dumps(nested(ROWS)["data"])),
        ("de.json", json.dumps({"data": ROWS})),
        ("de.json", json.dumps(ROWS)),
        ("de.jsonl", "".join(json.dumps(row) + "\n" for row in ROWS)),
        ("de.csv", csv_text([{**row, "answers": json.dumps(row["answers"])} for row in ROWS])),
        ("de.csv", csv_text([in_cells(row) for row in ROWS])),
    ],
)
def test_all_formats_give_the_same_rows(
    load: Callable[..., Any], write: Callable[..., str], name: str, content: str
) -> None:
    """Ids that look like numbers stay strings, and the first rows have no answers."""
    tasks = load(kind=Questions, train_file=[write(name, content)])["train"]
    assert list(tasks) == ["de"]
    assert tasks["de"].to_list() == ROWS


def test_parquet_gives_the_same_rows(load: Callable[..., Any], tmp_path: Path) -> None:
    Dataset.from_list(ROWS).to_parquet(tmp_path / "de.parquet")
    assert load(kind=Questions, train_file=[str(tmp_path / "de.parquet")])["train"]["de"].to_list() == ROWS


def test_a_file_may_have_no_answers_at_all(load: Callable[..., Any], write: Callable[..., str]) -> None:
    path = write("de.json", json.dumps(nested(ROWS[:2])))
    assert load(kind=Questions, train_file=[path])["train"]["de"].to_list() == ROWS[:2]


def test_answers_may_be_unknown(load: Callable[..., Any], write: Callable[..., str]) -> None:
    """As in the questions of a competition's test split."""
    asked = nested(ROWS)
    for paragraph in asked["data"][0]["paragraphs"]:
        del paragraph["qas"][0]["answers"]
    rows = load(["test"], kind=Questions, test_file=[write("de.json", json.dumps(asked))])["test"]["de"]
    assert rows.column_names == ["id", "title", "context", "question"]


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), min_size=1, max_size=8)
ANSWERS = st.lists(st.tuples(TEXTS, st.integers(0, 10**6)), max_size=3)
QUESTIONS = st.lists(st.tuples(TEXTS | st.integers(), TEXTS, ANSWERS), max_size=3)
ARTICLES = st.lists(st.tuples(TEXTS, st.lists(st.tuples(TEXTS, QUESTIONS), max_size=2)), min_size=1, max_size=2)


@settings(max_examples=40)
@given(articles=ARTICLES)
def test_flattening_keeps_everything_in_order(tmp_path_factory: pytest.TempPathFactory, articles: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "nested.json"
    data: list[Any] = []
    expected = []
    for title, paragraphs in articles:
        data.append({"title": title, "paragraphs": []})
        for context, questions in paragraphs:
            data[-1]["paragraphs"].append({"context": context, "qas": []})
            for name, text, answers in questions:
                written = [{"text": answer, "answer_start": start} for answer, start in answers]
                data[-1]["paragraphs"][-1]["qas"].append({"id": name, "question": text, "answers": written})
                flat = {"text": [answer for answer, _ in answers], "answer_start": [start for _, start in answers]}
                row = {"id": str(name), "title": title, "context": context, "question": text, "answers": flat}
                expected.append(row)
    path.write_text(json.dumps({"data": data}), encoding="utf-8")
    assert list(read_json(path)) == expected


@settings(max_examples=40)
@given(answers=ANSWERS)
def test_answers_in_csv_come_back(tmp_path_factory: pytest.TempPathFactory, answers: list[tuple[str, int]]) -> None:
    path = tmp_path_factory.getbasetemp() / "answers.csv"
    content = {"text": [text for text, _ in answers], "answer_start": [start for _, start in answers]}
    path.write_text(csv_text([{"id": "1", "answers": json.dumps(content)}]), encoding="utf-8", newline="")
    assert list(read_csv(path, ())) == [{"id": "1", "answers": content}]
    if len(answers) == 1:
        (text, start) = answers[0]
        # As pandas writes integers beside an empty cell.
        row = {"id": "1", "answer_text": text, "answer_start": f"{start}.0"}
        path.write_text(csv_text([row]), encoding="utf-8", newline="")
        assert list(read_csv(path, ())) == [{"id": "1", "answers": content}]


@pytest.mark.parametrize(
    ("part", "place", "found"),
    [
        ({"title": "t"}, "article 2", 'no list "paragraphs"'),
        ([], "article 2", "`[]` is not an object"),
        ({"paragraphs": [{"qas": []}]}, "article 2, paragraph 1", 'no text "context"'),
        ({"paragraphs": [{"context": "c"}]}, "article 2, paragraph 1", 'no list "qas"'),
        ({"paragraphs": [{"context": "c", "qas": ["Wo?"]}]}, "article 2, paragraph 1, question 1", "is not an object"),
    ],
)
def test_broken_nesting_is_named(
    write: Callable[..., str], refusal: Callable[..., str], part: Any, place: str, found: str
) -> None:
    path = write("de.json", json.dumps({"data": [*nested(ROWS)["data"], part]}))
    message = refusal(kind=Questions, train_file=[f"de={path}"])
    assert message.startswith(f"Task 'de', train data: {path}, {place}")
    assert found in message


@pytest.mark.parametrize("data", ["x", None, {"title": "t", "paragraphs": []}], ids=repr)
@pytest.mark.parametrize("version", [{}, {"version": "1.1"}], ids=repr)
def test_data_that_is_no_list_is_named(
    write: Callable[..., str], refusal: Callable[..., str], data: Any, version: dict[str, str]
) -> None:
    path = write("de.json", json.dumps({**version, "data": data}))
    message = refusal(kind=Questions, train_file=[f"de={path}"])
    assert message.startswith(
        f"Task 'de', train data: {path}: \"data\" must be a list, in a SQuAD file of articles, not"
    )


def test_a_column_may_be_called_data(load: Callable[..., Any], write: Callable[..., str]) -> None:
    """In a file of one object."""
    content = {"question": "Wo?", "data": "x"}
    assert load(kind=Questions, train_file=[write("de.json", json.dumps(content))])["train"]["de"].to_list() == [
        content
    ]


@pytest.mark.parametrize(
    ("name", "content", "starts"),
    [
        ("de.json", json.dumps({"data": [{"paragraphs": [{"context": CONTEXT, "qas": [
            {"id": "1", "question": "Wo?", "answers": [{"text": "Rom"}, {"text": "Rom", "answer_start": -1}]}]}]}]}),
         [None, -1]),
        ("de.csv", "question,context,answer_text\nWo?,Rom,Rom\n", [None]),
        ("de.csv", "question,context,answer_text,answer_start\nWo?,Rom,Rom,\n", [None]),
        ("de.csv", "question,context,answer_text,answer_start\nWo?,Rom,Rom,-1\n", [-1]),
        ("de.csv", 'question,context,answers\nWo?,Rom,"{""text"": [""Rom""]}"\n', [None]),
    ],
)  # fmt: skip
def test_answers_may_have_no_start(
    load: Callable[..., Any], write: Callable[..., str], name: str, content: str, starts: list[int | None]
) -> None:
    """Scores need their texts alone."""
    (row,) = load(kind=Questions, train_file=[f"de={write(name, content)}"])["train"]["de"]
    assert row["answers"] == {"text": ["Rom"] * len(starts), "answer_start": starts}


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"id": "1", "answers": []}, 'no text "question"'),
        ({"question": "Wo?", "answers": []}, '(`Wo?`) has no "id"'),
        ({"id": "1", "question": "Wo?", "answers": None}, "(1): no list of answers"),
        ({"id": "1", "question": "Wo?", "answers": {"text": ["Rom"]}}, "(1): no list of answers"),
        ({"id": "1", "question": "Wo?", "answers": [{"start": 3}]}, "(1): `{'start': 3}` is not an answer"),
        ({"id": "1", "question": "Wo?", "answers": [{"text": 3, "answer_start": 0}]}, "is not an answer"),
        ({"id": "1", "question": "Wo?", "answers": [{"text": "R", "answer_start": "0"}]}, "is not an answer"),
    ],
)
def test_broken_questions_are_named(
    write: Callable[..., str], refusal: Callable[..., str], content: Any, found: str
) -> None:
    path = write("de.json", json.dumps({"data": [{"paragraphs": [{"context": "c", "qas": [content]}]}]}))
    message = refusal(kind=Questions, train_file=[f"de={path}"])
    assert message.startswith(f"Task 'de', train data: {path}, article 1, paragraph 1, question 1")
    assert found in message


@pytest.mark.parametrize(
    ("header", "cells", "found"),
    [
        ("answers", "Rom", "column `answers`: not JSON"),
        ("answers", '"[""Rom""]"', "has no list of texts with as many starts"),
        ("answers", '"{""text"": [""Rom""], ""answer_start"": []}"', "has no list of texts with as many starts"),
        ("answer_text,answer_start", ",3", "`answer_text` is `` and `answer_start` is `3`"),
        ("answer_text,answer_start", "Rom,1.5", "leave both empty"),
    ],
)
def test_broken_answers_in_csv_are_named(
    write: Callable[..., str], refusal: Callable[..., str], header: str, cells: str, found: str
) -> None:
    path = write("de.csv", f"id,{header}\n1,{cells}\n")
    message = refusal(kind=Questions, train_file=[f"de={path}"])
    assert message.startswith(f"Task 'de', train data: {path}, row 1 (line 2)")
    assert found in message


def lines(*ids: str) -> str:
    return "".join(json.dumps(row(name, "Rom")) + "\n" for name in ids)


def ids(tasks: dict[str, Dataset]) -> dict[str, list[str]]:
    return {task: dataset["id"][:] for task, dataset in tasks.items()}


def test_ids_name_the_tasks_of_unnamed_files(
    load: Callable[..., Any], refusal: Callable[..., str], write: Callable[..., str]
) -> None:
    train = write("train.jsonl", lines("swahili--27-1", "korean-3-0", "swahili-4-1"))
    arguments: dict[str, Any] = {"train_file": [train], "validation_file": [write("dev.jsonl", lines("korean-9-9"))]}
    loaded = load(["train", "validation"], kind=Questions, **arguments, eval_languages=["korean"])
    assert ids(loaded["train"]) == {"swahili": ["swahili--27-1", "swahili-4-1"], "korean": ["korean-3-0"]}
    assert ids(loaded["validation"]) == {"korean": ["korean-9-9"]}
    assert list(load(kind=Questions, **arguments, languages=["korean"])["train"]) == ["korean"]
    assert refusal(kind=Questions, **arguments, languages=["dutch"]).startswith(
        "--languages: unknown language 'dutch'. Known: korean, swahili."
    )
    two = [train, write("more.jsonl", lines("dutch-1"))]
    assert list(load(kind=Questions, train_file=two)["train"]) == ["swahili", "korean", "dutch"]
    assert refusal(kind=Questions, train_file=[train, write("again.jsonl", lines("korean-1"))]).startswith(
        "--train_file: the task 'korean' occurs twice."
    )


def test_whatever_else_names_tasks_goes_before_ids(load: Callable[..., Any], write: Callable[..., str]) -> None:
    path = write("all/train.jsonl", lines("swahili-27-1", "korean-3-0"))
    assert list(load(kind=Questions, train_file=[f"x={path}"])["train"]) == ["x"]
    assert list(load(kind=Questions, train_file=[path], task_column="title")["train"]) == ["Rom"]
    assert list(load(kind=Questions, train_file=[str(Path(path).parent)])["train"]) == ["all"]
    assert list(load(kind=DataArguments, train_file=[path])["train"]) == ["train"]


@pytest.mark.parametrize(
    "name",
    [
        "56be4db0acb8001400a502ec",
        "abcdefab-abcd-4abc-8abc-abcdefabcdef",
        "de",
        "de-",
        "-de",
        "d3-1",
        "train-17",
        "de-17",
        "question-17",
        "",
    ],
)
def test_other_ids_name_no_tasks(load: Callable[..., Any], write: Callable[..., str], name: str) -> None:
    """One row with such an id is enough."""
    path = write("all.jsonl", lines("korean-3-0", name))
    assert list(load(kind=Questions, train_file=[path])["train"]) == ["all"]


def test_two_letters_name_a_language_only_where_it_is_asked_for(
    load: Callable[..., Any], write: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    """JaQuAD's ids name its splits: `tr-000-00-000` was trained on, `de-000-00-000` is for development."""
    train, dev = write("train.jsonl", lines("tr-000-1", "tr-000-2")), write("dev.jsonl", lines("de-000-1"))
    files: dict[str, Any] = {"train_file": [train], "validation_file": [dev]}
    loaded = load(["train", "validation"], kind=Questions, **files)
    assert ids(loaded["train"]) == {"all": ["tr-000-1", "tr-000-2"]}
    assert ids(loaded["validation"]) == {"all": ["de-000-1"]}
    assert not caplog.messages
    both = write("both.jsonl", lines("tr-1", "de-1", "tr-2"))
    assert list(load(kind=Questions, train_file=[both])["train"]) == ["both"]
    assert ids(load(kind=Questions, train_file=[both], languages=["tr"])["train"]) == {"tr": ["tr-1", "tr-2"]}
    assert caplog.messages == [f"The ids in {both} name languages, which are its tasks: tr, de."]
    caplog.clear()
    assert list(load(kind=Questions, train_file=[write("ty.jsonl", lines("Thai-1", "igbo-2"))])["train"]) == [
        "Thai",
        "igbo",
    ]
    assert "name languages, which are its tasks: Thai, igbo." in caplog.text


def test_ids_may_be_missing(load: Callable[..., Any], write: Callable[..., str]) -> None:
    for content in ('{"question": "Wo?"}\n', '{"id": 5}\n', '{"id": "de-1"}\n{"id": null}\n'):
        assert list(load(kind=Questions, train_file=[write("all.jsonl", content)])["train"]) == ["all"]


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"{SHARED} is not there: it is no part of the project")
def test_real_data(load: Callable[..., Any]) -> None:
    tydiqa = SHARED / "tydiqa_goldp"
    files = [str(tydiqa / f"{language}_tydiqa_dev.json") for language in ("arabic", "korean", "swahili")]
    tasks = load(["validation"], kind=Questions, validation_file=files)["validation"]
    assert {task: len(dataset) for task, dataset in tasks.items()} == {"arabic": 921, "korean": 276, "swahili": 499}
    for row in tasks["korean"]:
        for text, start in zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True):
            assert row["context"][start : start + len(text)] == text
    xquad = load(["test"], kind=Questions, test_file=[f"{SHARED}/xquad/xquad.de.json"])["test"]
    assert {task: len(dataset) for task, dataset in xquad.items()} == {"xquad.de": 1190}
    xnli = load(["test"], kind=DataArguments, eval_dataset=f"{SHARED}/xnli", eval_languages=["sw", "fr"])["test"]
    assert {task: len(dataset) for task, dataset in xnli.items()} == {"sw": 5010, "fr": 5010}
    assert set(xnli["sw"].column_names) == {"premise", "hypothesis", "label"}
