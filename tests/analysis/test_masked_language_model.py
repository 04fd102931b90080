"""Masks, losses and distances, against references that go token by token."""

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoTokenizer,
    BertForMaskedLM,
    BertForTokenClassification,
    BertModel,
    set_seed,
)

from hf_seqreptile.analysis.encoders import Encoder, distance, load_encoder
from hf_seqreptile.analysis.masked_language_model import (
    MaskedTexts,
    mask_texts,
    masked_losses,
    model_with_head,
    set_encoder,
)
from hf_seqreptile.errors import InputError
from tests.analysis.conftest import TEXTS, encoder_tensors, no_progress


@pytest.fixture(scope="module")
def start_with_head(tmp_path_factory: pytest.TempPathFactory, start: str) -> str:
    """The same encoder under a masked-language-model head of its own."""
    folder = tmp_path_factory.mktemp("with-head")
    model = BertForMaskedLM.from_pretrained(start)
    with torch.no_grad():
        model.cls.predictions.bias.normal_()
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(start).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, start: str) -> str:
    """A fine-tuned model: the start with noise and another head."""
    folder = tmp_path_factory.mktemp("run")
    set_seed(1)
    model = BertForTokenClassification.from_pretrained(start)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(start).save_pretrained(folder)
    return str(folder)


