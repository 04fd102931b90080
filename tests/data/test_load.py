"""Which tasks are loaded, how many examples of each, and what is said where that cannot be."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest

from hf_seqreptile import InputError
from hf_seqreptile.data import DataArguments
from hf_seqreptile.problems.question_answering import QuestionAnsweringArguments
from hf_seqreptile.problems.token_classification import TokenClassificationArguments

SHARED = Path(__file__).parents[3] / "shared" / "data"


def conll(*words: str) -> str:
    return "\n".join(f"{word} B-LOC\n" for word in words)


@pytest.fixture
def files(write: Callable[..., str]) -> dict[str, list[str]]:
    """Training data in de and nl; validation data in de and the zero-shot sw."""
    return {
        "train_file": ["de=" + write("a.conll", conll("Rom", "Bonn", "Kiel")), write("nl.conll", conll("Gent"))],
        "validation_file": ["de=" + write("b.conll", conll("Ulm")), "sw=" + write("c.conll", conll("Lamu"))],
    }


def words(tasks: dict[str, datasets.Dataset]) -> dict[str, list[str]]:
    return {task: [word for sentence in dataset["tokens"] for word in sentence] for task, dataset in tasks.items()}


def test_tasks_of_each_split(load: Callable[..., Any], files: dict[str, Any]) -> None:
    loaded = load(["train", "validation"], **files, eval_languages=["sw", "de"])
    assert words(loaded["train"]) == {"de": ["Rom", "Bonn", "Kiel"], "nl": ["Gent"]}
    assert words(loaded["validation"]) == {"sw": ["Lamu"], "de": ["Ulm"]}
    assert list(loaded["validation"]) == ["sw", "de"]
    assert loaded["validation"]["sw"].split == "validation"


def test_evaluation_defaults_to_the_languages_trained_on(load: Callable[..., Any], files: dict[str, Any]) -> None:
    assert words(load(["train", "validation"], **files, languages=["de"])["validation"]) == {"de": ["Ulm"]}
    files.pop("train_file")
    assert list(load(["validation"], **files)["validation"]) == ["de", "sw"]


def test_files_that_are_named_are_evaluated(
    load: Callable[..., Any], refusal: Callable[..., str], write: Callable[..., str], files: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Trained on or not; the run says which are which."""
    splits = ["train", "validation", "test"]
    loaded = load(splits, **files, test_file="ru=" + write("ru.conll", conll("Perm")))
    assert words(loaded["validation"]) == {"de": ["Ulm"], "sw": ["Lamu"]}
    assert words(loaded["test"]) == {"ru": ["Perm"]}
    assert [record.getMessage() for record in caplog.records] == [
        "The validation files name tasks that are not trained on, and are evaluated zero-shot: sw.",
        "Trained on, but not evaluated, since no --validation_file names them: nl.",
        "The test files name tasks that are not trained on, and are evaluated zero-shot: ru.",
        "Trained on, but not evaluated, since no --test_file names them: de, nl.",
    ]
    caplog.clear()
    # `languages` chooses among the files, if it can.
    assert list(load(splits[:2], **files, languages=["nl"])["validation"]) == ["de", "sw"]
    caplog.clear()
    assert list(load(splits[:2], **files, languages=["nl", "de"])["validation"]) == ["de"]
    assert [record.getMessage() for record in caplog.records] == [
        "--languages leaves out tasks of the validation files that cannot be trained on: sw. To evaluate them, name "
        "them in --eval_languages.",
        "Trained on, but not evaluated, since no --validation_file names them: nl.",
    ]
    caplog.clear()
    assert list(load(splits[:2], **files, eval_languages=["sw"])["validation"]) == ["sw"]
    assert not caplog.records
    del files["train_file"]
    assert refusal(splits=["validation"], **files, languages=["d"]).startswith("--languages: unknown language 'd'.")


def test_one_file_a_split_is_one_task(load: Callable[..., Any], write: Callable[..., str]) -> None:
    """As Hugging Face's scripts take files; files that agree in their names keep them."""
    train, dev = write("train.conll", conll("Rom")), write("dev.conll", conll("Ulm"))
    loaded = load(["train", "validation"], train_file=[train], validation_file=[dev])
    assert [words(tasks) for tasks in loaded.values()] == [{"all": ["Rom"]}, {"all": ["Ulm"]}]
    again = load(["train", "validation"], train_file=[train], validation_file=[write("sub/train.conll", conll("Ulm"))])
    assert [list(tasks) for tasks in again.values()] == [["train"], ["train"]]


