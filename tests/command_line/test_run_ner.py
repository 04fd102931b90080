"""`run_ner.py` from end to end: what a user gets, in real processes where these are the point."""

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hub_server import WIKIANN_ID, LocalHub, write_wikiann_repository
from safetensors.torch import load_file
from transformers import AutoModelForTokenClassification, AutoTokenizer

from tests import scripts, tiny
from tests.scripts import LANGUAGES, SEQ_REPTILE, TRAINED, Workplace, main

ALL = ["--do_train", "--do_eval", "--do_predict"]
SECRET = "hf_verysecret"


@dataclass
class Run:
    """A finished process."""

    arguments: list[str]
    stdout: str
    requests: list[tuple[str, str]]
    """What it asked of the Hub."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("ner"))


@pytest.fixture(scope="module")
def run(place: Workplace) -> Run:
    """The command on local files and a local model, in sight of a hub."""
    arguments = place.arguments(
        "out", *SEQ_REPTILE, *ALL, "--eval_on_start", "--eval_strategy", "steps", "--eval_steps", "8",
        "--save_steps", "8", "--load_best_model_at_end", "--metric_for_best_model", "f1", "--token", SECRET,
        "--hub_token", SECRET,
    )  # fmt: skip
    with LocalHub(place.path("served")) as hub:
        process = place.run(*arguments, **hub.environment(place.path("home")))
    assert process.returncode == 0, process.stderr
    return Run(arguments, process.stdout, hub.requests)


def test_all_files_are_written(place: Workplace, run: Run) -> None:
    predictions = {f"predictions_{language}.txt" for language in LANGUAGES}
    checkpoints = {f"checkpoint-{step}" for step in (8, 16, 20)}
    assert {path.name for path in place.path("out").iterdir()} == scripts.FILES | predictions | checkpoints
    for language in LANGUAGES:
        lines = place.path("out", f"predictions_{language}.txt").read_text(encoding="utf-8").splitlines()
        expected = [len(words) for words, _ in scripts.sentences(language, "test")]  # in the order of the data
        assert [len(line.split()) for line in lines] == expected
        assert {tag for line in lines for tag in line.split()} <= set(scripts.LABELS)


def test_metrics_of_every_language_and_their_average(place: Workplace, run: Run) -> None:
    everything = place.json("out", "all_results.json")
    for prefix, samples in (("predict", 20), ("eval", 16)):
        results = place.json("out", f"{prefix}_results.json")
        f1 = scripts.scores(results, prefix)
        average = f1.pop("avg")
        assert list(f1) == LANGUAGES
        assert results[f"{prefix}_f1"] == average == pytest.approx(sum(f1.values()) / 4)
        assert average > 0.5  # it has learnt something
        assert results[f"{prefix}_samples"] == samples
        for name in ("loss", "precision", "recall", "accuracy"):
            assert f"{prefix}_sw_{name}" in results and f"{prefix}_avg_{name}" in results
        assert results.items() <= everything.items()
    trained = place.json("out", "train_results.json")
    assert trained["train_samples"] == 24 + 16 + 7
    assert trained.items() <= everything.items()
    state = place.json("out", "trainer_state.json")
    assert state["global_step"] == 20 and state["best_model_checkpoint"] == f"checkpoint-{state['best_global_step']}"
    assert state["best_metric"] == results["eval_f1"]


def test_the_table_of_scores(place: Workplace, run: Run) -> None:
    text = place.path("out", "scores.md").read_text(encoding="utf-8")
    assert text.strip() in run.stdout
    assert re.search(r"\| before training +(\| +[\d.]+ ){5}\|", text)
    assert len(re.findall(r"\| seq_reptile +(\| +[\d.]+ ){5}\|", text)) == 2
    assert "Zero-shot (no training examples): nl." in text
    saved = place.json("out", "scores.json")
    assert saved["zero_shot"] == ["nl"]
    f1 = scripts.scores(place.json("out", "predict_results.json"), "predict")
    assert saved["scores"]["test"] == {"seq_reptile": pytest.approx(f1)}
    assert str(place.path("out")) in run.stdout.splitlines()[-1]


def test_the_plan_is_printed(run: Run) -> None:
    assert "Plan (seq_reptile): 20 drawn batches" in run.stdout
    assert "outer updates: n = 4 of K = 6 inner steps each" in run.stdout
    assert "reach: η·S = 0.8 × 20 = 16" in run.stdout


def test_nothing_is_fetched_for_a_local_model_and_local_data(run: Run) -> None:
    """Law 10; the process imports all of this package, too."""
    assert run.requests == []


def test_no_file_holds_a_path_of_this_machine_or_a_token(place: Workplace, run: Run) -> None:
    """Nor a pickle of ours: law 9."""
    files = place.files("out")
    assert [name for name, content in files.items() if SECRET.encode() in content] == []
    with_path = {name for name, content in files.items() if str(place.folder).encode() in content}
    # The stock trainer needs it there to find the best checkpoint again.
    assert with_path <= {f"checkpoint-{step}/trainer_state.json" for step in (8, 16, 20)}
    assert [name for name in files if name.endswith((".bin", ".pkl"))] == []


def test_the_folder_serves_where_this_package_is_not_installed(place: Workplace, run: Run) -> None:
    """Law 8: in a pipeline, and by the code that its card shows."""
    code = """
