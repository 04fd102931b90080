"""`run_xnli.py` from end to end: what a user gets, in real processes where these are the point."""

import json
import re
from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset
from safetensors.torch import load_file

from tests import scripts, tiny
from tests.scripts import SAMPLE_LANGUAGES, SAMPLES, SEQ_REPTILE, Place, write

ALL = ["--do_train", "--do_eval", "--do_predict"]
LABELS = ["entailment", "neutral", "contradiction"]


def pairs(language: str, split: str) -> list[dict[str, str]]:
    """The sample's rows with `premise`, `hypothesis` and `label`."""
    lines = (SAMPLES / "nli" / language / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def write_rows(path: Path, rows: list[dict]) -> str:
    return write(path, "".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return scripts.sample_place(tmp_path_factory.mktemp("xnli"), "run_xnli", "nli")


@pytest.fixture(scope="module")
def printed(place: Place) -> str:
    """What the command prints that trains on two languages and evaluates on these and a third."""
    arguments = place.arguments("out", *SEQ_REPTILE, *ALL, "--eval_on_start", "--max_steps", "60")
    return place.printed_by(*arguments)


@pytest.fixture(scope="module")
def trained(place: Place, printed: str) -> str:
    return str(place.path("out"))


def test_all_files_are_written(place: Place, printed: str) -> None:
    predictions = {f"predictions_{language}.txt" for language in SAMPLE_LANGUAGES}
    assert {path.name for path in place.path("out").iterdir()} == scripts.FILES | predictions | {"checkpoint-60"}


def test_accuracy_of_every_language_and_its_average(place: Place, printed: str) -> None:
    results = place.json("out", "all_results.json")
    accuracies = {}
    for language in SAMPLE_LANGUAGES:
        predicted = scripts.read_predictions(place.path("out", f"predictions_{language}.txt"))
        true = [row["label"] for row in pairs(language, "test")]
        accuracies[language] = sum(map(str.__eq__, predicted, true)) / len(true)
        assert set(predicted) <= set(LABELS)
        assert f"eval_{language}_accuracy" in results and f"eval_{language}_loss" in results
    accuracies["avg"] = results["predict_accuracy"]
    assert accuracies["avg"] == pytest.approx(sum(accuracies[each] for each in SAMPLE_LANGUAGES) / 3)
    assert scripts.scores(results, "predict", "accuracy", SAMPLE_LANGUAGES) == pytest.approx(accuracies)
    assert place.json("out", "scores.json")["scores"]["test"]["seq_reptile"] == pytest.approx(accuracies)
    cells = " *".join(rf"\| +{100 * value:.1f}" for value in accuracies.values())
    assert re.search(rf"## test.*\| seq_reptile +{cells}", printed, re.DOTALL)
    assert "Zero-shot (no training examples): tr." in printed
    assert results["train_samples"] == len(pairs("de", "train")) + len(pairs("sw", "train"))
    assert results["predict_samples"] == sum(len(pairs(each, "test")) for each in SAMPLE_LANGUAGES)


@pytest.mark.slow
def test_the_folder_serves_where_this_package_is_not_installed(place: Place, printed: str) -> None:
    """In a pipeline, and by the code that its card shows."""
    assert place.card("out").data.pipeline_tag == "text-classification"
    code = """
import json
from transformers import pipeline

for found in pipeline("text-classification", model="out")(json.loads(sys.argv[1])):
    print(found["label"])
"""
    rows = [{"text": row["premise"], "text_pair": row["hypothesis"]} for row in pairs("tr", "test")]
    *labels, shown = place.run_without_package(code + place.usage("out"), json.dumps(rows)).splitlines()
    assert labels == scripts.read_predictions(place.path("out", "predictions_tr.txt"))
    assert any(label in shown for label in LABELS)


@pytest.mark.parametrize("given", [["--language", "tr", "--train_language", "de"], ["--language", "de"]])
def test_the_languages_of_hugging_faces_script(place: Place, given: list[str]) -> None:
    """`--train_language` is what is trained on, and `--language` what is evaluated, and trained on without it."""
    output = "-".join(given)
    data = ["--dataset_name", "sample", *given]
    own = Place(place.folder, "run_xnli", place.model, data)
    assert own.main(*own.arguments(output, *SEQ_REPTILE, *ALL)) == 0
    results = place.json(output, "all_results.json")
    assert results["train_samples"] == len(pairs("de", "train"))
    assert results["eval_accuracy"] == results[f"eval_{given[1]}_accuracy"] == results["eval_avg_accuracy"]
    assert len(scripts.read_predictions(place.path(output, "predictions.txt"))) == len(pairs(given[1], "test"))
    assert place.json(output, "scores.json")["zero_shot"] == (["tr"] if given[1] == "tr" else [])


def test_nothing_to_do_is_said(place: Place, capsys: pytest.CaptureFixture) -> None:
    assert place.main(*place.arguments("nothing")) == 2
    assert capsys.readouterr().err == "error: Nothing to do: add --do_train, --do_eval or --do_predict.\n"
    assert not place.path("nothing").exists()


def write_label_kinds(folder: Path, split: str) -> list[str]:
    """The same pairs with labels written out, as numbers, and as numbers with names of another order."""
    rows, order = pairs("de", split), ["contradiction", "entailment", "neutral"]
    folder.mkdir(parents=True, exist_ok=True)
    named = Dataset.from_list([row | {"label": order.index(row["label"])} for row in rows])
    named.cast_column("label", ClassLabel(names=order)).to_parquet(folder / f"{split}.parquet")
    numbered = [row | {"label": LABELS.index(row["label"])} for row in rows]
    return [
        f"written={write_rows(folder / f'{split}-written.jsonl', rows)}",
        f"numbered={write_rows(folder / f'{split}-numbered.jsonl', numbered)}",
        f"named={folder / f'{split}.parquet'}",
    ]


def test_labels_of_every_kind_mean_the_same(place: Place, trained: str) -> None:
    """The trained model scores the same with each, and tasks with each are trained as one with one kind."""
    files = {split: write_label_kinds(place.path("kinds"), split) for split in ("train", "test")}
    kinds = [item.partition("=")[0] for item in files["test"]]
    predict = ["--do_predict", "--test_file", *files["test"]]
    own = Place(place.folder, "run_xnli", trained, predict)
    assert own.main(*own.arguments("kinds-out")) == 0
    expected = place.json("out", "predict_results.json")["predict_de_accuracy"]
    results = place.json("kinds-out", "predict_results.json")
    assert {results[f"predict_{kind}_accuracy"] for kind in kinds} == {expected}

    weights = []
    for kind, file in zip(kinds, files["train"], strict=True):
        own = Place(place.folder, "run_xnli", place.model, ["--train_file", file.replace(kind, "de", 1)])
        assert own.main(*own.arguments(f"kinds-{kind}", *SEQ_REPTILE, "--do_train", "--max_steps", "6")) == 0
        weights.append(load_file(place.path(f"kinds-{kind}", "model.safetensors")))
        assert place.json(f"kinds-{kind}", "config.json")["id2label"] == dict(zip("012", LABELS, strict=True))
    for other in weights[1:]:
        tiny.assert_equal(weights[0], other)


def test_label_sets_that_differ_are_refused(place: Place, capsys: pytest.CaptureFixture) -> None:
    yes_no = [row | {"label": "yes"} for row in pairs("sw", "train")]
    files = [
        f"de={write_rows(place.path('sets', 'de.jsonl'), pairs('de', 'train'))}",
        f"sw={write_rows(place.path('sets', 'sw.jsonl'), yes_no)}",
    ]
    own = Place(place.folder, "run_xnli", place.model, ["--train_file", *files])
    assert own.main(*own.arguments("sets-out", *SEQ_REPTILE, "--do_train")) == 2
    error = capsys.readouterr().err.partition("error: ")[2]
    assert error.startswith("The label sets differ: task 'sw' has ['yes'], which task 'de' lacks")
    assert not place.path("sets-out", "model.safetensors").exists()


# Laws 4 and 5 in two processes.


@pytest.mark.slow
def test_two_processes(place: Place, tmp_path: Path) -> None:
    """At half the batch they end where one ends, with the same predictions."""
    words = scripts.words_of_sample("nli", SAMPLE_LANGUAGES)
    model = scripts.write_model(tmp_path / "model", dropout=0, words=words)
    common = [*SEQ_REPTILE, *ALL, "--learning_rate", "1e-3"]
    assert place.main(*place.arguments("single", *common, model=model)) == 0
    arguments = place.arguments("double", *common, "--per_device_train_batch_size", "2", model=model)
    process = place.run_two_processes(*arguments)
    assert process.returncode == 0, process.stderr
    ends = [load_file(place.path(output, "model.safetensors")) for output in ("single", "double")]
    assert tiny.largest_difference(*ends) < 1e-5
    single, double = ({n: f for n, f in place.files(each).items() if "/" not in n} for each in ("single", "double"))
    assert single.keys() == double.keys()
    for language in SAMPLE_LANGUAGES:
        assert single[f"predictions_{language}.txt"] == double[f"predictions_{language}.txt"]


@pytest.mark.parametrize("method", tiny.methods("stl", "gradnorm"))
def test_every_method_trains(place: Place, method: str) -> None:
    assert 0 <= place.train_briefly(method)["eval_accuracy"] <= 1


def test_labels_that_are_missing_or_equal(place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The training file is sorted by label; the test split has none, and is predicted all the same."""
    rows = sorted(pairs("de", "train"), key=lambda row: LABELS.index(row["label"]))
    train = write_rows(tmp_path / "train.jsonl", [rows[0] | {"label": "-"}, *rows])
    unlabelled = [row | {"label": None} for row in pairs("de", "test")]
    test = write_rows(tmp_path / "test.jsonl", unlabelled)
    validation = write_rows(tmp_path / "validation.jsonl", pairs("de", "validation"))
    files = ["--train_file", train, "--validation_file", validation, "--test_file", test]
    assert scripts.main(
        "--model_name_or_path", place.model, *files, "--max_train_samples", "5", *scripts.TRAINING, *ALL,
        "--method", "mtl", "--cache_dir", str(tmp_path / "cache"), "--output_dir", str(tmp_path / "out"),
        "--max_steps", "2", script="run_xnli",
    ) == 0  # fmt: skip
    told = caplog.text
    assert "train: 1 of 5 pairs have no label (null, empty or -) and are left out: all 1." in told
    assert "have one label, and teach the model nothing else: all (entailment)." in told
    assert "The model has labels that no training pair has: neutral, contradiction." in told
    assert "pairs have no label (null, empty or -) and are predicted, but not scored: all" in told
    assert len(scripts.read_predictions(tmp_path / "out/predictions.txt")) == len(unlabelled)
    results = json.loads((tmp_path / "out/all_results.json").read_text(encoding="utf-8"))
    assert "eval_all_accuracy" in results and "predict_all_accuracy" not in results


def test_labels_come_from_all_rows_whatever_the_limit_keeps(place: Place, tmp_path: Path) -> None:
    """Each file is sorted by label, and begins with another one: the first rows alone have sets that differ."""
    files = []
    for language, first in (("de", "yes"), ("sw", "no")):
        rows = [row | {"label": "yes" if row["label"] == LABELS[0] else "no"} for row in pairs(language, "train")]
        rows.sort(key=lambda row: row["label"] != first)
        files.append(f"{language}={write_rows(tmp_path / f'{language}.jsonl', rows)}")
    assert scripts.main(
        "--model_name_or_path", place.model, "--train_file", *files, "--max_train_samples", "4", *scripts.TRAINING,
        "--do_train", "--method", "mtl", "--cache_dir", str(tmp_path / "cache"), "--output_dir", str(tmp_path / "out"),
        "--max_steps", "2", script="run_xnli",
    ) == 0  # fmt: skip
    config = json.loads((tmp_path / "out/config.json").read_text(encoding="utf-8"))
    assert config["id2label"] == {"0": "no", "1": "yes"}
