"""`run_multitask.py` from end to end: tasks of three kinds, two of which share a head."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForTokenClassification, AutoTokenizer, pipeline

from hf_seqreptile.analysis.encoders import load_encoder
from hf_seqreptile.analysis.runs import read_run
from hf_seqreptile.models.multi_head import MultiHeadModel
from hf_seqreptile.publishing.hub_repository import published_files
from tests import scripts, tiny
from tests.scripts import SAMPLES, SEQ_REPTILE, Place, write, write_model

ALL = ["--do_train", "--do_eval", "--do_predict"]
TASKS = {
    "ner-de": {"problem": "ner", "train_file": "ner/de/train.conll", "validation_file": "ner/de/validation.conll"},
    "ner-sw": {"problem": "ner", "dataset_name": "sample", "languages": "sw", "max_train_samples": 20},
    "ner-tr": {"problem": "ner", "validation_file": "ner/tr/validation.conll"},
    "nli-de": {"problem": "nli", "dataset_name": "sample", "languages": ["de"], "max_seq_length": 48},
    "qa": {"problem": "qa", "dataset_name": "sample", "languages": ["de"], "max_seq_length": 64, "doc_stride": 16},
}
HEADS = {"ner-de": "ner", "ner-sw": "ner", "ner-tr": "ner", "nli-de": "nli", "qa": "qa"}
METRICS = {"ner-de": "f1", "ner-sw": "f1", "ner-tr": "f1", "nli-de": "accuracy", "qa": "f1"}


def write_tasks(path: Path, tasks: dict[str, dict]) -> str:
    """As YAML, of which JSON is a part."""
    return write(path, json.dumps(tasks))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("multitask")
    (folder / "ner").symlink_to(SAMPLES / "ner")
    words = {word for problem in ("ner", "nli", "qa") for word in scripts.words_of_sample(problem, ["de", "sw", "tr"])}
    return Place(
        folder, "run_multitask", write_model(folder / "model", words=words),
        ["--tasks_file", write_tasks(folder / "tasks.yaml", TASKS)],
    )  # fmt: skip


@pytest.fixture(scope="module")
def printed(place: Place) -> str:
    return place.printed_by(*place.arguments("out", *SEQ_REPTILE, *ALL, "--max_steps", "30", "--save_steps", "12"))


def test_plan_and_scores_name_tasks_and_metrics(place: Place, printed: str) -> None:
    assert "no train data: ner-tr" in printed and "no test data: ner-de, ner-tr" in printed
    heading = " +".join(rf"\| +{task} \({'F1' if metric == 'f1' else metric}\)" for task, metric in METRICS.items())
    assert re.search(heading.replace("(F1)", "(F1)"), printed)
    results, scores = place.json("out", "all_results.json"), place.json("out", "scores.json")
    assert scores["metric"] == {"name": "score", "perfect": 1.0, "of_tasks": METRICS, "problems": HEADS}
    # The three tasks of named entities have a mean of their own.
    assert re.search(r"\| +qa \(F1\) \| +ner avg \| +avg \|", printed)
    own = {task: results[f"eval_{task}_{metric}"] / (100 if task == "qa" else 1) for task, metric in METRICS.items()}
    assert scores["scores"]["validation"]["seq_reptile"] == pytest.approx(own | {"avg": sum(own.values()) / len(own)})
    assert results["eval_score"] == results["eval_avg_score"] == pytest.approx(sum(own.values()) / len(own))
    assert scores["zero_shot"] == ["ner-tr"]


def test_each_head_is_a_folder_of_transformers(place: Place, printed: str) -> None:
    assert {p.name for p in place.path("out").iterdir() if p.is_dir()} == {
        "ner", "nli", "qa", "encoder", "checkpoint-12", "checkpoint-24", "checkpoint-30",
    }  # fmt: skip
    whole = MultiHeadModel.from_pretrained(place.path("out")).eval()
    tokens = torch.tensor([[2, 7, 9, 3]])
    ner = AutoModelForTokenClassification.from_pretrained(place.path("out", "ner")).eval()
    assert torch.equal(ner(tokens).logits, whole(head="ner", input_ids=tokens).logits)
    encoder = AutoModel.from_pretrained(place.path("out", "encoder")).eval()
    assert torch.equal(encoder(tokens).last_hidden_state, whole.encoder(tokens).last_hidden_state)
    AutoTokenizer.from_pretrained(place.path("out", "encoder"))
    classify = pipeline("text-classification", model=str(place.path("out", "nli")))
    (answer,) = classify([{"text": "Ein Haus.", "text_pair": "Kein Haus."}])
    assert answer["label"] in ("entailment", "neutral", "contradiction")


@pytest.mark.slow
def test_the_lines_of_the_card_run_without_this_package(place: Place, printed: str) -> None:
    card = place.card("out")
    lines = re.findall("```python\n(.*?)```", card.text, re.DOTALL)
    assert len(lines) == 3
    place.run_without_package("\n".join(lines))
    evaluated = {(r.dataset_config, r.metric_type, r.task_type) for r in card.data.eval_results}
    assert ("qa", "f1", "question-answering") in evaluated and (
        "nli-de",
        "accuracy",
        "text-classification",
    ) in evaluated
    assert card.data.language is None
    # The one language that a task of the head was given as one.
    assert "Angela Merkel alizaliwa Hamburg ." in card.text and "Wo wurde Angela Merkel geboren?" in card.text


def test_what_is_published_of_it(place: Place, printed: str) -> None:
    files = published_files(place.path("out"))
    assert {"heads.json", "README.md", "ner/model.safetensors", "qa/config.json", "encoder/tokenizer.json"} <= {*files}
    assert not [name for name in files if name.startswith("checkpoint")]


def test_report_and_analyses_read_it(place: Place, printed: str) -> None:
    run = read_run(place.path("out"))
    assert run.metric.heading("qa") == "qa (F1)" and run.problem.count(",") == 2
    assert run.tasks == ["ner-de", "ner-sw", "nli-de", "qa"]
    encoder = load_encoder(str(place.path("out")))
    assert encoder.path.endswith("encoder") and encoder.weights


def test_a_finished_model_is_evaluated_and_started_from(place: Place, printed: str) -> None:
    before = place.json("out", "scores.json")["scores"]["validation"]["seq_reptile"]
    out = str(place.path("out"))
    again = place.arguments("again", "--do_eval", model=out)
    assert place.main(*again) == 0
    assert place.json("again", "scores.json")["scores"]["validation"]["model"] == pytest.approx(before)
    # A new head on its encoder.
    tasks = write_tasks(place.path("other.yaml"), {"qa": TASKS["qa"], "pairs": TASKS["nli-de"] | {"head": "pairs"}})
    arguments = place.arguments("next", "--do_train", "--tasks_file", tasks, "--method", "mtl", model=out)
    assert place.main(*arguments, "--max_steps", "1", "--learning_rate", "1e-30") == 0
    first, second = (load_file(place.path(each, "qa", "model.safetensors")) for each in ("out", "next"))
    tiny.assert_equal(first, second)


def test_it_goes_on_after_a_stop_and_ends_bit_for_bit(place: Place, printed: str) -> None:
    arguments = place.arguments("resumed", *SEQ_REPTILE, *ALL, "--max_steps", "30", "--save_steps", "12")
    shutil.copytree(place.path("out"), place.path("resumed"))
    for later in ("checkpoint-24", "checkpoint-30", "ner", "nli", "qa", "encoder"):
        shutil.rmtree(place.path("resumed", later))
    for later in ("README.md", "heads.json"):
        place.path("resumed", later).unlink()
    assert "Continuing from" in place.printed_by(*arguments)
    for folder in ("ner", "nli", "qa", "encoder"):
        weights = [load_file(place.path(each, folder, "model.safetensors")) for each in ("out", "resumed")]
        tiny.assert_equal(*weights)
    # Nothing is left to do, and nothing changes.
    assert place.main(*arguments) == 0
    assert place.json("resumed", "scores.json") == place.json("out", "scores.json")


def test_stl_gives_a_model_a_task(place: Place) -> None:
    tasks = write_tasks(place.path("two.yaml"), {"ner-de": TASKS["ner-de"], "nli": TASKS["nli-de"]})
    arguments = place.arguments("stl", "--method", "stl", "--tasks_file", tasks, "--do_train", "--do_eval")
    assert place.main(*arguments, "--max_steps", "2") == 0
    for task in ("ner-de", "nli"):
        assert place.path("stl", task, "model.safetensors").is_file()
        assert not place.path("stl", task, "heads.json").exists()
    assert set(place.json("stl", "scores.json")["scores"]["validation"]["stl"]) == {"ner-de", "nli", "avg"}


def test_tasks_that_share_one_head_leave_a_plain_model(place: Place) -> None:
    """And the same one as the script of their problem."""
    tasks = write_tasks(
        place.path("one.yaml"), {n: {"problem": "nli", "dataset_name": "sample", "languages": n} for n in ("de", "sw")}
    )
    arguments = ["--method", "mtl", "--do_train", "--max_steps", "2", "--use_cpu"]
    assert place.main(*place.arguments("one", "--tasks_file", tasks, *arguments)) == 0
    data = ["--dataset_name", "sample", "--languages", "de", "sw"]
    own = Place(place.folder, "run_xnli", place.model, data)
    assert own.main(*own.arguments("plain", *arguments)) == 0
    # Without --max_seq_length, both cut at 128.
    tiny.assert_equal(*(load_file(place.path(each, "model.safetensors")) for each in ("one", "plain")))


def rows_of(task: str, split: str, columns: tuple[str, str], change: Callable[[str], str]) -> str:
    rows = [
        {columns[0]: words, columns[1]: [change(tag) for tag in tags], "other": ["X"] * len(words)}
        for words, tags in scripts.sentences(task, split)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_a_head_of_data_that_differs_and_a_dataset_without_a_test_split(place: Place, tmp_path: Path) -> None:
    """Columns, schemes and names are each entry's own; those that have a test split are predicted."""
    folder, columns = tmp_path / "data", ("words", "entities")
    for split in ("train", "validation"):
        write(folder / f"{split}.jsonl", rows_of("sw", split, columns, lambda tag: tag.replace("LOC", "DATE")))
    for split in ("train", "validation", "test"):
        change = lambda tag: tag[2:].replace("LOC", "MISC") or tag  # noqa: E731
        write(tmp_path / f"de-{split}.jsonl", rows_of("de", split, ("tokens", "ner_tags"), change))
    de = {f"{split}_file": f"de-{split}.jsonl" for split in ("train", "validation", "test")}
    sw = {"dataset_name": "data", "text_column_name": "words", "label_column_name": "entities", "label_map": "DATE=O"}
    tasks = {
        "de": {"problem": "ner", **de, "label_map": ["MISC=O"], "tag_scheme": "io"},
        "sw": {"problem": "ner", **sw},
    }
    file = write_tasks(tmp_path / "tasks.yaml", tasks)
    short = ["--method", "mtl", "--max_steps", "1", "--tasks_file", file]
    printed = place.printed_by(*place.arguments("own", *ALL, *short))
    assert "no test data: sw\n" in printed
    assert re.search(r"Labels are mapped: MISC=O \(words: de \d+\); DATE=O \(words: sw \d+\)\.", printed)
    assert set(place.json("own", "config.json")["label2id"]) == {"O", "B-PER", "I-PER"}
    results = place.json("own", "all_results.json")
    assert "predict_de_f1" in results and "eval_sw_f1" in results and "predict_sw_f1" not in results
    # Nor is it refused where nothing but that split is wanted.
    model = str(place.path("own"))
    assert "no test data: sw\n" in place.printed_by(*place.arguments("predicted", "--do_predict", *short, model=model))
    assert place.path("predicted", "predictions.txt").read_text("utf-8").count("\n") == len(
        scripts.sentences("de", "test")
    )