import json, re
from transformers import pipeline

tagger = pipeline("token-classification", model="out", ignore_labels=[])
for text in json.loads(sys.argv[1]):
    starts = {match.start() for match in re.finditer(r"\\S+", text)}
    print(" ".join(piece["entity"] for piece in tagger(text) if piece["start"] in starts))
"""
    texts = [" ".join(words) for words, _ in scripts.sentences("sw", "test")]
    *tags, entities = place.run_without_package(code + place.usage("out"), json.dumps(texts)).splitlines()
    assert tags == place.path("out", "predictions_sw.txt").read_text(encoding="utf-8").splitlines()
    assert entities.startswith("[")


def test_words_without_tags_are_predicted(place: Workplace, run: Run) -> None:
    """By a finished model, as with tags, and not scored."""
    lines = [words for words, _ in scripts.sentences("sw", "test")]
    text = scripts.write(place.path("words.txt"), "".join("\n".join(words) + "\n\n" for words in lines))
    rows = scripts.write(place.path("words.jsonl"), "".join(json.dumps({"tokens": words}) + "\n" for words in lines))
    folder = str(place.path("untagged"))
    own = ["--model_name_or_path", str(place.path("out")), "--output_dir", folder, "--report_to", "none"]
    assert main(*own, "--test_file", f"a={text}", f"b={rows}", "--do_predict") == 0
    wanted = place.path("out", "predictions_sw.txt").read_text(encoding="utf-8")
    assert [place.path("untagged", f"predictions_{name}.txt").read_text(encoding="utf-8") for name in "ab"] == [
        wanted
    ] * 2
    assert not [name for name in place.json("untagged", "predict_results.json") if "f1" in name or "loss" in name]


def test_a_finished_command_run_again_trains_nothing(
    place: Workplace, run: Run, capsys: pytest.CaptureFixture
) -> None:
    shutil.copytree(place.path("out"), place.path("again"))
    before = place.files("again")
    assert main(*run.arguments, "--output_dir", str(place.path("again"))) == 0
    assert "Continuing from" in capsys.readouterr().out
    after = place.files("again")
    weights = [name for name in before if name.endswith(".safetensors")]
    assert len(weights) > 3 and {name: after[name] for name in weights} == {name: before[name] for name in weights}
    assert after.keys() == before.keys()
    for name in ("scores.json", "predictions_nl.txt", "config.json", "training_args.json"):
        assert after[name] == before[name]
    states = [json.loads(files["trainer_state.json"]) for files in (before, after)]
    assert states[0]["global_step"] == states[1]["global_step"]
    assert len(states[1]["log_history"]) - len(states[0]["log_history"]) <= 2  # evaluations, and no losses


def test_one_language_has_the_file_names_of_hugging_faces_script(place: Workplace) -> None:
    arguments = place.arguments("one", *SEQ_REPTILE, *ALL, "--languages", "sw", "--eval_languages", "sw")
    assert main(*arguments) == 0
    assert place.path("one", "predictions.txt").is_file()
    assert not list(place.path("one").glob("predictions_*"))
    results = place.json("one", "eval_results.json")
    assert results["eval_f1"] == results["eval_sw_f1"] == results["eval_avg_f1"]
    assert results["eval_samples"] == 4
    assert "predict_f1" in place.json("one", "predict_results.json")


@pytest.fixture(scope="module")
def trained(place: Workplace, run: Run) -> str:
    return str(place.path("out"))


def test_evaluation_alone_uses_the_models_own_labels(place: Workplace, trained: str) -> None:
    """Whatever their order in the model, and with data that has fewer: only English has organisations."""
    order = ["I-PER", "B-PER", "O", "B-ORG", "I-ORG", "I-LOC", "B-LOC"]
    model = AutoModelForTokenClassification.from_pretrained(trained)
    old = [model.config.label2id[label] for label in order]
    with torch.no_grad():
        model.classifier.weight.copy_(model.classifier.weight[old].clone())
        model.classifier.bias.copy_(model.classifier.bias[old].clone())
    model.config.id2label, model.config.label2id = dict(enumerate(order)), {label: i for i, label in enumerate(order)}
    model.save_pretrained(place.path("reordered"))
    AutoTokenizer.from_pretrained(trained).save_pretrained(place.path("reordered"))
    expected = scripts.scores(place.json("out", "eval_results.json"), "eval")
    for name, languages in (("all", LANGUAGES), ("some", ["sw", "nl"])):
        output = f"evaluated-{name}"
        arguments = place.arguments(output, "--do_eval", "--eval_languages", *languages)
        assert main(*arguments, "--model_name_or_path", str(place.path("reordered"))) == 0
        found = scripts.scores(place.json(output, "eval_results.json"), "eval")
        assert {task: found[task] for task in languages} == {task: expected[task] for task in languages}
        files = {path.name for path in place.path(output).iterdir()}
        assert files == {"eval_results.json", "all_results.json", "scores.md", "scores.json"}
        assert list(place.json(output, "scores.json")["scores"]["validation"]) == ["model"]


def test_arguments_from_a_file_which_the_command_line_overrides(place: Workplace) -> None:
    values = {
        "method": "seq_reptile", "model_name_or_path": place.model, "train_file": place.data["train"],
        "validation_file": place.data["validation"], "languages": ["sw", "de"], "eval_languages": ["sw", "nl"],
        "do_train": True, "do_eval": True, "max_steps": 20, "inner_steps": 5, "per_device_train_batch_size": 4,
        "cache_dir": str(place.path("cache")), "output_dir": str(place.path("elsewhere")), "use_cpu": True,
    }  # fmt: skip
    for name in ("config.yaml", "config.json"):  # all JSON is YAML
        file = scripts.write(place.path(name), json.dumps(values))
        assert main(file, "--output_dir", str(place.path(name[7:])), "--inner_steps", "4") == 0
        saved = place.json(name[7:], "training_args.json")
        assert saved["max_steps"] == 20 and saved["inner_steps"] == 4
        assert set(scripts.scores(place.json(name[7:], "eval_results.json"), "eval")) == {"sw", "nl", "avg"}
    assert not place.path("elsewhere").exists()


def test_mtl(place: Workplace) -> None:
    assert main(*place.arguments("mtl", "--method", "mtl", "--tasks_per_step", "3", *ALL)) == 0
    assert place.json("mtl", "training_args.json")["method"] == "mtl"
    assert set(place.json("mtl", "scores.json")["scores"]["test"]) == {"mtl"}
    last = [entry for entry in place.json("mtl", "trainer_state.json")["log_history"] if "loss" in entry][-1]
    assert 50 <= sum(last[f"draws/{language}"] for language in TRAINED) <= 60


def test_stl_trains_a_model_for_each_language_and_gathers_their_scores(place: Workplace) -> None:
    assert main(*place.arguments("stl", "--method", "stl", *ALL, "--eval_languages", *TRAINED)) == 0
    for language in TRAINED:
        assert {path.name for path in place.path("stl", language).iterdir()} >= scripts.FILES | {"predictions.txt"}
        own = place.json("stl", language, "eval_results.json")
        assert own["eval_f1"] == own[f"eval_{language}_f1"]
    gathered = place.json("stl", "eval_results.json")
    f1 = {language: place.json("stl", language, "eval_results.json")["eval_f1"] for language in TRAINED}
    assert scripts.scores(gathered, "eval") == {**f1, "avg": pytest.approx(sum(f1.values()) / 3)}
    assert set(place.json("stl", "scores.json")["scores"]["test"]["stl"]) == {*TRAINED, "avg"}
    assert "| stl " in place.path("stl", "scores.md").read_text(encoding="utf-8")
    weights = [load_file(place.path("stl", language, "model.safetensors")) for language in TRAINED]
    assert tiny.largest_difference(weights[0], weights[1]) > 0


def test_limits_and_lengths(place: Workplace) -> None:
    arguments = place.arguments(
        "limited", *SEQ_REPTILE, *ALL, "--max_train_samples", "5", "de=9", "--max_eval_samples", "2",
        "--max_predict_samples", "sw=1", "--max_seq_length", "7", "--pad_to_max_length", "--label_all_tokens",
        "--return_entity_level_metrics", "--preprocessing_num_workers", "2", "--overwrite_cache",
        "--remove_unused_columns", "False",
    )  # fmt: skip
    assert main(*arguments) == 0
    assert place.json("limited", "train_results.json")["train_samples"] == 9 + 5 + 5
    results = place.json("limited", "all_results.json")
    assert results["eval_samples"] == 4 * 2 and results["predict_samples"] == 5 + 5 + 1 + 5
    assert "eval_de_PER_f1" in results and results["eval_sw_LOC_number"] == 1
    lines = place.path("limited", "predictions_en.txt").read_text(encoding="utf-8").splitlines()
    # Also for words behind the cut.
    assert [len(line.split()) for line in lines] == [len(words) for words, _ in scripts.sentences("en", "test")]


def hub(place: Workplace) -> LocalHub:
    """A hub with a model and WikiANN's layout."""
    root = place.path("served")
    shutil.copytree(place.model, root / "models/org/tiny")
    data = {
        language: {split: scripts.sentences(language, split) for split in ("train", "validation", "test")}
        for language in LANGUAGES
    }
    write_wikiann_repository(root, data)
    return LocalHub(root)


