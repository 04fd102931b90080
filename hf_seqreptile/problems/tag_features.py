"""Sentences and their words' tags as a model's inputs and labels."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from transformers import PreTrainedTokenizerBase

from ..data.tags import OUTSIDE, entity_spans, in_scheme, position_and_type, to_iob2
from ..data.text import shown
from ..errors import InputError
from ..feature_columns import feature_table
from .labels import mend_of_unknown, misspelled, same_but_for_case
from .problem import IS_CUT

IGNORED = -100
TRUE_TAGS = "true_tags"
"""The column of the tags of all words that have a label, where the model does not know some of their types."""
TASK = "task"
"""The column of the task's name, where tags have other names in single tasks."""
TAG_PLACES = "tag_places"
"""The column that tells, for each word, which of the sentence's labels is its own, counted from 0; -1 if none is."""
LOST = "lost"
"""The column of the numbers of entities, or where tags have no scheme of words, that lie behind the cut as a whole."""


def encode_rows(
    rows: dict[str, list],
    indices: list[int],
    tokenizer: PreTrainedTokenizerBase,
    columns: tuple[str, str | None],
    names: list[str] | None,
    schemes: tuple[str, str],
    renamed: Mapping[str, str],
    beside: Sequence[str],
    task: str | None,
    label2id: dict[str, int],
    where: str,
    max_length: int,
    padding: str | bool,
    all_subwords: bool,
    for_training: bool,
) -> pa.Table | Mapping[str, Sequence[Any]]:
    """What the model takes, and `labels`, of a batch of sentences; the first subword of a word has its tag's id.

    Beside these there are `tag_places`, `is_cut` and `lost`, which are no inputs of the model.

    Args:
        rows: the sentences by column.
        indices: their numbers in the data, from 0.
        tokenizer: cuts words into subwords.
        columns: of words and of tags; without tags, there are no `labels`, and `tag_places` are those of subwords.
        names: the tags' names, where they are numbers.
        schemes: that the tags are written in, and that the labels are in.
        renamed: other names of types.
        beside: types for which the model has no labels: `true_tags` has them, and their label is that of `O`.
        task: its name, if it is needed.
        label2id: of the model.
        where: task and split, for messages.
        max_length: subwords after which a sentence is cut.
        padding: as the tokenizer takes it.
        all_subwords: a word's further subwords have a label too, `I-` where the word's is `B-`.
        for_training: leave out sentences without a label.

    Raises:
        InputError: an unknown tag, words and tags of unequal number, or an empty value; names the row.
    """
    text = rows[columns[0]]
    if columns[1] is None:
        return feature_table(_words_alone(text, tokenizer, where, indices, max_length, padding, task))
    tags = rows[columns[1]]
    for i, (words, row_tags) in enumerate(zip(text, tags, strict=True)):
        if words is None or row_tags is None or None in words or None in row_tags:
            raise InputError(f"{where}, row {indices[i] + 1}: an empty value (null); fill it in or delete the row.")
    features = tokenizer(text, truncation=True, max_length=max_length, padding=padding, is_split_into_words=True)
    own: dict[str, list] = {"labels": [], TAG_PLACES: [], IS_CUT: [], LOST: []}
    true_tags = []
    outside = label2id.get(OUTSIDE, 0)
    known = {*label2id}
    for i, (words, row_tags, encoding) in enumerate(zip(text, tags, features.encodings, strict=True)):
        if len(words) != len(row_tags):
            what = f"{len(words)} words but {len(row_tags)} tags; give each word one tag."
            raise _wrong_row(where, indices[i], words, what)
        # A ClassLabel's -1 means that the tag was left out.
        spelled = [names[tag] if tag >= 0 else "-1" for tag in row_tags] if names else row_tags
        learnt = in_scheme(spelled, *schemes, renamed)
        if not known.issuperset(learnt):
            for tag, label in zip(spelled, learnt, strict=True):
                if label not in label2id and position_and_type(label, schemes[1])[1] not in beside:
                    raise _wrong_row(where, indices[i], words, _of_unknown(tag, label, label2id, for_training))
        first = [label2id.get(label, outside) for label in learnt]
        further = _further(learnt, schemes[1], label2id) if all_subwords else None
        labels, places = _of_subwords(encoding.word_ids, first, further)
        if beside:
            true_tags.append([label for label, place in zip(learnt, places, strict=True) if place >= 0])
        is_cut = bool(encoding.overflowing)
        lost = _lost(learnt, places, schemes[1]) if is_cut else 0
        for name, value in zip(own, (labels, places, is_cut, lost), strict=True):
            own[name].append(value)
    features = {name: list(values) for name, values in features.items()} | own
    if beside:
        features[TRUE_TAGS] = true_tags
    if task is not None:
        features[TASK] = [task] * len(text)
    if for_training and (empty := {i for i, row in enumerate(own["labels"]) if {*row} <= {IGNORED}}):
        kept = [i for i in range(len(text)) if i not in empty]
        features = {name: [values[i] for i in kept] for name, values in features.items()}
    return feature_table(features)