def test_a_dry_run_prints_the_table_of_tasks(place: Place) -> None:
    printed = place.printed_by(*place.arguments("dry", "--do_train", "--method", "mtl", "--dry_run"))
    assert "nli-de: nli, head nli, sample: de" in printed and "ner-tr" not in printed
    assert not place.path("dry").exists()


def test_weights_batches_and_metrics_of_entries(place: Place) -> None:
    tasks = {
        "ner-de": TASKS["ner-de"] | {"weight": 1, "batch_size": 2, "metric": "accuracy"},
        "nli-de": TASKS["nli-de"] | {"weight": 3},
    }
    file = write_tasks(place.path("weights.yaml"), tasks)
    arguments = place.arguments("weights", "--method", "mtl", "--tasks_file", file, "--do_train", "--do_eval")
    # A metric of one task alone may select the model.
    printed = place.printed_by(*arguments, "--max_steps", "2", "--metric_for_best_model", "ner-de_f1")
    assert re.search(r"ner-de +400 +0\.2500 .* 2\n", printed) and re.search(r"nli-de +\d+ +0\.7500 .* 4\n", printed)
    # Both are scored by accuracy, which has an average of its own.
    assert place.json("weights", "scores.json")["metric"] == {"name": "accuracy", "perfect": 1.0}


