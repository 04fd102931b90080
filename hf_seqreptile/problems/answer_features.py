"""From the windows of contexts to features: what a model learns from them, and what finds its answers in them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Features, List, Value
from transformers import BatchEncoding, PreTrainedTokenizerBase

from ..feature_columns import WINDOWS_OF
from .context_windows import Windows


def answer_positions(
    windows: Sequence[Any],
    examples: Sequence[int],
    characters: Sequence[Sequence[int]],
    context_part: int,
    null_positions: Sequence[int],
) -> list[tuple[int, int]]:
    """First and last token of an answer in each window of its context; the null position where it is not in there.

    Args:
        windows: the tokenizer's `Encoding` of each.
        examples: the number of each window's example.
        characters: those of each example's answer, as their numbers in the context, without white space.
        context_part: which sequence of a window is the context, 0 or 1.
        null_positions: what stands for "no answer" in each window.

    Returns:
        The fewest tokens that hold the answer's characters.
    """
    parts = [
        _part_of_answer(window, context_part, characters[example])
        for window, example in zip(windows, examples, strict=True)
    ]
    # A window holds the whole answer if no other one has more of it. The answer's own characters are no measure, since
    # tokenizers drop some of them.
    whole: dict[int, tuple[int, int]] = {}
    for example, part in zip(examples, parts, strict=True):
        if part:
            start, end = whole.get(example, part[1])
            whole[example] = min(start, part[1][0]), max(end, part[1][1])
    return [
        part[0] if part and part[1] == whole[example] else (null, null)
        for part, example, null in zip(parts, examples, null_positions, strict=True)
    ]


def _part_of_answer(
    window: Any, context_part: int, characters: Sequence[int]
) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """First and last token of those of the characters that a window has, and where their text starts and ends."""
    places = [(window.char_to_token(character, context_part), character) for character in characters]
    found = [(token, character) for token, character in places if token is not None]
    if not found:
        return None
    first, _ = min(found)
    last, character = max(found)
    # A character may have several tokens, of its bytes, of which this is the first.
    while window.token_to_sequence(last + 1) == context_part and character in range(*window.token_to_chars(last + 1)):
        last += 1
    return (first, last), (window.token_to_chars(first)[0], window.token_to_chars(last)[1])


def training_features(rows: dict[str, list], indices: list[int], windows: Windows) -> dict[str, Any]:
    """Features with the positions of each question's first answer, in the window's tokens."""
    encoding = windows.encode(rows["question"], rows["context"], with_offsets=False)
    characters = []
    for context, answers in zip(rows["context"], rows["answers"], strict=True):
        start = answers["answer_start"][0] if answers["text"] else 0
        end = start + len(answers["text"][0]) if answers["text"] else 0
        characters.append([place for place in range(start, end) if not context[place].isspace()])
    positions = answer_positions(
        encoding.encodings or (), encoding[WINDOWS_OF], characters, windows.context_part, _nulls(encoding, windows)
    )
    starts, ends = zip(*positions, strict=True)
    return _inputs(encoding, indices) | {"start_positions": list(starts), "end_positions": list(ends)}


def evaluation_features(rows: dict[str, list], indices: list[int], windows: Windows) -> dict[str, Any]:
    """Features with all that finds an answer's text, and scores it, when the logits are there."""
    encoding = windows.encode(rows["question"], rows["context"])
    offsets = windows.offsets(encoding, rows["context"])
    columns: dict[str, Any] = {
        name: [values[example] for example in encoding[WINDOWS_OF]]
        for name, values in rows.items()
        if name != "question"
    }
    bounds = np.cumsum([0, *map(len, offsets)])
    starts, ends = np.concatenate(offsets).T
    columns["offset_starts"] = pa.ListArray.from_arrays(bounds, starts)
    columns["offset_ends"] = pa.ListArray.from_arrays(bounds, ends)
    return _inputs(encoding, indices) | columns | {"null_position": _nulls(encoding, windows)}


def feature_schema(tokenizer: PreTrainedTokenizerBase, columns: Mapping[str, Any]) -> Features:
    """The types of what the tokenizer gives, of the example's number, and of `columns`."""
    types = {"input_ids": "int32", "attention_mask": "int8", "token_type_ids": "int8"}
    inputs = {name: List(Value(types[name])) for name in types if name in tokenizer.model_input_names}
    return Features(inputs | {WINDOWS_OF: Value("int32")} | dict(columns))


TRAINING_COLUMNS = {"start_positions": Value("int32"), "end_positions": Value("int32")}
EVALUATION_COLUMNS = {
    "offset_starts": List(Value("int32")),
    "offset_ends": List(Value("int32")),
    "null_position": Value("int32"),
    "task": Value("string"),
    "id": Value("string"),
    "context": Value("string"),
}
ANSWERS = {"text": List(Value("string")), "answer_start": List(Value("int32"))}


def _inputs(encoding: BatchEncoding, indices: list[int]) -> dict[str, list]:
    inputs = {name: values for name, values in encoding.items() if name != "offset_mapping"}
    return inputs | {WINDOWS_OF: [indices[example] for example in encoding[WINDOWS_OF]]}


def _nulls(encoding: BatchEncoding, windows: Windows) -> list[int]:
    return [windows.null_position(ids) for ids in encoding["input_ids"]]
