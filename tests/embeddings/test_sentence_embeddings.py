"""Vectors after any layers and with either pooling; what is true of all vectors is tested with the clusters."""

from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import AutoTokenizer, BertConfig, BertModel, PreTrainedModel, PreTrainedTokenizerBase

from hf_seqreptile.embeddings import sentence_embeddings
from hf_seqreptile.embeddings.sentence_embeddings import SentenceEncoder
from tests.scripts import sentences, write_model

TEXTS = [" ".join(words) for language in ("de", "en") for words, _ in sentences(language)]
ROWS = Dataset.from_dict({"text": TEXTS})


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """With three blocks."""
    folder = write_model(tmp_path_factory.mktemp("model"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig.from_pretrained(folder, num_hidden_layers=3)
    return BertModel(config).eval(), tokenizer


def one_by_one(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, layer: int, pooling: str) -> np.ndarray:
    vectors = []
    for text in TEXTS:
        with torch.no_grad():
            states = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states[layer][0]
        vectors.append((states[0] if pooling == "cls" else states.mean(dim=0)).numpy())
    return np.stack(vectors)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_several_layers_in_one_pass_are_those_of_each_alone(
    loaded: tuple[PreTrainedModel, PreTrainedTokenizerBase],
    pooling: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sentence_embeddings.TOKENS_AT_ONCE, "cpu", 64)
    layers = [2, 0, 3]
    found = SentenceEncoder(*loaded, ["text"], 64, layers, pooling).embed(ROWS, tmp_path).array
    size = loaded[0].config.hidden_size
    assert found.shape == (len(TEXTS), 3 * size)
    for place, layer in enumerate(layers):
        expected = one_by_one(*loaded, layer, pooling)
        np.testing.assert_allclose(found[:, place * size : (place + 1) * size], expected, rtol=0, atol=1e-5)
    last = SentenceEncoder(*loaded, ["text"], 64, None, pooling).embed(ROWS, tmp_path / "last").array
    np.testing.assert_allclose(last, found[:, 2 * size :], rtol=0, atol=1e-6)


def test_vectors_of_another_layer_or_pooling_are_not_taken_for_these(
    loaded: tuple[PreTrainedModel, PreTrainedTokenizerBase], tmp_path: Path
) -> None:
    keys = {
        SentenceEncoder(*loaded, ["text"], 64, layers, pooling).key(ROWS)
        for layers in ([1], [2], [1, 2], [2, 1])
        for pooling in ("mean", "cls")
    }
    assert len(keys) == 8
    one, other = (SentenceEncoder(*loaded, ["text"], 64, [layer]) for layer in (1, 2))
    first = np.array(one.embed(ROWS, tmp_path).array)
    assert other.embed(ROWS, tmp_path).encoded == len(TEXTS)
    assert not np.allclose(first, other.embed(ROWS, tmp_path).array)
    assert other.embed(ROWS, tmp_path).encoded == 0
