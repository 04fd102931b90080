"""The recipes of the paper's tables, and `--dry_run`."""

import math
import os
import socket
import tempfile
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from hub_server import LocalHub, Rows, write_repository, write_script_repository, write_wikiann_repository

from hf_seqreptile import MultiTaskTrainingArguments
from hf_seqreptile.console.arguments import parse_arguments
from hf_seqreptile.methods import method_class
from hf_seqreptile.problems.image_arguments import ImageArguments, ImageModelArguments
from tests import scripts, tiny
from tests.scripts import ROOT, Place

RECIPES = {"tydiqa": "run_qa", "wikiann": "run_ner", "squad_mlqa": "run_qa", "mnli_xnli": "run_xnli"}
"""The script of each."""
STUDIES = ("intermediate", "intermediate_sample")
"""Of no table; tests/study has their tests."""
EXAMPLES = {"tydiqa": 49_881, "wikiann": 83_300, "squad_mlqa": 87_599, "mnli_xnli": 392_702}
"""ΣN_t of the published training data."""
MLQA = ["ar", "de", "es", "hi", "vi", "zh"]
TABLES = {
    "tydiqa": ["arabic", "bengali", "english", "finnish", "indonesian", "korean", "russian", "swahili", "telugu"],
    "wikiann": ["de", "en", "es", "hi", "jv", "kk", "mr", "my", "sw", "te", "tl", "yo"],
    "squad_mlqa": MLQA,
    "mnli_xnli": ["ar", "bg", "de", "el", "es", "fr", "hi", "ru", "sw", "th", "tr", "ur", "vi", "zh"],
}
"""The columns of the paper's Tables 1, 2, 4 and 5."""
WORDS = {*scripts.words_of_sample("qa", ["en", "de"]), "lives", "often", "yesterday"}


def path_of(recipe: str) -> str:
    return str(ROOT / "recipes" / f"{recipe}.yaml")


def values_of(recipe: str) -> dict[str, Any]:
    return yaml.safe_load(Path(path_of(recipe)).read_text(encoding="utf-8"))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty working folder, without a network."""

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError(f"the network was used: {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def dry_run(script: str, *arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What is printed, of which there is an end, by a command that does nothing else."""
    assert scripts.main(*arguments, "--dry_run", script=script) == 0
    assert not os.listdir()
    return capsys.readouterr().out


def test_every_table_has_its_recipe() -> None:
    assert {path.stem for path in (ROOT / "recipes").glob("*.yaml")} == {*RECIPES, "glue", "images", *STUDIES}


