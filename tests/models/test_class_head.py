"""A model's labels and the data's go together by name, and with each name its row of the head."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from seqeval.metrics import accuracy_score
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    BertModel,
    GPT2Config,
    GPT2ForSequenceClassification,
    PreTrainedModel,
    RobertaConfig,
    RobertaForSequenceClassification,
    set_seed,
)

from hf_seqreptile import InputError
from hf_seqreptile.models.class_head import NEVER, add_unpredicted, label_names
from hf_seqreptile.models.loading import ModelArguments, load_model
from tests import scripts

OWN = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG"]
NLI = ["entailment", "neutral", "contradiction"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return scripts.write_model(tmp_path_factory.mktemp("model"), dropout=0.0)


def save(folder: Path, encoder: str, auto_class: Any, labels: Sequence[str]) -> PreTrainedModel:
    """Fine-tuned, as far as it can be seen: its head has a row for each label, and each row differs."""
    names = dict(enumerate(labels))
    model = auto_class.from_pretrained(encoder, id2label=names, label2id={label: i for i, label in names.items()})
    with torch.no_grad():
        model.classifier.bias.copy_(torch.arange(1.0, 1 + len(labels)))
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(encoder).save_pretrained(folder)
    return model


def load(folder: Path | str, labels: Sequence[str], auto_class: Any = AutoModelForTokenClassification,
         will_train: bool = True, **arguments: Any) -> PreTrainedModel:  # fmt: skip
    model_arguments = ModelArguments(model_name_or_path=str(folder), **arguments)
    return load_model(auto_class, model_arguments, labels, list, will_train)[0]


def assert_rows_of(model: PreTrainedModel, before: PreTrainedModel, name: str, name_before: str | None = None) -> None:
    """The label has the row that it had."""
    row, old = model.config.label2id[name], before.config.label2id[name_before or name]
    assert torch.equal(model.classifier.weight[row], before.classifier.weight[old])
    assert torch.equal(model.classifier.bias[row], before.classifier.bias[old])


def scores(model: PreTrainedModel, name: str) -> torch.Tensor:
    logits = model.eval()(input_ids=torch.tensor([[2, 5, 6, 7, 3]])).logits
    return logits[..., model.config.label2id[name]]


def test_rows_go_by_name_and_new_names_get_new_rows(
    tmp_path: Path, encoder: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = save(tmp_path, encoder, AutoModelForTokenClassification, OWN)
    labels = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    model = load(tmp_path, labels)
    assert label_names(model.config) == labels
    for name in ("O", "B-PER", "I-PER"):
        assert_rows_of(model, before, name)
        assert torch.equal(scores(model, name), scores(before, name))
    new = model.classifier.weight[1:3]
    assert model.classifier.bias[1:3].tolist() == [0, 0]
    assert not any(torch.equal(row, old) for row in new for old in before.classifier.weight)
    assert 0 < new.std() < 0.1
    assert caplog.messages[-1] == (
        f"{tmp_path} does not know B-LOC, I-LOC, and the data has no B-ORG, I-ORG. Its head keeps the rows of O, "
        f"B-PER, I-PER; all others are new."
    )


def test_a_model_with_all_the_labels_keeps_its_own_order(
    tmp_path: Path, encoder: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = save(tmp_path, encoder, AutoModelForTokenClassification, OWN)
    for labels in (["O", "B-ORG", "I-ORG", "B-PER", "I-PER"], ["O", "B-ORG", "I-ORG"]):
        model = load(tmp_path, labels)
        assert label_names(model.config) == OWN
        assert torch.equal(model.classifier.weight, before.classifier.weight)
    assert not [record for record in caplog.records if record.name.startswith("hf_seqreptile")]


def test_another_size_is_refused_and_with_the_argument_keeps_what_both_have(tmp_path: Path, encoder: str) -> None:
    before = save(tmp_path, encoder, AutoModelForTokenClassification, OWN)
    labels = [*OWN, "B-TIME", "I-TIME"]
    with pytest.raises(InputError) as error:
        load(tmp_path, labels)
    assert str(error.value) == (
        f"{tmp_path} does not know B-TIME, I-TIME. The head of {tmp_path} has another size than these labels need; "
        f"add --ignore_mismatched_sizes to start with a new head, which keeps the rows of {', '.join(OWN)}."
    )
    model = load(tmp_path, labels, ignore_mismatched_sizes=True)
    assert (model.num_labels, model.classifier.out_features) == (7, 7)
    for name in OWN:
        assert_rows_of(model, before, name)
    loss = model(input_ids=torch.tensor([[2, 5, 3]]), labels=torch.tensor([[-100, 6, -100]])).loss
    assert loss.isfinite()
    model.save_pretrained(tmp_path / "again")
    again = AutoModelForTokenClassification.from_pretrained(tmp_path / "again")
    assert torch.equal(again.classifier.weight, model.classifier.weight)


@pytest.mark.parametrize("will_train", [True, False])
def test_case_and_spaces_do_not_matter(tmp_path: Path, encoder: str, will_train: bool) -> None:
    """As in `roberta-large-mnli`, whose contradiction is 0; the data's 0 is entailment."""
    own = ["CONTRADICTION", "NEUTRAL", "ENTAILMENT"]
    before = save(tmp_path, encoder, AutoModelForSequenceClassification, own)
    model = load(tmp_path, NLI, AutoModelForSequenceClassification, will_train)
    assert label_names(model.config) == ["contradiction", "neutral", "entailment"]
    for name in NLI:
        assert_rows_of(model, before, name, name.upper())


