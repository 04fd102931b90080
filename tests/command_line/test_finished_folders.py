"""What a finished folder holds stays, whatever command is run into it afterwards."""

import shutil
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from hf_seqreptile.command_line.finished_run import merged
from tests.scripts import Workplace

LANGUAGES = ["--languages", "de", "sw", "--eval_languages", "de", "nl"]
TRAIN = ["--method", "mtl", "--tasks_per_step", "2", *LANGUAGES, "--do_train"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    place = Workplace(tmp_path_factory.mktemp("finished"))
    arguments = place.arguments("out", *TRAIN, "--do_eval", "--eval_on_start", "--eval_strategy", "epoch")
    assert place.main(*arguments) == 0
    return place


@pytest.fixture
def out(place: Workplace, tmp_path: Path) -> str:
    """A copy of the finished folder."""
    return str(shutil.copytree(place.path("out"), tmp_path / "out"))


def rows(place: Workplace, folder: str) -> dict[str, list[str]]:
    return {split: list(table) for split, table in place.json(folder, "scores.json")["scores"].items()}


def test_a_split_that_is_predicted_later_joins_the_scores(place: Workplace, out: str) -> None:
    before = place.json(out, "scores.json")
    assert place.main(*place.arguments(out, *LANGUAGES, "--do_predict", model=out)) == 0
    after = place.json(out, "scores.json")
    assert rows(place, out) == {"validation": ["before training", "mtl"], "test": ["mtl"]}
    assert after["scores"]["validation"] == before["scores"]["validation"]
    assert after["zero_shot"] == before["zero_shot"] == ["nl"]
    results = place.json(out, "predict_results.json")
    assert after["scores"]["test"]["mtl"]["avg"] == pytest.approx(results["predict_avg_f1"])


def test_a_language_that_is_evaluated_later_joins_its_table(place: Workplace, out: str) -> None:
    before = place.json(out, "scores.json")["scores"]["validation"]
    assert place.main(*place.arguments(out, "--eval_languages", "sw", "--do_eval", model=out)) == 0
    after = place.json(out, "scores.json")
    swahili = place.json(out, "eval_results.json")["eval_sw_f1"]
    scores = {task: score for task, score in before["mtl"].items() if task != "avg"} | {"sw": swahili}
    assert after["scores"]["validation"]["mtl"] == scores | {"avg": pytest.approx(sum(scores.values()) / 3)}
    assert "avg" not in after["scores"]["validation"]["before training"]
    assert after["zero_shot"] == ["nl"]


def test_training_again_without_evaluation_changes_nothing(place: Workplace, out: str) -> None:
    before = place.files(out)
    assert "Continuing from" in place.printed_by(*place.arguments(out, *TRAIN))
    after = place.files(out)
    assert after.pop("training.png") and before.pop("training.png")
    assert after == before


def test_training_again_with_another_split_adds_it_to_the_card(place: Workplace, out: str) -> None:
    before = place.json(out, "train_results.json")
    assert place.main(*place.arguments(out, *TRAIN, "--do_predict")) == 0
    assert rows(place, out) == {"validation": ["before training", "mtl"], "test": ["mtl"]}
    card = ModelCard.load(place.path(out, "README.md"))
    assert {result.dataset_split for result in card.data.eval_results} == {"validation", "test"}
    assert place.json(out, "train_results.json") == before


def test_another_model_is_not_evaluated_into_it(place: Workplace, out: str, capsys: pytest.CaptureFixture) -> None:
    before = place.files(out)
    assert place.main(*place.arguments(out, *LANGUAGES, "--do_predict")) == 2
    error = capsys.readouterr().err
    assert f"--output_dir {out} holds the results of a finished run" in error and "Traceback" not in error
    assert place.files(out) == before


def test_the_scores_of_stl_stay_in_the_folder_above_its_models(place: Workplace) -> None:
    arguments = place.arguments("stl", "--method", "stl", "--languages", "de", "sw", "--do_train")
    assert place.main(*arguments, "--do_eval") == 0
    before = place.json("stl", "scores.json")
    assert place.main(*arguments) == 0
    assert place.json("stl", "scores.json") == before and before["scores"]["validation"]["stl"].keys() == {
        "de", "sw", "avg",
    }  # fmt: skip


def test_tables_are_merged_task_by_task() -> None:
    start, earlier = {"de": 0.1, "avg": 0.1}, {"de": 0.5, "sw": 0.7, "avg": 0.6}
    one = {"test": {"mtl": earlier}, "validation": {"before training": start}}
    two = {"test": {"mtl": {"sw": 0.9, "avg": 0.9}}, "validation": {"mtl": {"de": 0.5}}}
    assert merged([one, two]) == {
        "validation": {"before training": start, "mtl": {"de": 0.5}},  # which had no average
        "test": {"mtl": {"de": 0.5, "sw": 0.9, "avg": pytest.approx(0.7)}},
    }
    assert merged([]) == {}
