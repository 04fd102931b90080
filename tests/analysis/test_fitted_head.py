"""A head that the base model lacks: fitted on a frozen encoder, and kept."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoTokenizer,
    DistilBertConfig,
    DistilBertForMaskedLM,
    PreTrainedTokenizerBase,
)

from hf_seqreptile.analysis import fitted_head
from hf_seqreptile.analysis.encoders import Encoder, load_encoder
from hf_seqreptile.analysis.fitted_head import HEADS, fit_head, fit_head_once
from hf_seqreptile.analysis.masked_language_model import MaskedTexts, masked_losses, model_with_head
from hf_seqreptile.errors import InputError
from tests.analysis.conftest import TEXTS, encoder_tensors, no_progress


def test_a_missing_head_is_fitted_on_a_frozen_encoder_the_same_each_time(start: str, masked: MaskedTexts) -> None:
    tokenizer, ends = AutoTokenizer.from_pretrained(start), []
    for _ in range(2):
        model, is_own = model_with_head(load_encoder(start))
        assert not is_own
        before = masked_losses(model, masked, no_progress())
        fit_head(model, TEXTS, tokenizer)
        ends.append(masked_losses(model, masked, no_progress()))
        assert all(ends[-1][language] < before[language] for language in before)
    assert ends[0] == ends[1]
    saved = encoder_tensors(start)
    for name, parameter in model.base_model.named_parameters():
        assert torch.equal(parameter, saved[name]), name


def test_a_head_of_several_parts_is_refused(tmp_path: Path, start: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(start)
    model = DistilBertForMaskedLM(DistilBertConfig(vocab_size=len(tokenizer), dim=16, n_layers=1, n_heads=2))
    with pytest.raises(InputError, match="no head can be fitted for a DistilBertForMaskedLM"):
        fit_head(model, TEXTS, tokenizer)


class Fits:
    """Counts the fits that a call of `fit_head_once` takes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
        self.count = 0
        monkeypatch.setenv("HF_SEQREPTILE_CACHE", str(cache))
        monkeypatch.setattr(fitted_head, "fit_head", self._fit)

    def _fit(self, *args: object) -> None:
        self.count += 1
        fit_head(*args)

    def head(
        self, start: Encoder, tokenizer: PreTrainedTokenizerBase, texts: Mapping[str, list[str]] = TEXTS
    ) -> dict[str, torch.Tensor]:
        """The model's weights afterwards."""
        model, _ = model_with_head(start)
        fit_head_once(model, texts, tokenizer)
        return {name: p.detach().clone() for name, p in model.named_parameters()}


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Fits:
    return Fits(monkeypatch, tmp_path / "cache")


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_head_is_fitted_once_for_a_model_and_texts(fits: Fits, start: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(start)
    first = fits.head(load_encoder(start), tokenizer)
    assert fits.count == 1
    assert_same(fits.head(load_encoder(start), AutoTokenizer.from_pretrained(start)), first)
    assert fits.count == 1


def test_another_encoder_or_other_texts_have_another_head(fits: Fits, start: str) -> None:
    encoder, tokenizer = load_encoder(start), AutoTokenizer.from_pretrained(start)
    fits.head(encoder, tokenizer)
    name = "encoder.layer.0.output.dense.bias"
    moved = encoder.weights[name].clone()
    moved[0] += 1e-6
    fits.head(replace(encoder, weights={**encoder.weights, name: moved}), tokenizer)
    fits.head(encoder, tokenizer, {"de": TEXTS["de"][1:]})
    assert fits.count == 3


@pytest.mark.parametrize("damage", [b"", b"not safetensors", None], ids=["empty", "damaged", "cut"])
def test_a_damaged_head_is_fitted_anew(fits: Fits, start: str, tmp_path: Path, damage: bytes | None) -> None:
    encoder, tokenizer = load_encoder(start), AutoTokenizer.from_pretrained(start)
    first = fits.head(encoder, tokenizer)
    (kept,) = (tmp_path / "cache" / HEADS).glob("*.safetensors")
    kept.write_bytes(kept.read_bytes()[:-1] if damage is None else damage)
    assert_same(fits.head(encoder, tokenizer), first)
    assert fits.count == 2
    assert_same(fits.head(encoder, tokenizer), first)
    assert fits.count == 2


def test_a_cache_that_cannot_be_written_costs_a_warning_and_nothing_else(
    fits: Fits, start: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be", encoding="utf-8")
    encoder, tokenizer = load_encoder(start), AutoTokenizer.from_pretrained(start)
    with caplog.at_level(logging.WARNING):
        heads = [fits.head(encoder, tokenizer) for _ in range(2)]
    assert_same(*heads)
    assert fits.count == 2 and caplog.text.count("HF_SEQREPTILE_CACHE names another folder") == 2
