"""What Hugging Face's run_qa.py and run_xnli.py do with the data, for the benchmark beside them.

Written from the scripts' arguments and known behaviour: padding to the maximum length, post-processing in Python.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray
from transformers import EvalPrediction, PreTrainedTokenizerBase

QUESTION_TOKENS, PAIR_TOKENS, TAG_TOKENS, STRIDE, N_BEST, ANSWER_TOKENS = 384, 128, 512, 128, 20, 30

Logits = tuple[NDArray, NDArray]
"""Of the answers' starts and ends, each (features, length)."""


def stock_question_features(
    rows: dict[str, list], tokenizer: PreTrainedTokenizerBase, is_training: bool, padding: str | bool = "max_length"
) -> dict[str, Any]:
    """Windows; for training the answer's first and last token, else what finds its text."""
    encoded = tokenizer(
        [question.lstrip() for question in rows["question"]],
        rows["context"],
        truncation="only_second",
        max_length=QUESTION_TOKENS,
        stride=STRIDE,
        padding=padding,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    examples, offsets = encoded.pop("overflow_to_sample_mapping"), encoded.pop("offset_mapping")
    parts = [encoded.sequence_ids(feature) for feature in range(len(examples))]
    if not is_training:
        encoded["example_id"] = [rows["id"][example] for example in examples]
        encoded["offset_mapping"] = [
            [place if part == 1 else None for place, part in zip(*of_feature, strict=True)]
            for of_feature in zip(offsets, parts, strict=True)
        ]
        return encoded
    positions = []
    for feature, example in enumerate(examples):
        answers = rows["answers"][example]
        start = answers["answer_start"][0]
        span = answer_tokens(offsets[feature], parts[feature], start, start + len(answers["text"][0]))
        cls = encoded["input_ids"][feature].index(tokenizer.cls_token_id)
        positions.append(span or (cls, cls))
    encoded["start_positions"], encoded["end_positions"] = map(list, zip(*positions, strict=True))
    return encoded


def answer_tokens(
    offsets: Sequence[tuple[int, int]], parts: Sequence[int | None], start: int, end: int
) -> tuple[int, int] | None:
    """First and last token of the characters from `start` to `end`; `None` where the window does not have them all."""
    first, last = 0, len(parts) - 1
    while parts[first] != 1:
        first += 1
    while parts[last] != 1:
        last -= 1
    if offsets[first][0] > start or offsets[last][1] < end:
        return None
    while first < len(offsets) and offsets[first][0] <= start:
        first += 1
    while offsets[last][1] >= end:
        last -= 1
    return first - 1, last + 1


def stock_answers(
    logits: Logits, examples: Dataset, features: Sequence[Any]
) -> tuple[dict[str, str], dict[str, list[dict[str, Any]]]]:
    """The answer to each question, and the candidates."""
    features_of = defaultdict(list)
    for number, feature in enumerate(features):
        features_of[feature["example_id"]].append(number)
    answers, candidates = {}, {}
    for example in examples:
        spans: list[dict[str, Any]] = []
        for number in features_of[example["id"]]:
            spans += stock_spans(logits[0][number], logits[1][number], features[number]["offset_mapping"])
        best = sorted(spans, key=lambda span: span["score"], reverse=True)[:N_BEST]
        for span in best:
            start, end = span.pop("offsets")
            span["text"] = example["context"][start:end]
        best = best or [{"text": "empty", "start_logit": 0.0, "end_logit": 0.0, "score": 0.0}]
        scores = np.array([span.pop("score") for span in best])
        weights = np.exp(scores - scores.max())
        for span, probability in zip(best, weights / weights.sum(), strict=True):
            span["probability"] = float(probability)
        answers[example["id"]], candidates[example["id"]] = best[0]["text"], best
    return answers, candidates


def stock_spans(starts: NDArray, ends: NDArray, offsets: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """The pairs of the feature's best starts and ends that are answers: within the context, ordered, short enough."""
    best_starts, best_ends = (np.argsort(logits)[: -N_BEST - 1 : -1].tolist() for logits in (starts, ends))
    for start in best_starts:
        for end in best_ends:
            if start >= len(offsets) or end >= len(offsets) or not offsets[start] or not offsets[end]:
                continue
            if end < start or end - start + 1 > ANSWER_TOKENS:
                continue
            yield {
                "offsets": (offsets[start][0], offsets[end][1]),
                "score": float(starts[start] + ends[end]),
                "start_logit": float(starts[start]),
                "end_logit": float(ends[end]),
            }


def stock_pair_features(
    rows: dict[str, list], tokenizer: PreTrainedTokenizerBase, is_training: bool, padding: str | bool = "max_length"
) -> Any:
    """Pairs of sentences; the label is in the data."""
    return tokenizer(rows["premise"], rows["hypothesis"], max_length=PAIR_TOKENS, padding=padding, truncation=True)


def stock_tag_features(
    rows: dict[str, list],
    tokenizer: PreTrainedTokenizerBase,
    is_training: bool,
    padding: str | bool,
    label2id: dict[str, int],
) -> Any:
    """Sentences of words; the first token of each word has its tag's id."""
    encoded = tokenizer(
        rows["tokens"], truncation=True, max_length=TAG_TOKENS, padding=padding, is_split_into_words=True
    )
    labels = []
    for row, tags in enumerate(rows["ner_tags"]):
        previous, of_row = None, []
        for word in encoded.word_ids(batch_index=row):
            of_row.append(-100 if word is None or word == previous else label2id[tags[word]])
            previous = word
        labels.append(of_row)
    encoded["labels"] = labels
    return encoded


def stock_accuracy(prediction: EvalPrediction) -> dict[str, float]:
    """The share of right labels."""
    return {"accuracy": float((np.argmax(prediction.predictions, axis=1) == prediction.label_ids).mean())}