def test_special_and_unknown_tokens_are_never_masked_and_the_unknown_are_counted(
    start: str, masked: MaskedTexts
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(start)
    ids = {language: [tokenizer(text)["input_ids"] for text in texts] for language, texts in TEXTS.items()}
    for language, batches in masked.batches.items():
        plain = [token for row in ids[language] for token in row if token not in (2, 3)]
        assert masked.unknown[language] == pytest.approx(plain.count(tokenizer.unk_token_id) / len(plain))
        labels = torch.cat([batch["labels"].flatten() for batch in batches])
        assert not set(labels.unique().tolist()) & {*tokenizer.all_special_ids, tokenizer.unk_token_id}
    assert masked.unknown["de"] > 0 == masked.unknown["sw"]
    possible = sum(token not in tokenizer.all_special_ids for rows in ids.values() for row in rows for token in row)
    share = sum(masked.masked.values()) / possible
    assert abs(share - 0.15) < 3 * math.sqrt(0.15 * 0.85 / possible)


def test_masks_depend_on_the_language_s_own_texts_alone(start: str, masked: MaskedTexts) -> None:
    again = mask_texts({"sw": TEXTS["sw"]}, AutoTokenizer.from_pretrained(start))
    for one, other in zip(masked.batches["sw"], again.batches["sw"], strict=True):
        assert torch.equal(one["input_ids"], other["input_ids"]) and torch.equal(one["labels"], other["labels"])


def naive_losses(model: torch.nn.Module, texts: MaskedTexts) -> dict[str, float]:
    """Sentence by sentence without padding, masked token by masked token."""
    losses = {}
    for language, batches in texts.batches.items():
        found = []
        for batch in batches:
            for ids, attended, labels in zip(
                batch["input_ids"], batch["attention_mask"], batch["labels"], strict=True
            ):
                length = int(attended.sum())
                with torch.no_grad():
                    logits = model(input_ids=ids[None, :length]).logits[0]
                for place in range(length):
                    if labels[place] != -100:
                        found.append(-logits[place].double().log_softmax(-1)[labels[place]].item())
        losses[language] = sum(found) / len(found)
    return losses


def test_the_loss_is_that_of_the_base_model_s_head_on_the_run_s_encoder(
    start_with_head: str, run: str, masked: MaskedTexts
) -> None:
    model, is_own = model_with_head(load_encoder(start_with_head))
    assert is_own
    reference = BertForMaskedLM.from_pretrained(start_with_head).eval()
    assert masked_losses(model, masked, no_progress()) == pytest.approx(naive_losses(reference, masked), rel=1e-5)

    of_start = masked_losses(model, masked, no_progress())
    set_encoder(model, load_encoder(run))
    for name, tensor in encoder_tensors(run).items():
        if not name.startswith("classifier"):
            reference.bert.get_parameter(name).data = tensor.clone()
    reference.cls.predictions.decoder.weight = reference.bert.embeddings.word_embeddings.weight
    losses = masked_losses(model, masked, no_progress())
    assert losses == pytest.approx(naive_losses(reference, masked), rel=1e-5)
    assert any(abs(losses[language] - of_start[language]) > 1e-3 for language in losses)


def naive_distance(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> float:
    total = 0.0
    for name in one.keys() & other.keys():
        for a, b in zip(one[name].flatten().tolist(), other[name].flatten().tolist(), strict=True):
            total += (a - b) ** 2
    return math.sqrt(total)


def test_the_distance_is_over_the_encoder_s_weights_that_both_have(start: str, run: str) -> None:
    value, weights = distance(load_encoder(run), load_encoder(start))
    tensors = encoder_tensors(run)
    assert value == pytest.approx(naive_distance(tensors, encoder_tensors(start)), rel=1e-6)
    # The run's head is new, and the start's pooler is not in a model for tokens.
    assert weights == sum(t.numel() for name, t in tensors.items() if not name.startswith("classifier"))
    assert distance(load_encoder(start), load_encoder(start)) == (
        0.0,
        sum(p.numel() for p in BertModel.from_pretrained(start).parameters()),
    )


def trimmed(folder: Path, start: str, dropped: set[str]) -> Encoder:
    """The encoder without some tokens, the others at new places, its embeddings moved by 1."""
    tokenizer, model = AutoTokenizer.from_pretrained(start), BertModel.from_pretrained(start)
    tokens = [token for token in sorted(tokenizer.get_vocab()) if token not in dropped]
    rows = [tokenizer.convert_tokens_to_ids(token) for token in tokens]
    table = model.get_input_embeddings().weight.detach().clone()
    model.resize_token_embeddings(len(tokens))
    model.get_input_embeddings().weight.data = table[rows] + 1.0
    model.save_pretrained(folder)
    type(tokenizer)(vocab={token: i for i, token in enumerate(tokens)}, do_lower_case=False).save_pretrained(folder)
    return load_encoder(str(folder))


def test_a_trimmed_vocabulary_is_compared_row_by_row(tmp_path: Path, start: str) -> None:
    whole = load_encoder(start)
    small = trimmed(tmp_path, start, dropped={"Anna", "in"})
    value, _ = distance(small, whole.with_vocabulary_of(small))
    table = small.weights[small.embeddings]
    assert value == pytest.approx(math.sqrt(table.numel()), rel=1e-6)
    model, is_own = model_with_head(whole.with_vocabulary_of(small))
    assert not is_own and model.config.vocab_size == len(table) == len(whole.vocabulary) - 2
    with pytest.raises(InputError, match=r"their vocabularies differ\. Give another --base_model"):
        small.with_vocabulary_of(whole)


def test_another_architecture_is_no_start(tmp_path: Path, start: str, run: str) -> None:
    config = json.loads((Path(start) / "config.json").read_text(encoding="utf-8"))
    larger = BertModel.config_class(**(config | {"hidden_size": 32}))
    BertModel(larger).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(start).save_pretrained(tmp_path)
    other = load_encoder(str(tmp_path))
    with pytest.raises(InputError, match="differ in shape"):
        distance(load_encoder(run), other)
    with pytest.raises(InputError, match="other shapes"):
        set_encoder(model_with_head(other)[0], load_encoder(run))


def test_a_model_that_cannot_be_read_is_named(tmp_path: Path, run: str) -> None:
    shutil.copytree(run, tmp_path / "cut")
    weights = tmp_path / "cut/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"cut cannot be loaded"):
        load_encoder(str(tmp_path / "cut"))
    with pytest.raises(InputError, match=r"/no/such/folder cannot be loaded.*--base_model"):
        load_encoder("/no/such/folder")