@pytest.mark.slow
def test_model_and_data_of_the_hub_and_then_offline_from_the_cache(place: Workplace) -> None:
    def arguments(output: str) -> list[str]:
        return [
            "--model_name_or_path", "org/tiny", "--dataset_name", WIKIANN_ID, "--languages", "de", "sw",
            "--eval_languages", "sw", "nl", *scripts.TRAINING, *SEQ_REPTILE, *ALL, "--output_dir", output,
        ]  # fmt: skip

    with hub(place) as server:
        environment = server.environment(place.path("hub-home"))
        online = place.run(*arguments("online"), **environment)
        assert online.returncode == 0, online.stderr
    wanted = {"de", "sw", "nl"}
    assert {name.split("/")[3] for name in server.downloads() if name.endswith(".parquet")} == wanted
    assert "models/org/tiny/model.safetensors" in server.downloads()
    # The server is stopped now.
    requests = len(server.requests)
    offline = place.run(*arguments("offline"), **environment | {"HF_HUB_OFFLINE": "1"})
    assert offline.returncode == 0, offline.stderr
    assert len(server.requests) == requests
    assert place.files("offline")["model.safetensors"] == place.files("online")["model.safetensors"]
    assert place.json("online", "scores.json")["zero_shot"] == ["nl"]
    card = place.path("online", "README.md").read_text(encoding="utf-8")
    assert "base_model: org/tiny" in card and f"- {WIKIANN_ID}" in card


