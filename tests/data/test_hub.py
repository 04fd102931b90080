"""Datasets by name, from folders that `datasets` loads as it loads a repository of the Hub."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

CARD = """---
configs:
- config_name: de
  data_files: [{split: train, path: de/train.jsonl}, {split: test, path: de/test.jsonl}]
- config_name: sw
  data_files: [{split: test, path: sw/test.jsonl}]
---
"""


def rows(*tokens: str, **extra: str) -> str:
    return "".join(json.dumps({"tokens": [token], "ner_tags": ["O"], **extra}) + "\n" for token in tokens)


@pytest.fixture
def several(write: Callable[..., str]) -> str:
    """A dataset with the configurations de (train, test) and sw (test)."""
    for name in ("de/train", "de/test", "sw/test"):
        write(f"several/{name}.jsonl", rows(name))
    return str(Path(write("several/README.md", CARD)).parent)


@pytest.fixture
def single(write: Callable[..., str]) -> str:
    """A dataset with one configuration, whose column "lang" names tasks."""
    return str(Path(write("single/train.jsonl", rows("Rom", "Ulm", lang="de") + rows("Lamu", lang="sw"))).parent)


def test_a_configuration_is_a_task(load: Callable[..., Any], several: str) -> None:
    loaded = load(["train", "test"], dataset_name=several, languages=["de"], eval_languages=["sw", "de"])
    assert loaded["train"]["de"]["tokens"][:] == [["de/train"]]
    assert {task: dataset["tokens"][0] for task, dataset in loaded["test"].items()} == {
        "sw": ["sw/test"],
        "de": ["de/test"],
    }
    assert list(load(["test"], dataset_name=several)["test"]) == ["de", "sw"]


def test_one_configuration_is_one_task(load: Callable[..., Any], several: str, single: str) -> None:
    assert list(load(dataset_name=single)["train"]) == ["single"]
    assert list(load(dataset_name=single, languages=["it"])["train"]) == ["it"]
    assert list(load(dataset_name=several, dataset_config_name="de")["train"]) == ["de"]
    assert list(load(dataset_name=several, dataset_config_name="de", languages=["it"])["train"]) == ["it"]


def test_a_column_may_name_the_tasks(load: Callable[..., Any], single: str) -> None:
    tasks = load(dataset_name=single, task_column="lang")["train"]
    assert {task: dataset["tokens"][:] for task, dataset in tasks.items()} == {
        "de": [["Rom"], ["Ulm"]],
        "sw": [["Lamu"]],
    }
    assert tasks["de"].column_names == ["tokens", "ner_tags", "lang"]


def test_what_is_missing_is_named(refusal: Callable[..., str], several: str, single: str) -> None:
    assert refusal(dataset_name=several, languages=["dee"]).startswith(
        "--languages: unknown language 'dee'. Did you mean 'de'? Known: de, sw."
    )
    message = refusal(dataset_name=several, languages=["sw"])
    assert message.startswith(f"Task 'sw', train data: --dataset_name {several} has no split 'train', only test.")
    assert "unknown configuration 'x'. Known: de, sw." in refusal(dataset_name=several, dataset_config_name="x")
    assert "unknown language 'nl'. Known: de, sw." in refusal(
        dataset_name=single, task_column="lang", languages=["de", "nl"]
    )
    assert "'it' not found" in refusal(dataset_name=single, languages=["it", "de"])


def test_a_folder_without_data_files_is_refused(refusal: Callable[..., str], write: Callable[..., str]) -> None:
    folder = str(Path(write("empty/notes.xyz", "none")).parent)
    message = refusal(dataset_name=folder)
    assert message.startswith(f"--dataset_name {folder}: no data files that `datasets` can read")
    assert message.endswith("Give files in a format of ours with --train_file.")


def test_a_broken_file_is_refused(refusal: Callable[..., str], write: Callable[..., str]) -> None:
    folder = str(Path(write("broken/train.jsonl", "{")).parent)
    assert f"--dataset_name {folder}" in refusal(dataset_name=folder)


def test_only_an_empty_split_that_is_needed_is_refused(
    load: Callable[..., Any], refusal: Callable[..., str], tmp_path: Path
) -> None:
    folder = tmp_path / "text"
    folder.mkdir()
    rows = Dataset.from_dict({"n": [1]})
    rows.to_parquet(folder / "train.parquet")
    rows.select([]).to_parquet(folder / "test.parquet")
    assert len(load(dataset_name=str(folder))["train"]["text"]) == 1
    message = refusal(splits=["test"], dataset_name=str(folder))
    assert message.startswith(f"Task 'text', test data: --dataset_name {folder} has no examples in the split 'test'.")


def test_a_folder_may_be_named_as_a_format_is(
    load: Callable[..., Any], write: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(write("csv/train.jsonl", rows("Rom"))).parents[1])
    assert load(dataset_name="csv")["train"]["csv"]["tokens"][:] == [["Rom"]]


SPLITS = """---
configs:
- config_name: default
  data_files:
  - {split: train_de, path: train_de.jsonl}
  - {split: train_sw, path: train_sw.jsonl}
  - {split: val_sw, path: val_sw.jsonl}
---
"""


def test_splits_may_name_the_tasks(
    load: Callable[..., Any], refusal: Callable[..., str], write: Callable[..., str]
) -> None:
    """As of Babelscape/wikineural; one that is called `train` means that they do not."""
    write("wiki/README.md", SPLITS)
    for name in ("train_de", "train_sw", "val_sw"):
        folder = str(Path(write(f"wiki/{name}.jsonl", rows(name))).parent)
    both = ["train", "validation"]
    loaded = load(both, dataset_name=folder, eval_languages=["sw"])
    assert {
        split: {task: data["tokens"][:] for task, data in of_split.items()} for split, of_split in loaded.items()
    } == {
        "train": {"de": [["train_de"]], "sw": [["train_sw"]]},
        "validation": {"sw": [["val_sw"]]},
    }
    assert list(load(both, dataset_name=folder, languages=["sw"])["validation"]) == ["sw"]
    assert refusal(dataset_name=folder, languages=["de", "fr"]) == "--languages: unknown language 'fr'. Known: de, sw."
    assert refusal(splits=both, dataset_name=folder).startswith("--languages: unknown language 'de'. Known: sw.")
    write("wiki/README.md", SPLITS.replace("split: val_sw", "split: train"))
    assert "has no split 'validation', only train_de" in refusal(splits=["validation"], dataset_name=folder)