@pytest.mark.parametrize("names", [["LABEL_0", "LABEL_1", "LABEL_2"], ["0", "1", "2"]], ids=str)
def test_classes_without_names_are_taken_in_order_and_it_is_said(
    tmp_path: Path, encoder: str, names: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    before = save(tmp_path, encoder, AutoModelForSequenceClassification, names)
    model = load(tmp_path, NLI, AutoModelForSequenceClassification)
    assert label_names(model.config) == NLI
    assert torch.equal(model.classifier.weight, before.classifier.weight)
    assert caplog.messages[-1] == (
        f"The classes of {tmp_path} have no names; they are taken for {', '.join(NLI)}, in this order."
    )
    assert label_names(load(tmp_path, names[::-1], AutoModelForSequenceClassification).config) == names


@pytest.mark.parametrize("is_named", [False, True])
def test_a_new_head_is_drawn_as_the_library_draws_it(
    tmp_path: Path, encoder: str, is_named: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where the configuration has labels, as an encoder's that was taken out of a classifier."""
    path: Path | str = encoder
    if is_named:
        path = tmp_path
        BertModel.from_pretrained(encoder).save_pretrained(path)
        AutoTokenizer.from_pretrained(encoder).save_pretrained(path)
        config = json.loads((path / "config.json").read_text())
        config |= {"id2label": dict(enumerate(OWN)), "label2id": {label: i for i, label in enumerate(OWN)}}
        (path / "config.json").write_text(json.dumps(config))
    set_seed(3)
    expected = AutoModelForTokenClassification.from_pretrained(encoder, num_labels=3).classifier.weight
    set_seed(3)
    caplog.set_level(logging.WARNING, "hf_seqreptile")
    caplog.clear()
    model = load(path, NLI)
    assert torch.equal(model.classifier.weight, expected)
    assert label_names(model.config) == NLI
    assert not [record for record in caplog.records if record.name.startswith("hf_seqreptile")]


@pytest.mark.parametrize(
    ("model_class", "config", "head"),
    [
        (RobertaForSequenceClassification, RobertaConfig, "classifier.out_proj"),
        (GPT2ForSequenceClassification, GPT2Config, "score"),
    ],
    ids=["in the head", "without bias"],
)
def test_the_last_layer_is_found(tmp_path: Path, encoder: str, model_class: Any, config: Any, head: str) -> None:
    sizes = {"vocab_size": 50, "num_hidden_layers": 1, "num_attention_heads": 1, "pad_token_id": 0}
    hidden = {"n_embd": 3} if config is GPT2Config else {"hidden_size": 3, "intermediate_size": 3}
    own = ["yes", "no", "neutral"]
    before = model_class(config(**sizes, **hidden, id2label=dict(enumerate(own))))
    before.config.label2id = {label: i for i, label in enumerate(own)}
    before.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(encoder).save_pretrained(tmp_path)
    model = load(tmp_path, NLI, AutoModelForSequenceClassification)
    layer, old = model.get_submodule(head), before.get_submodule(head)
    assert torch.equal(layer.weight[1], old.weight[2])
    assert not torch.equal(layer.weight[0], old.weight[0])
    assert (layer.bias is None) == (old.bias is None)


def test_classes_that_are_only_scored_are_never_predicted(tmp_path: Path, encoder: str) -> None:
    before = save(tmp_path, encoder, AutoModelForTokenClassification, ["O", "B-PER", "B-LOC"])
    model = load(tmp_path, ["O", "B-PER"], will_train=False)
    add_unpredicted(model, ["I-PER"])
    assert label_names(model.config) == ["O", "B-PER", "B-LOC", "I-PER"]
    assert torch.equal(scores(model, "B-LOC"), scores(before, "B-LOC"))
    assert scores(model, "I-PER").unique().tolist() == [NEVER]


@pytest.mark.parametrize("options", [[], ["--label_all_tokens"]], ids=str)
def test_a_model_without_inside_tags_is_evaluated(tmp_path: Path, options: list[str]) -> None:
    """On data that has such tags, which it then gets wrong."""
    place = scripts.Workplace(tmp_path)
    own = [label for label in scripts.LABELS if label not in ("I-LOC", "I-ORG")]
    save(tmp_path / "lacking", place.model, AutoModelForTokenClassification, own)
    arguments = place.arguments("out", "--eval_languages", "de", "--do_predict", model=str(tmp_path / "lacking"))
    assert scripts.main(*arguments, *options) == 0
    true = [tags for _, tags in scripts.sentences("de", "test")]
    assert any("I-LOC" in row for row in true)
    predicted = [line.split() for line in place.path("out", "predictions.txt").read_text().splitlines()]
    assert {tag for row in predicted for tag in row} <= {*own}
    scores = place.json("out", "predict_results.json")
    if not options:
        assert scores["predict_de_accuracy"] == pytest.approx(accuracy_score(true, predicted))


def test_an_adapter_is_no_model(tmp_path: Path, encoder: str) -> None:
    peft = pytest.importorskip("peft")
    model = AutoModelForTokenClassification.from_pretrained(encoder)
    peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["query"])).save_pretrained(tmp_path)
    for write in (lambda: None, lambda: AutoConfig.from_pretrained(encoder).save_pretrained(tmp_path)):
        write()
        with pytest.raises(InputError, match=r"is an adapter, as PEFT saves LoRA's, and no model\. Merge it into its"):
            load(tmp_path, OWN)
