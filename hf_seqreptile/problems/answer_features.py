"""From the windows of contexts to features: what a model learns from them, and what finds its answers in them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from datasets import Features, List, Value
from numpy.typing import NDArray
from transformers import BatchEncoding, PreTrainedTokenizerBase

from ..feature_columns import WINDOWS_OF
from .context_windows import Windows


def answer_positions(
    offsets: Sequence[NDArray[np.integer]],
    examples: Sequence[int],
    answers: NDArray[np.integer],
    null_positions: Sequence[int],
) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """First and last token of an answer in each window of its context; the null position where it is not in there.

    Args:
        offsets: of each window's tokens.
        examples: the number of each window's example; those of an example are neighbours.
        answers: the first character of each example's answer and the one after its last, (examples, 2); both 0 where
            there is none.
        null_positions: what stands for "no answer" in each window.

    Returns:
        The fewest tokens that hold the answer's characters; both (windows,).
    """
    bounds = np.cumsum([0, *map(len, offsets)])
    windows = np.repeat(np.arange(len(offsets)), np.diff(bounds))
    starts, ends = np.concatenate(offsets).T
    answer_starts, answer_ends = answers[examples][windows].T
    touched = np.flatnonzero((starts < ends) & (starts < answer_ends) & (ends > answer_starts))
    found, first, number = np.unique(windows[touched], return_index=True, return_counts=True)
    first, last = touched[first], touched[first + number - 1]
    # A window holds the whole answer if no other one has more of it. The answer's own characters are no measure, since
    # tokenizers drop some of them, such as spaces at its ends.
    example = np.asarray(examples)[found]
    whole_start, whole_end = answers[:, 1].copy(), answers[:, 0].copy()
    np.minimum.at(whole_start, example, starts[first])
    np.maximum.at(whole_end, example, ends[last])
    holds = (starts[first] == whole_start[example]) & (ends[last] == whole_end[example])
    positions = np.array([null_positions, null_positions])
    positions[:, found[holds]] = np.stack([first, last])[:, holds] - bounds[found[holds]]
    return positions[0], positions[1]


def training_features(rows: dict[str, list], indices: list[int], windows: Windows) -> dict[str, list]:
    """Features with the positions of each question's first answer, in the window's tokens."""
    encoding = windows.encode(rows["question"], rows["context"])
    answers = [
        (own["answer_start"][0], own["answer_start"][0] + len(own["text"][0])) if own["text"] else (0, 0)
        for own in rows["answers"]
    ]
    starts, ends = answer_positions(
        windows.offsets(encoding, rows["context"]), encoding[WINDOWS_OF], np.array(answers), _nulls(encoding, windows)
    )
    return _inputs(encoding, indices) | {"start_positions": starts.tolist(), "end_positions": ends.tolist()}


def evaluation_features(rows: dict[str, list], indices: list[int], windows: Windows) -> dict[str, list]:
    """Features with all that finds an answer's text, and scores it, when the logits are there."""
    encoding = windows.encode(rows["question"], rows["context"])
    offsets = windows.offsets(encoding, rows["context"])
    columns: dict[str, list] = {
        name: [values[example] for example in encoding[WINDOWS_OF]]
        for name, values in rows.items()
        if name != "question"
    }
    columns["offset_starts"] = [of_window[:, 0] for of_window in offsets]
    columns["offset_ends"] = [of_window[:, 1] for of_window in offsets]
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
