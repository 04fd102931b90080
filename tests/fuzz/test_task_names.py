"""Tasks' names become names of files and, with STL, of folders: none leads out of the output folder."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_seqreptile.command_line.steps import plan_runs
from hf_seqreptile.data import DataArguments, load_tasks
from hf_seqreptile.data.names import check_task_name
from hf_seqreptile.errors import InputError
from tests import tiny

HOSTILE = (
    "../../x", "..", ".", ".hidden", "/abs", "a/b", "a\\b", "C:x", "x\0", "x\n", "\x1b[31mx", "\u202ex", "\ud800",
    "x" * 300, "é" * 120,
)  # fmt: skip
HARMLESS = ("de", "con", "cluster_1", "zh-Hans", "a..b", "xquad.de", "हिन्दी", "=1+1", "<b>", "x" * 200)


class Words(DataArguments):
    """As NER has them."""

    list_columns = ("tokens", "ner_tags")


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., str]:
    """The message with which `load_tasks` refuses its arguments."""

    def call(**arguments: object) -> str:
        with pytest.raises(InputError) as caught:
            load_tasks(Words(**arguments), ["train"], cache_dir=str(tmp_path / "cache"))
        return str(caught.value)

    return call


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"^origin: the task name .* is unfit for a file name. Use at most") as caught:
        check_task_name(name, "origin")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["", " ", "\t"])
def test_a_name_is_not_empty(name: str) -> None:
    with pytest.raises(InputError, match="an empty task name"):
        check_task_name(name, "origin")


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_names_are_allowed(name: str) -> None:
    assert check_task_name(name, "origin") == name


@given(
    st.text(st.sampled_from("./\\:a \0~\u202e") | st.characters(), max_size=12) | st.text(min_size=60, max_size=300)
)
def test_what_is_allowed_stays_in_the_folder(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    try:
        check_task_name(name, "origin")
    except InputError:
        return
    folder = tmp_path_factory.getbasetemp() / "names"
    for path in (folder / name, folder / f"predict_nbest_predictions_{name}.json"):
        assert path.resolve().parent == folder.resolve()
        path.mkdir(parents=True)
        path.rmdir()


@pytest.mark.parametrize("name", ["scores.md", "all_results.json"])
def test_a_folder_of_stl_takes_the_place_of_no_file(tmp_path: Path, name: str) -> None:
    tasks = {"train": {name: tiny.task(1, 1)}}
    with pytest.raises(InputError, match=f"where a file could be called '{name}'; rename the task"):
        plan_runs(tiny.arguments(tmp_path, method="stl"), tasks, [name])
    assert plan_runs(tiny.arguments(tmp_path, method="mtl"), tasks, [name])


def test_wherever_they_come_from(tmp_path: Path, refused: Callable[..., str]) -> None:
    """An argument, a file's or folder's name, a column, the list of languages."""
    row = {"tokens": ["a"], "ner_tags": ["O"], "lang": "../../x"}
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(row))
    assert "--train_file: `..=" in (message := refused(train_file=[f"..={file}"])) and "unfit" in message
    message = refused(train_file=[str(file)], task_column="lang")
    assert f"{file}, row 1, column 'lang': the task name '../../x' is unfit" in message
    message = refused(train_file=[f"de={file}"], languages=["../../x"])
    assert "--languages: the task name '../../x' is unfit" in message
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("\x1b[31m.jsonl", "\u202e.jsonl"):
        (folder / name).write_text(json.dumps(row))
        message = refused(train_file=[str(folder)])
        assert "is unfit for a file name" in message and message.isprintable()
        (folder / name).unlink()
    (folder / "a\nb").mkdir()
    (folder / "a\nb" / "train.jsonl").write_text(json.dumps(row))
    assert "the task name 'a\\nb' is unfit" in refused(train_file=[str(folder)])
