"""`--num_clusters`: one language in clusters is trained on, and every language is evaluated."""

import json
import re
import shutil

import pytest
from safetensors.torch import load_file

from tests import scripts, tiny
from tests.scripts import SAMPLE_LANGUAGES, SAMPLES, SEQ_REPTILE, Place

ALL = ["--do_train", "--do_eval", "--do_predict"]
CLUSTERS = ["--languages", "de", "--num_clusters", "2"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return scripts.sample_place(tmp_path_factory.mktemp("zero-shot"), "run_xnli", "nli")


@pytest.fixture(scope="module")
def printed(place: Place) -> str:
    """What the command prints that trains on German in two clusters."""
    return train(place, "out", *SEQ_REPTILE, *ALL, "--save_steps", "8")


def train(place: Place, output: str, *arguments: str) -> str:
    """What a run prints."""
    return place.printed_by(*place.arguments(output, *CLUSTERS, *arguments))


def sizes(printed: str) -> list[int]:
    """N_t of each cluster, after checking that the plan draws them equally often."""
    rows = re.findall(r"^  (cluster_\d) +(\d+)  0\.5000", printed, re.M)
    assert [name for name, _ in rows] == ["cluster_1", "cluster_2"]
    return [int(size) for _, size in rows]


def test_clusters_are_the_tasks_and_drawn_equally_often(place: Place, printed: str) -> None:
    total = len((SAMPLES / "nli/de/train.jsonl").read_text(encoding="utf-8").splitlines())
    assert sum(sizes(printed)) == total == place.json("out", "train_results.json")["train_samples"]
    assert sizes(printed)[0] != sizes(printed)[1]  # so that q would matter
    report = {path.name for path in place.path("out", "clusters").iterdir()}
    assert report >= {"train.parquet", "clusters.json", "clusters.png", "clusters.md"}
    clusters = place.json("out", "clusters", "clusters.json")["clusters"]
    assert [cluster["size"] for cluster in clusters.values()] == sizes(printed)


def test_the_training_language_is_not_zero_shot(place: Place, printed: str) -> None:
    table = place.path("out", "scores.md").read_text(encoding="utf-8")
    header = " *".join(rf"\| +{each}" for each in [*SAMPLE_LANGUAGES, "avg"])
    assert len(re.findall(rf"\(%\) *{header}", table)) == 2
    assert "Zero-shot (no training examples): sw, tr." in table and "cluster" not in table
    results = place.json("out", "all_results.json")
    for stage in ("eval", "predict"):
        assert list(scripts.scores(results, stage, "accuracy", SAMPLE_LANGUAGES)) == [*SAMPLE_LANGUAGES, "avg"]
    card = place.card("out")
    assert card.data.language == ["de"] and "(de in 2 clusters)" in card.text


@pytest.mark.parametrize("method", ["mtl", "pcgrad"])
def test_baselines_take_every_cluster_once_a_step(place: Place, method: str) -> None:
    printed = train(place, method, "--method", method, "--do_train")
    sizes(printed)
    assert "40 drawn batches in 20 optimizer steps, 2 a step" in printed
    last = [entry for entry in place.json(method, "trainer_state.json")["log_history"] if "loss" in entry][-1]
    assert last["draws/cluster_1"] == last["draws/cluster_2"] == 20


def test_as_many_clusters_as_are_asked_for_are_drawn_for_a_step(place: Place) -> None:
    printed = train(place, "one-a-step", "--method", "mtl", "--tasks_per_step", "1", "--do_train")
    sizes(printed)
    assert "20 drawn batches in 20 optimizer steps, 1 a step" in printed


def test_reptile_has_a_trajectory_on_every_cluster(place: Place) -> None:
    printed = train(place, "reptile", "--method", "reptile", "--inner_steps", "3", "--do_train")
    assert "each of T = 2 trajectories of K = 3 inner steps" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--task_sampling_exponent", "0.5"],
            "--task_sampling_exponent has no effect with --num_clusters, whose clusters are drawn equally often; "
            "remove it.",
        ),
        (
            ["--languages", "de", "sw"],
            "--num_clusters splits one training task, but there are 2: de, sw. Name one with --languages.",
        ),
        (
            ["--method", "stl"],
            "--method stl trains a model for each task alone, which clusters are not for; use mtl.",
        ),
        (["--num_clusters", "1"], "--num_clusters is 1; it must be at least 2."),
        (
            ["--max_train_samples", "1"],
            "1 examples cannot make --num_clusters 2; take more examples.",
        ),
    ],
)
def test_what_clusters_do_not_go_with_is_refused(
    place: Place, arguments: list[str], message: str, capsys: pytest.CaptureFixture
) -> None:
    assert place.main(*place.arguments("refused", *CLUSTERS, "--do_train", *arguments)) == 2
    assert capsys.readouterr().err.partition("error: ")[2].strip() == message
    assert not place.path("refused", "model.safetensors").exists()


def test_a_run_continued_in_another_folder_has_the_same_clusters(place: Place, printed: str) -> None:
    shutil.copytree(place.path("out", "checkpoint-8"), place.path("continued", "checkpoint-8"))
    again = train(place, "continued", *SEQ_REPTILE, *ALL, "--save_steps", "8")
    assert "Continuing from" in again and sizes(again) == sizes(printed)
    weights = [load_file(place.path(output, "model.safetensors")) for output in ("out", "continued")]
    tiny.assert_equal(*weights)


def test_a_finished_run_again_does_not_cluster_again(place: Place, printed: str) -> None:
    shutil.copytree(place.path("out"), place.path("again"))
    assert "holds the clusters of these inputs already" in train(place, "again", *SEQ_REPTILE, *ALL)
    before, after = (place.files(output)["model.safetensors"] for output in ("out", "again"))
    assert before == after


def test_questions_of_a_file_in_clusters_and_the_sample_to_evaluate(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("qa")
    sample = scripts.sample_place(folder, "run_qa", "qa")
    data = ["--train_file", f"german={SAMPLES / 'qa/de/train.json'}", "--eval_dataset", "sample"]
    place = Place(folder, "run_qa", sample.model, [*data, "--eval_languages", *SAMPLE_LANGUAGES])
    arguments = place.arguments(
        "out", *SEQ_REPTILE, "--num_clusters", "2", "--do_train", "--do_eval", "--max_seq_length", "48",
        "--doc_stride", "16",
    )  # fmt: skip
    assert sum(sizes(place.printed_by(*arguments))) == 99  # questions, not windows
    assert place.json("out", "scores.json")["zero_shot"] == SAMPLE_LANGUAGES
    table = json.loads(place.path("out", "scores.json").read_text(encoding="utf-8"))["scores"]
    assert list(table["validation"]["seq_reptile"]) == [*SAMPLE_LANGUAGES, "avg"]