@pytest.mark.parametrize(
    ("value", "items"),
    [
        (30, ["30"]),
        ("de=6000", ["de=6000"]),
        ({"de": 6000, "nl": "200"}, ["de=6000", "nl=200"]),
        (Path("a.conll"), ["a.conll"]),
        ({"de": [Path("a.conll"), "b.conll"]}, ["de=a.conll", "de=b.conll"]),
        (("6000", {"nl": 200}), ["6000", "nl=200"]),
        (None, None),
    ],
    ids=str,
)
@pytest.mark.parametrize("arguments", [DataArguments, TokenClassificationArguments, QuestionAnsweringArguments])
def test_in_python_one_value_is_a_list_of_one(arguments: type[DataArguments], value: Any, items: Any) -> None:
    """Or a dict by task."""
    for name in ("train_file", "max_train_samples", "eval_languages"):
        assert getattr(arguments(**{name: value}), name) == items


@pytest.mark.parametrize("value", [3.0, True, b"a.conll", ["de", None, 0.5]], ids=str)
def test_in_python_a_value_of_another_type_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match=r"^train_file is .*; give a text, a list of them, or a dict by task"):
        DataArguments(train_file=value)


def test_limits_keep_the_first_examples(load: Callable[..., Any], files: dict[str, Any]) -> None:
    assert words(load(**files, max_train_samples=["2"])["train"]) == {"de": ["Rom", "Bonn"], "nl": ["Gent"]}
    limits = ["1", "de=9"]
    assert words(load(**files, max_train_samples=limits)["train"]) == {"de": ["Rom", "Bonn", "Kiel"], "nl": ["Gent"]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"languages": ["d"]}, "--languages: unknown language 'd'. Did you mean 'de'? Known: de, nl, sw."),
        ({"eval_languages": ["tr"]}, "--eval_languages: unknown language 'tr'. Known: de, nl, sw."),
        ({"languages": ["de", "de"]}, "--languages: 'de' occurs twice. Name each task once."),
        (
            {"eval_languages": ["nl"]},
            "Task 'nl' has no validation data. Add `nl=path` to --validation_file, or name the tasks that have some "
            "with --eval_languages: de, sw.",
        ),
        (
            {"languages": ["sw"]},
            "Task 'sw' has no train data. Add `sw=path` to --train_file, or name the tasks that have some with "
            "--languages: de, nl.",
        ),
        ({"max_train_samples": ["x"]}, "--max_train_samples: `x` is not a number of examples."),
        ({"max_train_samples": ["de=abc"]}, "--max_train_samples: `de=abc` is not a number of examples."),
        ({"max_train_samples": ["de=0"]}, "--max_train_samples: `de=0` is not a number of examples."),
        ({"max_eval_samples": ["=5"]}, "--max_eval_samples: `=5` is not a number of examples."),
        ({"max_train_samples": ["5", "6"]}, "--max_train_samples: two limits for all tasks. Give one."),
        (
            {"eval_languages": ["de"], "max_eval_samples": ["nl=1"]},
            "--max_eval_samples: unknown task 'nl'. Known: de.",
        ),
        ({"dataset_name": "sample"}, "--dataset_name and --train_file exclude each other. Leave one of them out."),
        ({"dataset_config_name": "x"}, "--dataset_config_name is for datasets of the Hub. Leave it out."),
    ],
)
def test_arguments_are_refused(
    refusal: Callable[..., str], files: dict[str, Any], arguments: dict[str, Any], message: str
) -> None:
    assert refusal(splits=["train", "validation"], **files, **arguments).startswith(message)


def test_no_data_is_refused(refusal: Callable[..., str], files: dict[str, Any]) -> None:
    assert refusal().endswith("to try things out: --dataset_name sample")
    assert refusal(splits=["test"], train_file=files["train_file"]).startswith(
        "Task 'de' has no test data. Add `de=path`"
    )
    assert refusal(validation_file=files["validation_file"]) == "No train data. Add --train_file name=path."