# Killed and continued (law 4).


def test_a_killed_run_ends_where_the_uninterrupted_one_ends(place: Workplace) -> None:
    """Once, as a user would do it; tests/faults/ has all methods and the moments that are hard to hit."""
    arguments = place.arguments(
        "whole", *SEQ_REPTILE, "--do_train", "--do_eval", "--max_steps", "90", "--save_steps", "3",
        "--save_total_limit", "3", "--eval_strategy", "steps", "--eval_steps", "40",
    )  # fmt: skip
    assert main(*arguments) == 0
    place.kill_and_continue(arguments, "killed")
    place.assert_same_end("killed", "whole")


# Two processes (laws 4 and 5).


MTL = ["--method", "mtl", "--tasks_per_step", "2"]
GRADVAC = ["--method", "gradvac", "--tasks_per_step", "2"]
GRADNORM = ["--method", "gradnorm", "--tasks_per_step", "2"]
RECADAM = ["--method", "recadam", "--tasks_per_step", "2", "--recadam_t0", "9", "--recadam_gamma", "50"]


@pytest.mark.slow
@pytest.mark.parametrize("method", [SEQ_REPTILE, MTL, GRADVAC, GRADNORM, RECADAM], ids=lambda method: method[1])
def test_two_processes(place: Workplace, tmp_path: Path, method: list[str]) -> None:
    """At half the batch they end where one ends, and continued they end where they would have ended."""
    model = scripts.write_model(tmp_path / "model", dropout=0)
    method = [*method, "--learning_rate", "1e-3", "--save_steps", "7"]
    one, two = (f"{number}-{method[1]}" for number in ("one", "two"))
    assert main(*place.arguments(one, *method, *ALL, model=model)) == 0
    arguments = place.arguments(two, *method, *ALL, "--per_device_train_batch_size", "2", model=model)
    process = place.run_two_processes(*arguments)
    assert process.returncode == 0, process.stderr
    assert process.stdout.count("Plan (") == process.stdout.count("# Scores") == 1
    difference = tiny.largest_difference(*(load_file(place.path(out, "model.safetensors")) for out in (one, two)))
    assert difference < 1e-5
    assert {name for name in place.files(two) if "/" not in name} == {
        name for name in place.files(one) if "/" not in name
    }
    f1 = [scripts.scores(place.json(out, "all_results.json"), "predict") for out in (one, two)]
    assert f1[0] == pytest.approx(f1[1])

    shutil.copytree(place.path(two, "checkpoint-7"), place.path("resumed", two, "checkpoint-7"))
    process = place.run_two_processes(*arguments, "--output_dir", str(place.path("resumed", two)))
    assert process.returncode == 0 and "Continuing from" in process.stdout, process.stderr
    assert place.files(f"resumed/{two}")["model.safetensors"] == place.files(two)["model.safetensors"]


@pytest.mark.slow
def test_bad_input_ends_both_processes(place: Workplace) -> None:
    process = place.run_two_processes(*place.arguments("bad", *SEQ_REPTILE, "--do_train", "--inner_steps", "21"))
    assert process.returncode != 0
    assert "--inner_steps (K) is 21, but only 20 inner steps are planned" in process.stderr