MISTAKES = {
    "unknown problem 'nre'. Did you mean 'ner'?": {"a": TASKS["ner-de"] | {"problem": "nre"}},
    "unknown key 'max_seq_lenght'. Did you mean 'max_seq_length'?": {"a": TASKS["ner-de"] | {"max_seq_lenght": 9}},
    "must say which `problem`": {"a": {"train_file": "x.jsonl"}},
    "max_seq_length is 'long'; give a whole number": {"a": TASKS["ner-de"] | {"max_seq_length": "long"}},
    "the file `.*nowhere.jsonl` does not exist": {"a": {"problem": "ner", "train_file": "nowhere.jsonl"}},
    "of different problems and share the head 'ner'": {"a": TASKS["ner-de"], "b": TASKS["nli-de"] | {"head": "ner"}},
    "share the head 'ner' and differ in label_all_tokens": {
        "a": TASKS["ner-de"], "b": TASKS["ner-sw"] | {"label_all_tokens": True},
    },
    "holds several tasks": {"a": TASKS["ner-sw"] | {"languages": ["de", "sw"]}},
    "A head cannot be called 'encoder'": {"a": TASKS["ner-de"] | {"head": "encoder"}},
    "its problem has no metric 'bleu'": {"a": TASKS["ner-de"] | {"metric": "bleu"}, "b": TASKS["nli-de"]},
    "no task has train data": {"a": TASKS["ner-tr"]},
    "weights has none for 'b'": {"a": TASKS["ner-de"] | {"weight": 2}, "b": TASKS["nli-de"]},
}  # fmt: skip


@pytest.mark.parametrize("message", MISTAKES)
def test_mistakes_are_refused_with_their_entry(
    place: Place, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ner").symlink_to(SAMPLES / "ner")
    file = write_tasks(tmp_path / "tasks.yaml", MISTAKES[message])
    assert place.main(*place.arguments("refused", "--tasks_file", file, "--do_train", "--method", "mtl")) == 2
    assert re.search(message, capsys.readouterr().err)


def test_a_name_that_occurs_twice_is_refused(place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "tasks.yaml", "no: {problem: ner}\nno: {problem: ner}\n")
    assert place.main(*place.arguments("refused", "--tasks_file", file, "--do_train")) == 2
    assert "a name occurs twice" in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_run_is_continued_by_the_same_command(place: Place) -> None:
    arguments = place.arguments("whole", *SEQ_REPTILE, *ALL, "--max_steps", "60", "--save_steps", "4")
    assert place.main(*arguments) == 0
    place.kill_and_continue(arguments, "killed")
    for folder in ("ner", "nli", "qa", "encoder"):
        weights = [load_file(place.path(each, folder, "model.safetensors")) for each in ("whole", "killed")]
        tiny.assert_equal(*weights)
    assert place.json("killed", "scores.json") == place.json("whole", "scores.json")
