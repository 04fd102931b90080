"""`RUN/encoder`: the encoder of a run goes on, its head only where it is asked for and fits."""

import logging
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    set_seed,
)

from hf_seqreptile import InputError, MultiHeadModel
from hf_seqreptile.analysis.encoders import load_encoder as load_for_analysis
from hf_seqreptile.models.adapters import check_lora_arguments
from hf_seqreptile.models.loading import ModelArguments, has_head, load_encoder, load_head, load_model
from tests import scripts

LABELS = ["entailment", "neutral", "contradiction"]


@pytest.fixture
def start(tmp_path: Path) -> str:
    return scripts.write_model(tmp_path / "start")


@pytest.fixture
def run(tmp_path: Path, start: str) -> Path:
    """A finished run of inference."""
    names = dict(enumerate(LABELS))
    model = AutoModelForSequenceClassification.from_pretrained(start, num_labels=3, id2label=names)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.01
    model.save_pretrained(tmp_path / "run")
    AutoTokenizer.from_pretrained(start).save_pretrained(tmp_path / "run")
    return tmp_path / "run"


def load(auto_class: type, path: str | Path, labels: list[str] | None) -> torch.nn.Module:
    set_seed(1)
    model, _ = load_model(auto_class, ModelArguments(model_name_or_path=str(path)), labels, list)
    return model


@pytest.mark.parametrize(
    ("auto_class", "labels"),
    [
        (AutoModelForSequenceClassification, LABELS),
        (AutoModelForTokenClassification, ["B-PER", "I-PER", "O"]),
        (AutoModelForQuestionAnswering, None),
    ],
)
def test_it_is_the_encoder_saved_on_its_own(
    run: Path, tmp_path: Path, auto_class: type, labels: list[str] | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the new head is, to the last bit of what is drawn for it."""
    model, found = AutoModel.from_pretrained(run, output_loading_info=True)
    assert not found["missing_keys"]
    model.save_pretrained(tmp_path / "alone")
    AutoTokenizer.from_pretrained(run).save_pretrained(tmp_path / "alone")
    expected = load(auto_class, tmp_path / "alone", labels).state_dict()
    with caplog.at_level(logging.WARNING):
        found = load(auto_class, run / "encoder", labels).state_dict()
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name
    assert "the head of the BertForSequenceClassification is left behind (classifier)" in caplog.text


def test_the_run_itself_goes_on_with_its_head(run: Path) -> None:
    own = AutoModelForSequenceClassification.from_pretrained(run)
    assert torch.equal(load(AutoModelForSequenceClassification, run, LABELS).classifier.weight, own.classifier.weight)
    new = load(AutoModelForSequenceClassification, run / "encoder", LABELS)
    assert not torch.equal(new.classifier.weight, own.classifier.weight)


@pytest.mark.parametrize(
    ("auto_class", "labels", "goes_on"),
    [
        (AutoModelForSequenceClassification, [label.upper() for label in LABELS], True),
        (AutoModelForSequenceClassification, ["a", "b", "c"], False),
        (AutoModelForSequenceClassification, None, False),  # a regression
        (AutoModelForTokenClassification, LABELS, False),
        (AutoModelForQuestionAnswering, None, False),
    ],
)
def test_of_several_heads_the_one_that_fits_goes_on(
    run: Path, auto_class: type, labels: list[str] | None, goes_on: bool
) -> None:
    problem_type = "regression" if (auto_class, labels) == (AutoModelForSequenceClassification, None) else None
    args = load_head(
        ModelArguments(model_name_or_path=str(run)),
        "any",
        lambda config: has_head(config, auto_class, labels, problem_type),  # type: ignore[arg-type]
    )
    assert args.model_name_or_path == str(run if goes_on else run / "encoder")


def test_a_start_without_a_head_stays_as_it_is(start: str) -> None:
    args = load_head(ModelArguments(model_name_or_path=start), "any", lambda config: False)
    assert args.model_name_or_path == start


def test_of_a_run_with_several_heads_it_is_a_folder(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = AutoModelForTokenClassification.from_pretrained(run, ignore_mismatched_sizes=True, num_labels=5)
    first = AutoModelForSequenceClassification.from_pretrained(run)
    tokenizer = AutoTokenizer.from_pretrained(run)
    MultiHeadModel({"nli": first, "ner": other}).save_pretrained(
        tmp_path / "both", {"nli": tokenizer, "ner": tokenizer}
    )
    with caplog.at_level(logging.WARNING):
        load(AutoModelForSequenceClassification, tmp_path / "both/encoder", LABELS)
    assert "the heads nli, ner are left behind" in caplog.text


def test_analyses_and_retrieval_read_it(run: Path) -> None:
    expected = AutoModel.from_pretrained(run).state_dict()
    model, _ = load_encoder(ModelArguments(model_name_or_path=str(run / "encoder")))
    analysed = load_for_analysis(str(run / "encoder")).weights
    for name, value in model.state_dict().items():
        assert torch.equal(value, expected[name]) and torch.equal(analysed[name], expected[name])


def test_adapters_have_none(run: Path) -> None:
    with pytest.raises(InputError, match="Save the encoder on its own"):
        check_lora_arguments(ModelArguments(model_name_or_path=str(run / "encoder"), use_peft=True), True)
    (run / "model.safetensors").rename(run / "adapter_model.safetensors")
    with pytest.raises(InputError, match="holds adapters, and no encoder of its own"):
        load(AutoModelForSequenceClassification, run / "encoder", LABELS)
