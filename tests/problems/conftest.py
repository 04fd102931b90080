"""What all tests of problems share."""

from collections.abc import Iterator

import datasets
import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from tests import scripts


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return scripts.write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def tokenizer(model_folder: str) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(model_folder)