def _words_alone(
    text: list[list[str]],
    tokenizer: PreTrainedTokenizerBase,
    where: str,
    indices: list[int],
    max_length: int,
    padding: str | bool,
    task: str | None,
) -> dict[str, list]:
    for row, words in enumerate(text):
        if words is None or None in words:
            raise InputError(f"{where}, row {indices[row] + 1}: an empty value (null); fill it in or delete the row.")
    features = tokenizer(text, truncation=True, max_length=max_length, padding=padding, is_split_into_words=True)
    places = []
    for row, words in enumerate(text):
        own = features.word_ids(row)
        first = {word: place for place, word in reversed([*enumerate(own)]) if word is not None}
        places.append([first.get(word, -1) for word in range(len(words))])
    is_cut = [bool(encoding.overflowing) for encoding in features.encodings or ()]
    inputs = {name: list(values) for name, values in features.items()}
    of_task = {TASK: [task] * len(text)} if task is not None else {}
    return inputs | {TAG_PLACES: places, IS_CUT: is_cut, LOST: [0] * len(text)} | of_task


def _wrong_row(where: str, index: int, words: Sequence[str], what: str) -> InputError:
    return InputError(f"{where}, row {index + 1} ({shown(' '.join(words))}): {what}")


def _further(labels: Sequence[str], scheme: str, label2id: dict[str, int]) -> list[int]:
    """The label ids of each word's subwords behind the first."""
    if scheme == "iob2":
        # A model may lack the `I-` of a type.
        return [label2id.get(f"I{label[1:]}" if label[0] == "B" else label, label2id[label]) for label in labels]
    return [label2id[label] for label in labels]


def _of_unknown(tag: str, label: str, known: dict[str, int], for_training: bool) -> str:
    if other := same_but_for_case(label, known):
        return misspelled(label, other)
    as_label = f" ({label!r} as a label)" if label != tag else ""
    return f"unknown label {tag!r}{as_label}; the model knows {', '.join(known)}. {mend_of_unknown(for_training)}"


def _of_subwords(
    word_ids: Sequence[int | None], first: Sequence[int], further: Sequence[int] | None
) -> tuple[list[int], list[int]]:
    """The label of each subword, and the place of each word's first one among those that are not ignored."""
    labels = [IGNORED] * len(word_ids)
    places = [-1] * len(first)
    labelled = 0
    before: int | None = None
    for token, word in enumerate(word_ids):
        if word is not None:
            if word != before:
                labels[token] = first[word]
                places[word] = labelled
                labelled += 1
            elif further is not None:
                labels[token] = further[word]
                labelled += 1
        before = word
    return labels, places


def _lost(labels: Sequence[str], places: Sequence[int], scheme: str) -> int:
    """The number of entities, or where there is no scheme of words, of which no word has a label."""
    if scheme == "none":
        return sum(place < 0 for place in places)
    spans = entity_spans(to_iob2(labels, scheme))
    return sum(all(place < 0 for place in places[first : last + 1]) for first, last in spans)
