"""`run_glue.py` from end to end: what a user gets for one text or a pair, with classes or numbers."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from hf_seqreptile import InputError
from hf_seqreptile.problems.text_arguments import TextClassificationArguments
from tests import scripts, tiny
from tests.scripts import SAMPLES, SEQ_REPTILE, Place, write

ALL = ["--do_train", "--do_eval", "--do_predict"]
MOODS = ["mood-de", "mood-sw", "mood-es"]
FOLDER = SAMPLES / "glue"


def rows(task: str, split: str) -> list[dict]:
    """The sample's rows."""
    lines = (FOLDER / task / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A model that knows the sample's words, and its moods in two languages and a third, zero-shot."""
    folder = tmp_path_factory.mktemp("glue")
    words = scripts.words_of_sample("glue", (path.name for path in FOLDER.iterdir()))
    model = scripts.write_model(folder / "model", words=words)
    data = ["--dataset_name", "sample", "--languages", *MOODS[:2], "--eval_languages", *MOODS]
    return Place(folder, "run_glue", model, data)


@pytest.fixture(scope="module")
def printed(place: Place) -> str:
    return place.printed_by(*place.arguments("out", *SEQ_REPTILE, *ALL, "--max_steps", "24"))


def test_all_files_are_written(place: Place, printed: str) -> None:
    predictions = {f"predict_results_{task}.txt" for task in MOODS}
    assert {path.name for path in place.path("out").iterdir()} == scripts.FILES | predictions | {"checkpoint-24"}
    assert printed.startswith("2 classes: negative, positive. Texts: text (mood-de, mood-sw, mood-es).\n")


def test_accuracy_of_every_task_and_its_average(place: Place, printed: str) -> None:
    results = place.json("out", "all_results.json")
    accuracies = {}
    for task in MOODS:
        predicted = scripts.read_predictions(place.path("out", f"predict_results_{task}.txt"))
        true = [row["label"] for row in rows(task, "test")]
        accuracies[task] = sum(map(str.__eq__, predicted, true)) / len(true)
    accuracies["avg"] = sum(accuracies.values()) / 3
    assert scripts.scores(results, "predict", "accuracy", MOODS) == pytest.approx(accuracies)
    assert "Zero-shot (no training examples): mood-es." in printed


@pytest.mark.slow
def test_the_folder_serves_where_this_package_is_not_installed(place: Place, printed: str) -> None:
    code = """
import json
from transformers import pipeline

for found in pipeline("text-classification", model="out")(json.loads(sys.argv[1])):
    print(found["label"])
"""
    texts = [row["text"] for row in rows("mood-es", "test")]
    labels = place.run_without_package(code, json.dumps(texts)).splitlines()
    assert labels == scripts.read_predictions(place.path("out", "predict_results_mood-es.txt"))


def test_numbers_are_predicted(place: Place) -> None:
    """By the squared error, and scored by correlations; the folder predicts the same with transformers alone."""
    own = Place(place.folder, "run_glue", place.model, ["--dataset_name", "sample", "--languages", "similarity-es"])
    arguments = ["--method", "mtl", "--tasks_per_step", "1", *ALL, "--max_steps", "8", "--eval_on_start"]
    printed = own.printed_by(*own.arguments("numbers", *arguments))
    assert printed.startswith("Numbers to predict. Texts: sentence1 and sentence2 (similarity-es).\n")
    results = own.json("numbers", "all_results.json")
    assert results["eval_avg_pearson"] == results["eval_similarity-es_pearson"] == results["eval_pearson"]
    assert -1 <= results["predict_similarity-es_spearmanr"] <= 1
    assert own.json("numbers", "scores.json")["metric"] == {"name": "pearson", "perfect": 1.0}
    config = own.json("numbers", "config.json")
    assert config["problem_type"] == "regression" and list(config["id2label"]) == ["0"]

    tokenizer = AutoTokenizer.from_pretrained(own.path("numbers"))
    model = AutoModelForSequenceClassification.from_pretrained(own.path("numbers"))
    test = rows("similarity-es", "test")
    texts = ([row[name] for row in test] for name in ("sentence1", "sentence2"))
    inputs = tokenizer(*texts, padding=True, return_tensors="pt")
    labels = torch.tensor([row["label"] for row in test])
    with torch.no_grad():
        output = model(**inputs, labels=labels)
    found = [float(text) for text in scripts.read_predictions(own.path("numbers", "predict_results.txt"))]
    assert found == pytest.approx(output.logits[:, 0].tolist(), abs=6e-4)
    assert results["predict_similarity-es_loss"] == pytest.approx(output.loss.item(), rel=1e-4)


@pytest.fixture(scope="module")
def glue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of some of GLUE's tasks."""
    folder = tmp_path_factory.mktemp("files")
    for split in ("train", "dev", "test"):
        hidden = split == "test"
        good = [f"x\t{i % 2}\t\tAnna laughs {i}.\n" for i in range(8)]
        tested = ["index\tsentence\n", *(f"{i}\tAnna laughs.\n" for i in range(3))]
        write(folder / "CoLA" / f"{split}.tsv", "".join(tested if hidden else good))
        pairs = [f"{i % 2}\t1\t2\tAnna {i}.\tBerta {i}.\n" for i in range(8)]
        write(folder / "MRPC" / f"{split}.tsv", "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n" + "".join(pairs))
        for genres in ("",) if split == "train" else ("_matched", "_mismatched"):
            labels = ["entailment", "neutral", "contradiction", "-"]
            lines = [f"Anna {i}.\tBerta.\t{label}\n" for i, label in enumerate(labels)]
            write(folder / "MNLI" / f"{split}{genres}.tsv", "sentence1\tsentence2\tgold_label\n" + "".join(lines))
    return folder


def run(place: Place, output: str, glue: Path, task: str, *arguments: str) -> dict[str, float]:
    """The results of a short run on a task of GLUE."""
    own = Place(place.folder, "run_glue", place.model, ["--task_name", task, "--glue_dir", str(glue)])
    settings = ["--method", "mtl", "--tasks_per_step", "1", "--max_steps", "2"]
    assert own.main(*own.arguments(output, *settings, *ALL, *arguments)) == 0
    return own.json(output, "all_results.json")


def test_a_task_of_glue_has_glues_metrics(place: Place, glue: Path) -> None:
    results = run(place, "cola", glue, "cola")
    assert {"eval_cola_accuracy", "eval_cola_matthews_correlation"} <= results.keys()
    assert place.json("cola", "scores.json")["metric"]["name"] == "accuracy"
    found = scripts.read_predictions(place.path("cola", "predict_results_cola.txt"))
    assert len(found) == 3 and {*found} <= {"acceptable", "unacceptable"}
    results = run(place, "mrpc", glue, "mrpc", "--metric_for_best_model", "mrpc_f1")
    found = scripts.read_predictions(place.path("mrpc", "predict_results_mrpc.txt"))
    true = ["not_equivalent", "equivalent"] * 4
    right = sum(one == other == "equivalent" for one, other in zip(found, true, strict=True))
    f1 = 2 * right / (found.count("equivalent") + 4)
    assert results["predict_mrpc_f1"] == pytest.approx(f1)


def test_mnli_is_evaluated_on_both_of_its_genres(place: Place, glue: Path) -> None:
    results = run(place, "mnli", glue, "mnli")
    assert results["train_samples"] == 3
    assert {"eval_mnli_accuracy", "eval_mnli-mm_accuracy", "eval_avg_accuracy"} <= results.keys()
    for task in ("mnli", "mnli-mm"):
        assert len(scripts.read_predictions(place.path("mnli", f"predict_results_{task}.txt"))) == 4
    assert list(place.json("mnli", "config.json")["id2label"].values()) == ["entailment", "neutral", "contradiction"]


def test_the_whole_sample_has_a_head_a_kind_of_label(place: Place) -> None:
    """Moods share one, so do paraphrases; each task of numbers has its own, and predicts with transformers alone."""
    whole = Place(place.folder, "run_glue", place.model, ["--dataset_name", "sample"])
    settings = ["--method", "mtl", "--max_steps", "3", "--do_train", "--do_predict"]
    printed = whole.printed_by(*whole.arguments("whole", *settings))
    heads = {"mood-de", "paraphrase-de", "similarity-en", "similarity-es"}
    folders = {path.name for path in whole.path("whole").iterdir() if path.is_dir()}
    assert folders == heads | {"encoder", "checkpoint-3"}
    assert "mood-de: 2 classes: negative, positive. Texts: text (mood-de, mood-en, mood-sw).\n" in printed
    assert "similarity-en: Numbers to predict. Texts: sentence1 and sentence2 (similarity-en).\n" in printed
    named = whole.json("whole", "scores.json")["metric"]
    assert named["name"] == "score" and dict(named["of_tasks"])["similarity-es"] == "pearson"
    for task, head in (("mood-sw", "mood-de"), ("similarity-es", "similarity-es")):
        classify = pipeline("text-classification", model=str(whole.path("whole", head)))
        texts = [
            row["text"] if "text" in row else {"text": row["sentence1"], "text_pair": row["sentence2"]}
            for row in rows(task, "test")
        ]
        shown = [f"{one['score']:.3f}" if head == task else one["label"] for one in classify(texts)]
        assert shown == scripts.read_predictions(whole.path("whole", f"predict_results_{task}.txt"))


def test_a_head_that_a_model_lacks_is_not_scored(
    place: Place, capsys: pytest.CaptureFixture, caplog: pytest.LogCaptureFixture
) -> None:
    """It would be a new one, whose scores say nothing; in training it is one, and told of."""
    train = ["--method", "mtl", "--max_steps", "2", "--do_train"]
    tasks = ["mood-de", "mood-sw", "paraphrase-de"]

    def run(output: str, model: str, languages: list[str], *arguments: str) -> str:
        own = Place(place.folder, "run_glue", model, ["--dataset_name", "sample", "--languages", *languages])
        code = own.main(*own.arguments(output, *arguments))
        text = capsys.readouterr().err
        assert code == (2 if "error: " in text else 0)
        return text

    run("heads", place.model, tasks, *train, "--do_eval")
    model = str(place.path("heads"))
    run("again", model, tasks, "--do_eval")
    first, again = (place.json(output, "eval_results.json") for output in ("heads", "again"))
    assert again["eval_mood-sw_loss"] == pytest.approx(first["eval_mood-sw_loss"])
    lacking = "has no head 'mood-sw', only mood-de, paraphrase-de"
    assert lacking in run("other", model, ["mood-sw", "paraphrase-de"], "--do_eval")
    run("new", model, ["mood-sw", "paraphrase-de"], *train)
    assert f"{lacking}: it begins anew, on the encoder." in caplog.text
    message = run("one", model, ["mood-sw"], "--do_eval")
    assert "has several heads (mood-de, paraphrase-de), and these tasks share one. Give the folder of one, " in message
    run("one", f"{model}/mood-de", ["mood-sw"], "--do_eval")
    one = place.json("one", "eval_results.json")["eval_mood-sw_loss"]
    assert one == pytest.approx(first["eval_mood-sw_loss"])


def test_tasks_of_glue_are_named_once() -> None:
    def refusal(**arguments: object) -> str:
        with pytest.raises(InputError) as caught:
            TextClassificationArguments(**arguments)  # type: ignore[arg-type]
        return str(caught.value)

    assert refusal(task_name="coal").startswith("--task_name: unknown task of GLUE 'coal'. Did you mean 'cola'?")
    assert "Known: cola, mnli, mrpc, qnli, qqp, rte, sst2, stsb, wnli" in refusal(task_names=["mnli-mm"])
    assert refusal(task_names=["cola", "cola"]).startswith("--task_names: 'cola' occurs twice")
    assert refusal(glue_dir="glue").startswith("--glue_dir needs --task_names: cola, mnli, ")
    assert "--task_name names GLUE's tasks, and --train_file others" in refusal(task_name="rte", train_file="x.csv")
    assert "and --dataset_name others" in refusal(task_name="rte", dataset_name="imdb")
    named = TextClassificationArguments(dataset_name="nyu-mll/glue", dataset_config_name="mrpc")
    assert named.task_names == named.languages == named.eval_languages == ["mrpc"]
    files = TextClassificationArguments(task_name="rte", glue_dir="glue")
    assert files.described("train") == [("train", "GLUE in glue: rte")]
    assert named.described("validation") == [("validation", "nyu-mll/glue: mrpc")]
    several = TextClassificationArguments(dataset_name="nyu-mll/glue", languages=["mnli", "rte"])
    assert several.eval_languages == ["mnli", "mnli-mm", "rte"]


def test_what_cannot_be_is_refused_before_training(place: Place, glue: Path, capsys: pytest.CaptureFixture) -> None:
    def error(*arguments: str) -> str:
        own = Place(place.folder, "run_glue", place.model, list(arguments))
        assert own.main(*own.arguments("refused", *SEQ_REPTILE, "--do_train")) == 2
        assert not own.path("refused", "model.safetensors").exists()
        return capsys.readouterr().err.rpartition("error: ")[2].strip()

    numbers = ["--dataset_name", "sample", "--languages", "similarity-es"]
    assert error(*numbers, "--label_smoothing_factor", "0.1") == (
        "--label_smoothing_factor has no effect here: the labels are numbers. Remove it."
    )
    broken = write(place.folder / "broken.csv", "text,label\na,1.5\nb,high\n")
    assert error("--train_file", broken).startswith(
        "task 'broken', train split, row 2 (b): the label `high` is not a number that can be learnt"
    )
    assert error(*numbers, "--max_seq_length", "4").startswith("--max_seq_length 4 leaves no room for two texts")


@pytest.mark.slow
@pytest.mark.parametrize("method", tiny.EVERY_METHOD)
def test_every_method_trains(tmp_path: Path, place: Place, method: str) -> None:
    """On numbers, whose loss is not that of classes."""
    numbered = [f"{name}={FOLDER / 'similarity-es/train.jsonl'}" for name in ("de", "sw")]
    data = ["--train_file", *numbered, "--validation_file", *numbered]
    own = Place(tmp_path, "run_glue", place.model, data)
    assert -1 <= own.train_briefly(method)["eval_pearson"] <= 1
