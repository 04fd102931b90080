"""What the tests of `hf_seqreptile.data` share."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import pytest

from hf_seqreptile.data import DataArguments, load_tasks
from hf_seqreptile.errors import InputError


class Words(DataArguments):
    """Words with tags, as NER has them."""

    problem = "ner"
    list_columns = ("tokens", "ner_tags")


Loaded = dict[str, dict[str, datasets.Dataset]]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Loaded]:
    """`load_tasks` with a cache of its own; arguments by name, of the class `kind`, and `splits`."""

    def call(splits: Sequence[str] = ("train",), kind: type[DataArguments] = Words, **arguments: Any) -> Loaded:
        return load_tasks(kind(**arguments), splits, cache_dir=str(tmp_path / "cache"))

    return call


@pytest.fixture
def refusal(load: Callable[..., Loaded]) -> Callable[..., str]:
    """The message with which `load_tasks` refuses its arguments."""

    def call(**arguments: Any) -> str:
        with pytest.raises(InputError) as caught:
            load(**arguments)
        return str(caught.value)

    return call


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], str]:
    """Write a file under a folder `data` and return its path."""

    def call(name: str, content: str | bytes) -> str:
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return call