@pytest.mark.parametrize("method", ["mtl", "recadam", "reptile", "seq_reptile"])
def test_a_dry_run_of_glue(method: str, no_network: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Table 9, with the methods that it compares."""
    printed = dry_run("run_glue", path_of("glue"), "--method", method, capsys=capsys)
    assert f"Dry run ({method})" in printed and "bert-base-cased" in printed
    assert "cola, mnli, mrpc, qnli, qqp, rte, sst2, stsb" in printed
    assert "5 epochs of ⌈ΣN_t / 32⌉ batches" in printed and "2e-05, linear" in printed
    assert f"⌈949,098 / 32⌉ = {math.ceil(949_098 / 32):,}" in Path(path_of("glue")).read_text(encoding="utf-8")


@pytest.mark.parametrize("method", ["mtl", "reptile", "seq_reptile"])
def test_a_dry_run_of_images(method: str, no_network: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Table 10, with the methods that it compares: eight tasks, two of them halves of one dataset."""
    printed = dry_run("run_image_classification", path_of("images"), "--method", method, capsys=capsys)
    assert f"Dry run ({method})" in printed and "microsoft/resnet-18" in printed
    assert "TIN=zh-plus/tiny-imagenet" in printed and "5 epochs of ⌈ΣN_t / 32⌉ batches" in printed
    args = parse_arguments(
        (ImageModelArguments, ImageArguments, MultiTaskTrainingArguments), [path_of("images"), "--output_dir", "out"]
    )
    assert args[1].number_of_tasks == 8
    examples = 100_000 + 50_000 + 12_000 + 6_667 + 5_994 + 60_000 + 73_257
    named = f"⌈{examples:,} / 32⌉ = {math.ceil(examples / 32):,}"
    assert named in Path(path_of("images")).read_text(encoding="utf-8")


@pytest.mark.parametrize("method", tiny.methods("seq_reptile", "stl", "pcgrad"))
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_dry_run_of_every_recipe(
    recipe: str, method: str, no_network: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if method.startswith("torchjd"):
        pytest.importorskip("torchjd")
    arguments = [path_of(recipe), "--method", method]
    if method == "stl" and "num_clusters" in values_of(recipe):
        assert scripts.main(*arguments, "--dry_run", script=RECIPES[recipe]) == 2
        assert "which clusters are not for" in capsys.readouterr().err
        return
    printed = dry_run(RECIPES[recipe], *arguments, capsys=capsys)
    values = values_of(recipe)
    assert f"Dry run ({method})" in printed and "bert-base-multilingual-cased" in printed
    assert f"validation  {values.get('eval_dataset', values['dataset_name'])}" in printed
    assert f": {', '.join(TABLES[recipe])}\n" in printed
    assert f"{values['num_train_epochs']} epochs of ⌈ΣN_t / {values['per_device_train_batch_size']}⌉" in printed


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_papers_settings(recipe: str, no_network: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """K = 1000, η = 0.1 and α = 3e-5; eight drawn tasks with q = 1/5, or all four clusters, a step of a baseline."""
    clusters = "clusters" in Path(path_of(recipe)).read_text(encoding="utf-8")
    ours = dry_run(RECIPES[recipe], path_of(recipe), capsys=capsys)
    assert "inner_steps 1000, outer_learning_rate 0.1," in ours and "3e-05, linear" in ours
    assert f"M = 1 drawn task, a batch each, p_t {'= 1/4' if clusters else '∝ N_t^q, q = 0.2'}\n" in ours
    baseline = dry_run(RECIPES[recipe], path_of(recipe), "--method", "pcgrad", capsys=capsys)
    step = "a batch of every task" if clusters else "M = 8 drawn tasks, a batch each, p_t ∝ N_t^q, q = 0.2"
    assert f"a step      {step}\n" in baseline


@pytest.mark.parametrize("recipe", RECIPES)
def test_epochs_are_the_fewest_with_forty_thousand_gradient_computations(recipe: str) -> None:
    values = values_of(recipe)
    epoch = math.ceil(EXAMPLES[recipe] / values["per_device_train_batch_size"])
    assert values["num_train_epochs"] == math.ceil(40_000 / epoch)
    said = Path(path_of(recipe)).read_text(encoding="utf-8")
    steps = 4 if "num_clusters" in values else 8
    for number in (epoch, epoch * values["num_train_epochs"], math.ceil(epoch / steps) * values["num_train_epochs"]):
        assert f"{number:,}" in said


@pytest.mark.parametrize("method", tiny.methods("seq_reptile", "reptile", "mtl", "stl"))
def test_epochs_give_every_method_the_same_gradient_computations(method: str, tmp_path: Path) -> None:
    """Whatever M is: two epochs of ⌈(20 + 9) / 4⌉ batches."""
    if method.startswith("torchjd"):
        pytest.importorskip("torchjd")
    tasks = {"de": tiny.task(29, 1)} if method == "stl" else {"de": tiny.task(20, 1), "sw": tiny.task(9, 2)}
    several = {"tasks_per_step": 8} if method_class(method).default_tasks_per_step == 8 else {}
    trainer = tiny.train(tiny.trainer(tmp_path, tasks, method=method, max_steps=-1, num_train_epochs=2, **several))
    assert sum(trainer.draw_counts.values()) == 2 * 8


# What a dry run says and refuses.

NER = ["--model_name_or_path", "m", "--dataset_name", "d/d", "--do_train"]


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (
            ["--max_steps", "15000"],
            ["15,000 optimizer steps, 15,000 batches", "n = 15 of K = 1,000", "reach: η·S = 0.1 × 15,000 = 1,500"],
        ),
        (["--max_steps", "1000"], ["warning: the reach is small"]),
        (["--method", "mtl", "--max_steps", "100"], ["100 optimizer steps, 800 batches"]),
        (
            ["--method", "mtl", "--all_tasks_each_step", "--languages", "de", "en", "--max_steps", "100"],
            ["100 optimizer steps, 200 batches"],
        ),
        (
            ["--method", "reptile", "--languages", "de", "en", "--max_steps", "200"],
            ["n = 5, each of T = 2 trajectories of K = 20"],
        ),
        (["--method", "reptile", "--max_steps", "200"], ["200 optimizer steps, 200 batches"]),
        (["--gradient_accumulation_steps", "3"], ["B = 48 examples"]),
        (["--eval_languages", "sw", "--do_eval"], ["train       d/d: every task", "validation  d/d: sw"]),
        (["--method", "stl"], ["one batch of the model's task", "for each task's model"]),
        (
            ["--num_clusters", "3", "--languages", "en"],
            ["d/d: en in 3 clusters", "p_t = 1/3"],
        ),
        (["--do_train", "False", "--do_predict", "--eval_dataset", "e/e"], ["test    e/e: every task that it names"]),
    ],
)
def test_what_a_dry_run_says(
    arguments: list[str], lines: list[str], no_network: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = dry_run("run_ner", *NER, *arguments, capsys=capsys)
    assert [line for line in lines if line not in printed] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "mtl", "--inner_steps", "30"], "--inner_steps is a setting of --method seq_reptile and reptile"),
        (["--method", "mlt"], "--method mlt is unknown. Did you mean mtl?"),
        (["--method", "torchjd:Nothing"], "--method torchjd:Nothing is unknown"),
        (["--outer_learning_rate", "2"], "--outer_learning_rate (η) is 2.0"),
        (["--max_steps", "999"], "only 999 inner steps are planned"),
        (
            ["--method", "reptile", "--max_steps", "59", "--languages", "de", "en", "sw"],
            "--inner_steps (K) is 20, 3 times in an outer update, but only 59 inner steps are planned",
        ),
        (["--do_train", "False"], "Nothing to do"),
        (["--train_file", "de=x"], "--dataset_name and --train_file exclude each other"),
        (["--languages", "de", "de"], "--languages: 'de' occurs twice"),
        (["--max_train_samples", "few"], "--max_train_samples: `few` is not a number of examples"),
        (["--trim_vocabulary"], "--trim_vocabulary works with --model_name_or_path offline-multilingual only"),
        (["--num_clusters", "2", "--languages", "de", "en"], "but there are 2: de, en. Name one"),
        (["--num_clusters", "1"], "--num_clusters is 1; it must be at least 2"),
    ],
)
def test_what_the_arguments_alone_tell_is_refused(
    arguments: list[str], message: str, no_network: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "torchjd" in " ".join(arguments):
        pytest.importorskip("torchjd")
    assert scripts.main(*NER, *arguments, "--dry_run") == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        ("run_ner", ["--model_name_or_path", "m", "--do_train"], "No data. Give --dataset_name"),
        ("run_ner", ["--dataset_name", "sample", "--do_train"], "--model_name_or_path is missing"),
        ("run_qa", [*NER, "--n_best_size", "0"], "--n_best_size 0 must be at least 1"),
    ],
)
def test_what_is_missing_or_senseless_is_refused(
    script: str, arguments: list[str], message: str, no_network: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scripts.main(*arguments, "--dry_run", script=script) == 2
    assert message in capsys.readouterr().err


# Real runs of the recipes, on data of the same form.


@pytest.mark.slow
def test_a_dry_run_asks_a_hub_for_nothing(tmp_path: Path) -> None:
    place = Place(tmp_path, "run_qa", "org/none", [])
    with LocalHub(tmp_path / "served") as hub:
        process = place.run(path_of("squad_mlqa"), "--dry_run", **hub.environment(tmp_path / "home"))
    assert process.returncode == 0, process.stderr
    assert "Dry run (seq_reptile)" in process.stdout and not hub.requests


def question(task: str, number: int) -> dict[str, Any]:
    """With an id in TyDiQA's form; no two are equal."""
    person, place = list(product(scripts.PEOPLE, scripts.PLACES))[number % 16]
    return {
        "id": f"{task}-{number}-0",
        "context": f"{person} lives in {place}" + " often" * (number // 16),
        "question": "Where?",
        "answers": {"text": [place], "answer_start": [len(person) + len(" lives in ")]},
    }


def pair(task: str, number: int) -> dict[str, Any]:
    """Of texts, with the number of a label."""
    premise = question(task, number)["context"]
    return {"premise": premise, "hypothesis": f"{premise} yesterday {task}", "label": number % 3}


def rows(make: Callable[[str, int], dict[str, Any]], task: str, split: str) -> Rows:
    """Rows of a split; those of another split are others."""
    first, number = {"train": (0, 16), "validation": (20, 2), "test": (30, 2)}[split]
    return [make(task, i) for i in range(first, first + number)]


def serve(root: Path) -> None:
    """Write the datasets of all recipes, with few rows, as the Hub has them: configurations, splits and columns."""
    evaluation = ("validation", "test")
    of_tydiqa = {
        split: [row for task in TABLES["tydiqa"] for row in rows(question, task, split)]
        for split in ("train", "validation")
    }
    other = {"train": rows(question, "other", "train")}
    write_repository(root, "google-research-datasets/tydiqa", {"primary_task": other, "secondary_task": of_tydiqa})
    write_wikiann_repository(
        root,
        {
            task: {
                split: [([*words, task], [*tags, "O"]) for words, tags in scripts.sentences("de", split)]
                for split in ("train", *evaluation)
            }
            for task in TABLES["wikiann"]
        },
    )
    write_repository(root, "rajpurkar/squad", {"plain_text": {"train": rows(question, "en", "train")}})
    write_script_repository(
        root,
        "facebook/mlqa",
        {f"mlqa.{task}.{task}": {split: rows(question, task, split) for split in evaluation} for task in MLQA},
    )
    splits = {"train": rows(pair, "en", "train"), "validation_matched": rows(pair, "en", "validation")}
    write_repository(root, "nyu-mll/multi_nli", {"default": splits})
    of_xnli = {task: {split: rows(pair, task, split) for split in evaluation} for task in TABLES["mnli_xnli"]}
    write_repository(root, "facebook/xnli", {"all_languages": {"train": rows(pair, "all", "train")}, **of_xnli})


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a hub's datasets and a model."""
    folder = tmp_path_factory.mktemp("recipes")
    scripts.write_model(folder / "model", words=WORDS)
    serve(folder / "served")
    return folder


def run_on_hub(folder: Path, script: str, *arguments: str) -> dict[str, dict[str, dict[str, float]]]:
    """The scores of a run on the hub's datasets, by split and row."""
    place = Place(folder, script, str(folder / "model"), [])
    windows = ["--max_seq_length", "24", "--doc_stride", "8"] if script == "run_qa" else []
    output = tempfile.mkdtemp(dir=folder)
    common = ["--use_cpu", "--model_name_or_path", place.model, "--output_dir", output]
    with LocalHub(folder / "served") as hub:
        process = place.run(*arguments, *windows, *common, **hub.environment(folder / "home"))
    assert process.returncode == 0, process.stderr
    return place.json(output, "scores.json")["scores"]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_runs_on_the_hubs_datasets(recipe: str, served: Path) -> None:
    """The scores are those of the table's columns."""
    scores = run_on_hub(served, RECIPES[recipe], path_of(recipe), "--max_steps", "4", "--inner_steps", "2")
    for of_split in scores.values():
        assert list(of_split["seq_reptile"]) == [*TABLES[recipe], "avg"]


@pytest.mark.slow
def test_table_3_evaluates_a_model_on_mlqa(served: Path) -> None:
    unseen = ["de", "es", "hi", "vi", "zh"]
    table_3 = ["--dataset_name", "facebook/mlqa", "--eval_languages", *unseen, "--do_predict"]
    assert list(run_on_hub(served, "run_qa", *table_3)["test"]["model"]) == [*unseen, "avg"]