def test_folders(load: Callable[..., Any], write: Callable[..., str], tmp_path: Path) -> None:
    write("flat/sw.conll", conll("Lamu"))
    write("flat/README.md", "about")
    write("deep/de/train.conllu", conll("Rom"))
    write("deep/de/dev.conllu", conll("Ulm"))
    write("deep/tr/val.jsonl", json.dumps({"tokens": ["Van"], "ner_tags": ["B-LOC"]}))
    flat, deep = str(tmp_path / "data" / "flat"), str(tmp_path / "data" / "deep")
    loaded = load(
        ["train", "validation"], train_file=[flat, deep], validation_file=[deep], eval_languages=["tr", "de"]
    )
    assert words(loaded["train"]) == {"sw": ["Lamu"], "de": ["Rom"]}
    assert words(loaded["validation"]) == {"tr": ["Van"], "de": ["Ulm"]}
    assert words(load(train_file=[f"x={deep}/de"])["train"]) == {"x": ["Rom"]}
    assert words(load(train_file=[f"{deep}/de"])["train"]) == {"de": ["Rom"]}


def test_files_of_a_folder_may_name_split_and_task(load: Callable[..., Any], write: Callable[..., str]) -> None:
    for name in ("train_de", "dev_de", "sw-ud-train", "sw-ud-test", "nl"):
        folder = str(Path(write(f"flat/{name}.conll", conll(name))).parent)
    loaded = load(
        ["train", "validation", "test"], **{f"{split}_file": folder for split in ("train", "validation", "test")}
    )
    assert {split: words(tasks) for split, tasks in loaded.items()} == {
        "train": {"nl": ["nl"], "sw-ud": ["sw-ud-train"], "de": ["train_de"]},
        "validation": {"de": ["dev_de"], "nl": ["nl"]},
        "test": {"nl": ["nl"], "sw-ud": ["sw-ud-test"]},
    }


def test_a_column_may_name_the_tasks(load: Callable[..., Any], write: Callable[..., str]) -> None:
    rows = [{"lang": lang, "n": n} for n, lang in enumerate(["de", "sw", "de", "nl"])]
    path = write("all=1.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    tasks = load(train_file=[path], task_column="lang", languages=["de", "sw"], kind=DataArguments)["train"]
    assert tasks["de"].to_list() == [rows[0], rows[2]]
    assert tasks["sw"].to_list() == [rows[1]]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("de={}/none.conll", "none.conll` does not exist. Give a file, or a folder with one file a task."),
        ("sw=", "the file `` does not exist."),
        ("={}/de.conll", "an empty task name. Write `name=path`, such as `de=data/de.conll`."),
        ("..={}/de.conll", "the task name '..' is unfit for a file name."),
        ("d\ne={}/de.conll", "the task name 'd\\ne' is unfit for a file name."),
        ("{}/fr.xlsx", "files that end in '.xlsx' are not supported. Supported: .conll, .conllu,"),
        ("{}/none.jsonl", "none.jsonl is an empty file. Put examples into it, or leave it out."),
        ("{}/folder", "the folder holds no train files. Expected "),
        ("de={}/folder", "folder holds no file named train (.conll, .jsonl, …)."),
        ("{}/two", "two holds several train files: train.conll, train.json. Keep one, or name it."),
        ("de={}/nl.conll", "the task 'de' occurs twice. Give it one file, or two names."),
    ],
)
def test_files_are_refused(
    write: Callable[..., str], refusal: Callable[..., str], tmp_path: Path, item: str, message: str
) -> None:
    for name in ("de.conll", "nl.conll", "two/train.conll", "two/train.json", "folder/test.conll", "fr.xlsx"):
        write(name, conll("Rom"))
    if "none.jsonl" in item:
        write("none.jsonl", "")
    data = str(tmp_path / "data")
    assert message in refusal(train_file=[f"{data}/de.conll", item.format(data)])


@pytest.mark.parametrize(
    ("item", "column", "message"),
    [
        ("{}", "language", "has no column 'language'. Give --task_column one of: n, lang."),
        ("{}", "n", "row 2: the column 'n' names no task. Fill it in."),
        ("{}", "lang", "row 2, column 'lang': the task name 'a/b' is unfit for a file name."),
        ("de={}", "lang", "is not a file. With --task_column, give plain files: the column 'lang' names the tasks."),
    ],
)
def test_task_columns_are_refused(
    write: Callable[..., str], refusal: Callable[..., str], item: str, column: str, message: str
) -> None:
    path = write("all.jsonl", '{"n": 1, "lang": "de"}\n{"n": null, "lang": "a/b"}\n')
    assert message in refusal(train_file=[item.format(path)], task_column=column)


