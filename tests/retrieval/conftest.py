"""What the tests of retrieval share."""

import pytest

from tests.scripts import sentences, write_model

ENGLISH = [" ".join(words) for words, _ in (*sentences("en"), *sentences("en", "test"))]
GERMAN = [" ".join(words) for split in ("train", "test") for words, _ in sentences("de", split)][: len(ENGLISH)]


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_model(tmp_path_factory.mktemp("model"))
