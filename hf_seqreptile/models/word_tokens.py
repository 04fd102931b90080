"""Tokenizers that cut words as they cut the sentence: tags are trained on words, and a pipeline sees sentences."""

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase, PreTrainedTokenizerFast

logger = logging.getLogger(__name__)

TRIED = (
    ("Rais", "wa", "Kenya", ",", "1997"),
    ("Президент", "Кении"),
    ("رئيس", "كينيا"),
    ("केन्या", "के", "राष्ट्रपति"),
    ("肯尼亚", "总统"),
)
"""Sentences of several scripts, which tokenizers cut in different ways."""
TOKENIZER_FILE = "tokenizer.json"


def takes_words(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether words, given one by one, become the tokens of the sentence that they make with spaces between them."""
    return all(
        tokenizer(list(words), is_split_into_words=True)["input_ids"] == tokenizer(" ".join(words))["input_ids"]
        for words in TRIED
    )


def load_for_words(
    load: Callable[..., PreTrainedTokenizerBase], config: PreTrainedConfig, **options: Any
) -> PreTrainedTokenizerBase | None:
    """A tokenizer that takes words, as does what `save_pretrained` leaves of it; `None` where there is none.

    One that glues words together, as byte-level BPE does whose vocabulary has words with the space before them, is
    loaded with `add_prefix_space`. Where transformers ignores that, it is changed to put a space before each text.

    Args:
        load: gives the tokenizer, with more options for `from_pretrained`.
        config: of its model.
        options: for loading the saved tokenizer, such as `trust_remote_code`.
    """
    tokenizer = load()
    if not tokenizer.is_fast or takes_words(tokenizer):
        return tokenizer
    for candidate in _mended(load, config, options):
        if takes_words(candidate) and takes_words(_saved_and_loaded(candidate, config, options)):
            logger.warning(
                "The tokenizer of %s cuts the first word of a text otherwise than words after a space. Now it puts a "
                "space before every text, here and in the saved folder.", tokenizer.name_or_path,
            )  # fmt: skip
            return candidate
    return None


def _mended(
    load: Callable[..., PreTrainedTokenizerBase], config: PreTrainedConfig, options: dict[str, Any]
) -> Iterator[PreTrainedTokenizerBase]:
    yield load(add_prefix_space=True)
    tokenizer = load()
    with TemporaryDirectory() as folder:
        _save(tokenizer, config, folder)
        file = Path(folder) / TOKENIZER_FILE
        file.write_text(json.dumps(_with_space_first(json.loads(file.read_text("utf-8")))), encoding="utf-8")
        # Some classes build their tokenizer anew, and pass over what the file says of spaces.
        for tokenizer_class in (AutoTokenizer, PreTrainedTokenizerFast):
            mended = tokenizer_class.from_pretrained(folder, **options)
            mended.name_or_path = tokenizer.name_or_path
            yield mended


def _with_space_first(tokenizer: dict[str, Any]) -> dict[str, Any]:
    """The JSON of a tokenizer that puts one space before each text, as if it stood there."""
    own = [tokenizer["normalizer"]] if tokenizer.get("normalizer") else []
    first = [{"type": "Strip", "strip_left": True, "strip_right": False}, {"type": "Prepend", "prepend": " "}]
    tokenizer["normalizer"] = {"type": "Sequence", "normalizers": [*first, *own]}
    _expect_space(tokenizer.get("post_processor"))
    return tokenizer


def _expect_space(processor: dict[str, Any] | None) -> None:
    """Have the processors that leave spaces out of a token's characters know that the first one is not of the text."""
    if processor is None:
        return
    if "trim_offsets" in processor:
        processor["add_prefix_space"] = True
    for part in processor.get("processors", ()):
        _expect_space(part)


def _saved_and_loaded(
    tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig, options: dict[str, Any]
) -> PreTrainedTokenizerBase:
    with TemporaryDirectory() as folder:
        _save(tokenizer, config, folder)
        return AutoTokenizer.from_pretrained(folder, **options)


def _save(tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig, folder: str) -> None:
    # The type of the model chooses the tokenizer's class.
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