def test_sample(load: Callable[..., Any], refusal: Callable[..., str]) -> None:
    loaded = load(["train", "test"], dataset_name="sample", languages=["sw"], eval_languages=["sw", "fr"])
    assert list(loaded["train"]) == ["sw"] and list(loaded["test"]) == ["sw", "fr"]
    assert loaded["train"]["sw"].column_names == ["tokens", "ner_tags"]
    message = refusal(dataset_name="sample", languages=["fr"])
    assert message.startswith("Task 'fr' has no train data.")
    assert "'' is not among the problems that a sample is bundled for: glue, ner" in refusal(
        dataset_name="sample", kind=DataArguments
    )
    assert "--task_column does not go with the sample" in refusal(dataset_name="sample", task_column="lang")


def test_evaluation_data_may_lie_elsewhere(
    load: Callable[..., Any], refusal: Callable[..., str], write: Callable[..., str], files: dict[str, Any]
) -> None:
    splits = ["train", "validation"]
    train = {"train_file": files["train_file"]}
    folder = str(Path(write("elsewhere/tr/validation.conll", conll("Van"))).parents[1])
    write("elsewhere/sw.conll", conll("Lamu"))
    loaded = load(splits, **train, eval_dataset=folder, languages=["de"])
    assert words(loaded["train"]) == {"de": ["Rom", "Bonn", "Kiel"]}
    assert words(loaded["validation"]) == {"sw": ["Lamu"], "tr": ["Van"]}
    assert list(load(splits, **train, eval_dataset=folder, eval_languages=["tr"])["validation"]) == ["tr"]
    # Not needed for evaluation alone.
    assert list(load(["validation"], eval_dataset=folder)["validation"]) == ["sw", "tr"]
    sample = load([*splits, "test"], **train, eval_dataset="sample")
    assert list(sample["train"]) == ["de", "nl"]
    assert "fr" in sample["validation"] and "fr" in sample["test"]
    assert refusal(splits=splits, **train, eval_dataset=folder, eval_languages=["de"]).startswith(
        "--eval_languages: unknown language 'de'. Known: sw, tr."
    )
    assert refusal(splits=splits, **files, eval_dataset=folder).startswith(
        "--eval_dataset and --validation_file exclude each other. Leave one of them out."
    )
    assert refusal(splits=splits, eval_dataset=folder).startswith("No data. Give --dataset_name or --train_file")


def test_a_folder_with_a_card_is_loaded_as_a_dataset_of_the_hub_is(
    load: Callable[..., Any], write: Callable[..., str], files: dict[str, Any]
) -> None:
    write("cities/a-00000-of-00001.jsonl", json.dumps({"tokens": ["Van"], "ner_tags": ["B-LOC"]}))
    configs = "- config_name: cities.tr\n  data_files: [{split: test, path: a-*}]\n"
    configs += "- config_name: all_cities\n  data_files: [{split: test, path: a-*}]\n"
    card = write("cities/README.md", f"---\nconfigs:\n{configs}---\n")
    arguments = {"train_file": files["train_file"], "eval_dataset": str(Path(card).parent)}
    assert words(load(["train", "test"], **arguments)["test"]) == {"tr": ["Van"]}


def test_the_whole_sample_loads_by_default(load: Callable[..., Any]) -> None:
    loaded = load(["train", "validation", "test"], dataset_name="sample")
    assert set(loaded["train"]) == set(loaded["validation"]) == set(loaded["test"])


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"{SHARED} is not there: it is no part of the project")
def test_real_data(load: Callable[..., Any]) -> None:
    folder = str(SHARED / "wikiann")
    tasks = load(["test"], test_file=[folder], max_predict_samples=["5000", "de=7"], languages=["de", "nl"])["test"]
    assert {task: len(dataset) for task, dataset in tasks.items()} == {"de": 7, "nl": 5000}
    assert {tag for row in tasks["nl"]["ner_tags"] for tag in row} == {
        "O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC"
    }  # fmt: skip
