"""What all tests of the analyses share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tqdm.auto import tqdm
from transformers import AutoTokenizer

from hf_seqreptile.analysis.masked_language_model import MaskedTexts, mask_texts
from tests.scripts import sentences, write_model

TEXTS = {
    language: [" ".join(words) for split in ("train", "validation", "test") for words, _ in sentences(language, split)]
    for language in ("de", "en", "sw")
}
TEXTS["de"].append("Anna wohnt in Quedlinburg am Harz")
"""With words that the tiny model does not know."""


@pytest.fixture(scope="package", autouse=True)
def cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_SEQREPTILE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An encoder without a head."""
    return write_model(tmp_path_factory.mktemp("start"))


@pytest.fixture(scope="session")
def masked(start: str) -> MaskedTexts:
    return mask_texts(TEXTS, AutoTokenizer.from_pretrained(start))


def no_progress() -> tqdm:
    return tqdm(disable=True)


def encoder_tensors(folder: str) -> dict[str, torch.Tensor]:
    """A checkpoint's tensors under the encoder's own names."""
    tensors = load_file(Path(folder) / "model.safetensors")
    return {name.removeprefix("bert."): tensor for name, tensor in tensors.items()}
