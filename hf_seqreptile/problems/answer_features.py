"""From the windows of contexts to features: what a model learns from them, and what finds its answers in them."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
from datasets import Features, List, Value
from numpy.typing import NDArray
from transformers import BatchEncoding, PreTrainedTokenizerBase

from ..feature_columns import WINDOWS_OF
from .context_windows import Windows


def answer_positions(
    windows: Sequence[NDArray[np.integer]], start: int, end: int, null_positions: Sequence[int]
) -> list[tuple[int, int]]:
    """First and last token of an answer in each window of its context; the null position where it is not in there.

    Args:
        windows: the offsets of each window's tokens, all windows of one context.
        start: the answer's first character.
        end: the character after its last one.
        null_positions: what stands for "no answer" in each window.

    Returns:
        The fewest tokens that hold the answer's characters.
    """
    touched = [
        np.flatnonzero((offsets[:, 0] < offsets[:, 1]) & (offsets[:, 0] < end) & (offsets[:, 1] > start))
        for offsets in windows
    ]
    spans = [
        (int(offsets[tokens[0], 0]), int(offsets[tokens[-1], 1])) if len(tokens) else None
        for offsets, tokens in zip(windows, touched, strict=True)
    ]
    # A window holds the whole answer if no other one has more of it. The answer's own characters are no measure, since
    # tokenizers drop some of them, such as spaces at its ends.
    found = [span for span in spans if span]
    whole = (min(start for start, _ in found), max(end for _, end in found)) if found else ()
    return [
        (int(tokens[0]), int(tokens[-1])) if span == whole else (null, null)
        for tokens, span, null in zip(touched, spans, null_positions, strict=True)
    ]


def training_features(rows: dict[str, list], indices: list[int], windows: Windows) -> dict[str, list]:
    """Features with the positions of each question's first answer, in the window's tokens."""
    encoding = windows.encode(rows["question"], rows["context"])
    nulls = [windows.null_position(ids) for ids in encoding["input_ids"]]
    positions: list[tuple[int, int]] = []
    for example, features in _features_of(encoding):
        answers, context = rows["answers"][example], rows["context"][example]
        own_nulls = [nulls[feature] for feature in features]
        if not answers["text"]:
            positions += [(null, null) for null in own_nulls]
            continue
        start = answers["answer_start"][0]
        offsets = windows.offsets(encoding, features, context)
        positions += answer_positions(offsets, start, start + len(answers["text"][0]), own_nulls)
    starts, ends = zip(*positions, strict=True)
    return _inputs(encoding, indices) | {"start_positions": list(starts), "end_positions": list(ends)}


def evaluation_features(rows: dict[str, list], indices: list[int], windows: Windows) -> dict[str, list]:
    """Features with all that finds an answer's text, and scores it, when the logits are there."""
    encoding = windows.encode(rows["question"], rows["context"])
    columns: dict[str, list] = {name: [] for name in ("offset_starts", "offset_ends", *rows)}
    for example, features in _features_of(encoding):
        for offsets in windows.offsets(encoding, features, rows["context"][example]):
            columns["offset_starts"].append(offsets[:, 0])
            columns["offset_ends"].append(offsets[:, 1])
            for name, values in rows.items():
                columns[name].append(values[example])
    del columns["question"]
    nulls = [windows.null_position(ids) for ids in encoding["input_ids"]]
    return _inputs(encoding, indices) | columns | {"null_position": nulls}


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


def _features_of(encoding: BatchEncoding) -> Iterator[tuple[int, list[int]]]:
    """Each pair's number, and the numbers of its features."""
    features = enumerate(encoding[WINDOWS_OF])
    for example, group in groupby(features, key=itemgetter(1)):
        yield example, [feature for feature, _ in group]
