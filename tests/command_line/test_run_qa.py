"""`run_qa.py` from end to end: what a user gets, in real processes where these are the point."""

import csv
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from safetensors.torch import load_file
from transformers import AutoTokenizer, pipeline

from hf_seqreptile.data import load_tasks
from hf_seqreptile.metrics import SquadMetric, SquadV2Metric
from hf_seqreptile.problems.question_answering import QuestionAnswering, QuestionAnsweringArguments
from tests import scripts, tiny
from tests.scripts import SAMPLE_LANGUAGES, SAMPLES, SEQ_REPTILE, Place, write

ALL = ["--do_train", "--do_eval", "--do_predict"]
SHORT = ["--max_seq_length", "48", "--doc_stride", "16"]
"""Contexts are longer than that, and so are cut into windows."""
STAGES = {"eval": "validation", "predict": "test"}
Question = dict[str, Any]


def articles(language: str, split: str) -> list[dict[str, Any]]:
    return json.loads((SAMPLES / "qa" / language / f"{split}.json").read_text(encoding="utf-8"))["data"]


def questions(language: str, split: str) -> list[Question]:
    """The sample's questions with `id`, `context`, `question` and `answers`, which is `{"text", "answer_start"}`."""
    return [
        {
            "id": question["id"],
            "context": paragraph["context"],
            "question": question["question"],
            "answers": {name: [answer[name] for answer in question["answers"]] for name in ("text", "answer_start")},
        }
        for article in articles(language, split)
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ]


def without_rounding(weights: dict[str, Any]) -> dict[str, Any]:
    """All weights but two: these shift all logits alike, so their gradient is mere rounding, which Adam enlarges."""
    shifts = {"qa_outputs.bias", "bert.encoder.layer.0.output.LayerNorm.bias"}
    return {name: values for name, values in weights.items() if name not in shifts}


def squad_scores(predictions: Mapping[str, str], true: list[Question]) -> dict[str, float]:
    return SquadMetric(keep_in_memory=True).compute(
        predictions=[{"id": name, "prediction_text": text} for name, text in predictions.items()],
        references=[{"id": question["id"], "answers": question["answers"]} for question in true],
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return scripts.sample_place(tmp_path_factory.mktemp("qa"), "run_qa", "qa")


@pytest.fixture(scope="module")
def printed(place: Place) -> str:
    """What the command prints that trains on two languages and evaluates on these and a third."""
    arguments = place.arguments(
        "out", *SEQ_REPTILE, *ALL, *SHORT, "--eval_on_start", "--eval_strategy", "steps", "--eval_steps", "8",
        "--save_steps", "8", "--load_best_model_at_end", "--metric_for_best_model", "f1",
    )  # fmt: skip
    return place.printed_by(*arguments)


@pytest.fixture(scope="module")
def trained(place: Place, printed: str) -> str:
    return str(place.path("out"))


def evaluate(place: Place, trained: str, output: str, *arguments: str) -> dict[str, float]:
    """The metrics of the trained model, on other data if `arguments` name some."""
    args = ["--model_name_or_path", trained, "--do_eval", *scripts.TRAINING, "--output_dir", str(place.path(output))]
    assert place.main(*args, "--cache_dir", str(place.path("cache")), *arguments) == 0
    return place.json(output, "eval_results.json")


def test_all_files_are_written(place: Place, printed: str) -> None:
    predictions = {
        f"{stage}_{kind}predictions_{language}.json"
        for stage in STAGES
        for kind in ("", "nbest_")
        for language in SAMPLE_LANGUAGES
    }
    checkpoints = {f"checkpoint-{step}" for step in (8, 16, 20)}
    assert {path.name for path in place.path("out").iterdir()} == scripts.FILES | predictions | checkpoints


@pytest.mark.parametrize("stage", STAGES)
def test_every_answer_is_a_piece_of_its_context(place: Place, printed: str, stage: str) -> None:
    for language in SAMPLE_LANGUAGES:
        predictions = place.json("out", f"{stage}_predictions_{language}.json")
        candidates = place.json("out", f"{stage}_nbest_predictions_{language}.json")
        contexts = {question["id"]: question["context"] for question in questions(language, STAGES[stage])}
        assert list(predictions) == list(candidates) == list(contexts)  # in the order of the data
        for name, context in contexts.items():
            texts = [candidate["text"] for candidate in candidates[name]]
            assert predictions[name] == texts[0] != ""
            assert all(text in context for text in texts)
            assert sum(candidate["probability"] for candidate in candidates[name]) == pytest.approx(1)


@pytest.mark.parametrize("stage", STAGES)
def test_metrics_are_those_of_the_written_answers_in_percent(place: Place, printed: str, stage: str) -> None:
    results = place.json("out", f"{stage}_results.json")
    f1, exact = (scripts.scores(results, stage, name, SAMPLE_LANGUAGES) for name in ("f1", "exact_match"))
    for language in SAMPLE_LANGUAGES:
        predictions = place.json("out", f"{stage}_predictions_{language}.json")
        expected = squad_scores(predictions, questions(language, STAGES[stage]))
        assert {"f1": f1[language], "exact_match": exact[language]} == pytest.approx(expected)
    for metric, by_language in (("f1", f1), ("exact_match", exact)):
        average = by_language.pop("avg")
        assert average == results[f"{stage}_{metric}"] == pytest.approx(sum(by_language.values()) / 3)
    assert f1["de"] > 1  # in percent
    assert results.items() <= place.json("out", "all_results.json").items()


def test_the_table_of_scores(place: Place, printed: str) -> None:
    table = place.path("out", "scores.md").read_text(encoding="utf-8")
    assert table.strip() in printed
    assert "Zero-shot (no training examples): tr." in table
    assert re.search(r"\| before training +(\| +[\d.]+ ){4}\|", table)
    saved = place.json("out", "scores.json")["scores"]
    for stage, split in STAGES.items():
        f1 = scripts.scores(place.json("out", f"{stage}_results.json"), stage, "f1", SAMPLE_LANGUAGES)
        cells = " *".join(re.escape(f"| {value:.1f}").replace(r"\|\ ", r"\| +") for value in f1.values())
        assert re.search(rf"\| seq_reptile +{cells}", table.partition(f"## {split}")[2])
        assert saved[split]["seq_reptile"] == pytest.approx({name: value / 100 for name, value in f1.items()})


def test_questions_are_counted_not_windows(place: Place, printed: str) -> None:
    sizes = {language: len(questions(language, "train")) for language in ("de", "sw")}
    assert all(len(question["context"].split()) > 48 for question in questions("sw", "train"))
    for language, size in sizes.items():
        assert re.search(rf"^  {language} +{size}  0\.\d+", printed, re.M)
        assert re.search(rf"^\| {language} +\| +{size} \|", place.card("out").text, re.M)
    results = place.json("out", "all_results.json")
    assert results["train_samples"] == sum(sizes.values())
    assert results["epoch"] == pytest.approx(20 / -(-sum(sizes.values()) // 4))
    for stage, split in STAGES.items():
        assert results[f"{stage}_samples"] == sum(len(questions(each, split)) for each in SAMPLE_LANGUAGES)


@pytest.mark.slow
def test_the_folder_serves_where_this_package_is_not_installed(place: Place, printed: str) -> None:
    assert place.card("out").data.pipeline_tag == "question-answering"
    lines = place.usage("out")
    answer = place.run_without_package(lines).rstrip("\n")
    assert answer and answer in "Angela Merkel was born in Hamburg."


def test_the_pipeline_gives_the_answers_of_the_evaluation(place: Place, trained: str) -> None:
    """Importing hf_seqreptile gave transformers its pipeline back."""
    answer = pipeline("question-answering", model=trained)
    settings = {"max_seq_len": 48, "doc_stride": 16, "max_answer_len": 30, "align_to_words": False}
    predictions = place.json("out", "eval_predictions_sw.json")
    for question in questions("sw", "validation"):
        found = answer(question=question["question"], context=question["context"], **settings)
        assert found["answer"] == predictions[question["id"]]


def test_one_language_has_the_file_names_of_hugging_faces_script(place: Place) -> None:
    one = ["--languages", "sw", "--eval_languages", "sw"]
    assert place.main(*place.arguments("one", *SEQ_REPTILE, *ALL, *SHORT, *one)) == 0
    for stage in STAGES:
        names = {path.name for path in place.path("one").glob(f"{stage}_*.json")}
        assert names == {f"{stage}_{name}.json" for name in ("predictions", "nbest_predictions", "results")}
    results = place.json("one", "eval_results.json")
    assert results["eval_f1"] == results["eval_sw_f1"] == results["eval_avg_f1"]


def test_questions_without_an_answer(place: Place, trained: str) -> None:
    """The threshold decides: below the lowest odds nothing is answered, and above the highest all questions are."""
    data = []
    for language in ("de", "sw"):
        rows = questions(language, "validation")
        rows[0]["answers"] = {"text": [], "answer_start": []}
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        data.append(f"{language}={write(place.path('negative', f'{language}.jsonl'), lines)}")
    arguments = ["--validation_file", *data, *SHORT, "--version_2_with_negative", "--null_score_diff_threshold"]
    none, all_ = (
        evaluate(place, trained, name, *arguments, threshold) for name, threshold in (("no", "-99"), ("yes", "99"))
    )
    assert none["eval_de_exact"] == pytest.approx(100 / 21) and none["eval_de_HasAns_f1"] == 0
    assert all_["eval_de_NoAns_exact"] == 0
    for language in ("de", "sw"):
        odds = place.json("yes", f"eval_null_odds_{language}.json")
        assert odds == place.json("no", f"eval_null_odds_{language}.json")
        assert set(place.json("no", f"eval_predictions_{language}.json").values()) == {""}
        answers = place.json("yes", f"eval_predictions_{language}.json")
        assert list(odds) == list(answers) and "" not in answers.values()
        candidates = place.json("yes", f"eval_nbest_predictions_{language}.json")
        assert all(any(candidate["text"] == "" for candidate in each) for each in candidates.values())
    scored = SquadV2Metric(keep_in_memory=True).compute(
        predictions=[
            {"id": name, "prediction_text": text, "no_answer_probability": 0.0} for name, text in answers.items()
        ],
        references=[{"id": row["id"], "answers": row["answers"]} for row in rows],
    )
    assert all_["eval_sw_f1"] == pytest.approx(scored["f1"])
    assert all_["eval_sw_HasAns_f1"] == pytest.approx(scored["HasAns_f1"])


def write_formats(folder: Path, split: str) -> list[str]:
    """The same questions as a file of each format, each a task; the items of an argument."""
    rows = questions("sw", split)
    files = {
        "nested": write(folder / split / "nested.json", json.dumps({"version": 1, "data": articles("sw", split)})),
        "flat": write(folder / split / "flat.json", json.dumps({"data": rows})),
        "lines": write(folder / split / "lines.jsonl", "".join(json.dumps(row) + "\n" for row in rows)),
        "table": str(folder / split / "table.csv"),
        "columns": str(folder / split / "columns.parquet"),
    }
    with open(files["table"], "w", encoding="utf-8", newline="") as file:
        cells = [[row["id"], row["context"], row["question"], json.dumps(row["answers"])] for row in rows]
        csv.writer(file).writerows([["id", "context", "question", "answers"], *cells])
    Dataset.from_list(rows).to_parquet(files["columns"])
    return [f"{task}={path}" for task, path in files.items()]


def test_all_formats_give_the_same_features(place: Place, trained: str) -> None:
    train, validation = (write_formats(place.path("formats"), split) for split in ("train", "validation"))
    args = QuestionAnsweringArguments(train_file=train, validation_file=validation, max_seq_length=48, doc_stride=16)
    tasks = load_tasks(args, ["train", "validation"], cache_dir=str(place.path("cache")))
    problem, tokenizer = QuestionAnswering(tasks, args), AutoTokenizer.from_pretrained(trained)
    for split, of_split in tasks.items():
        features = problem.encode(of_split, tokenizer, split)
        lists = {task: dataset.to_dict() | {"task": None} for task, dataset in features.items()}
        assert list(lists) == ["nested", "flat", "lines", "table", "columns"]
        assert all(columns == lists["nested"] for columns in lists.values())
        assert len(lists["nested"]["input_ids"]) > len(of_split["nested"])


def test_ids_name_the_languages_of_a_file_without_a_name(place: Place, trained: str) -> None:
    """As in TyDiQA's files, in which all languages are one after the other."""
    rows = [
        question | {"id": f"{name}-{number}-0"}
        for name, language in (("swahili", "sw"), ("german", "de"))
        for number, question in enumerate(questions(language, "validation"))
    ]
    file = write(place.path("tydiqa-goldp.json"), json.dumps({"data": rows}))
    results = evaluate(place, trained, "by-id", "--validation_file", file, *SHORT)
    expected = place.json("out", "eval_results.json")
    for name, language in (("swahili", "sw"), ("german", "de")):
        assert results[f"eval_{name}_f1"] == expected[f"eval_{language}_f1"]
        assert len(place.json("by-id", f"eval_predictions_{name}.json")) == 21


# Laws 4 and 5 in two processes.


@pytest.mark.slow
def test_two_processes(place: Place, tmp_path: Path) -> None:
    """At half the batch they end where one ends, and continued they end where they would have ended."""
    words = scripts.words_of_sample("qa", SAMPLE_LANGUAGES)
    model = scripts.write_model(tmp_path / "model", dropout=0, words=words)
    common = [*SEQ_REPTILE, *SHORT, *ALL, "--learning_rate", "1e-3", "--save_steps", "7"]
    assert place.main(*place.arguments("single", *common, model=model)) == 0
    arguments = place.arguments("double", *common, "--per_device_train_batch_size", "2", model=model)
    process = place.run_two_processes(*arguments)
    assert process.returncode == 0, process.stderr
    assert process.stdout.count("Plan (") == process.stdout.count("# Scores") == 1
    ends = [load_file(place.path(output, "model.safetensors")) for output in ("single", "double")]
    assert tiny.largest_difference(*map(without_rounding, ends)) < 1e-5
    names = [sorted(name for name in place.files(output) if "/" not in name) for output in ("single", "double")]
    assert names[0] == names[1]
    for language in SAMPLE_LANGUAGES:
        answers = [place.json(output, f"predict_predictions_{language}.json") for output in ("single", "double")]
        assert answers[0] == answers[1]

    shutil.copytree(place.path("double", "checkpoint-7"), place.path("resumed", "double", "checkpoint-7"))
    process = place.run_two_processes(*arguments, "--output_dir", str(place.path("resumed", "double")))
    assert process.returncode == 0 and "Continuing from" in process.stdout, process.stderr
    assert place.files("resumed/double")["model.safetensors"] == place.files("double")["model.safetensors"]


@pytest.mark.parametrize("method", tiny.methods("pcgrad"))
def test_every_method_trains(place: Place, method: str) -> None:
    assert 0 <= place.train_briefly(method, *SHORT)["eval_f1"] <= 100


def test_accumulated_micro_batches_are_one_batch(place: Place, tmp_path: Path) -> None:
    """However far each of them is padded."""
    model = scripts.write_model(tmp_path / "model", dropout=0, words=scripts.words_of_sample("qa", SAMPLE_LANGUAGES))
    common = [*SEQ_REPTILE, *SHORT, "--do_train", "--learning_rate", "1e-3", "--max_steps", "8"]
    halves = ["--per_device_train_batch_size", "2", "--gradient_accumulation_steps", "2"]
    for output, own in (("whole", []), ("halves", halves)):
        assert place.main(*place.arguments(output, *common, *own, model=model)) == 0
    ends = [load_file(place.path(output, "model.safetensors")) for output in ("whole", "halves")]
    assert tiny.largest_difference(*map(without_rounding, ends)) < 1e-5
    losses = [place.json(output, "train_results.json")["train_loss"] for output in ("whole", "halves")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_bf16_and_the_best_model_by_default(place: Place) -> None:
    """The best is that of the highest F1: an evaluation of questions has no loss."""
    arguments = [*SEQ_REPTILE, *SHORT, "--do_train", "--bf16", "--eval_strategy", "steps", "--eval_steps", "6"]
    arguments += ["--save_steps", "6", "--load_best_model_at_end", "--max_steps", "12"]
    assert place.main(*place.arguments("bf16", *arguments)) == 0
    state = place.json("bf16", "trainer_state.json")
    scores = [entry["eval_f1"] for entry in state["log_history"] if "eval_f1" in entry]
    assert len(scores) == 2 and state["best_metric"] == max(scores)


def test_labels_are_not_smoothed(place: Place, capsys: pytest.CaptureFixture) -> None:
    """What would have no effect is refused before anything is loaded."""
    for extra in ([], ["--dry_run"]):
        assert place.main(*place.arguments("smooth", "--label_smoothing_factor", "0.1", "--do_train", *extra)) == 2
        assert "error: --label_smoothing_factor has no effect here: the loss of starts" in capsys.readouterr().err
    assert not place.path("smooth").exists()
