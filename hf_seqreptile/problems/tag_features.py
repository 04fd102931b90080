"""Sentences and their words' tags as a model's inputs and labels."""

import warnings
from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from ..data.text import shown
from ..errors import InputError
from .labels import mend_of_unknown
from .problem import IS_CUT

IGNORED = -100
TAG_PLACES = "tag_places"
"""The column that tells, for each word, which of the sentence's labels is its own, counted from 0; -1 if none is."""
LOST_ENTITIES = "lost_entities"
"""The column of the numbers of entities that lie behind the cut as a whole."""


def encode_rows(
    rows: dict[str, list],
    indices: list[int],
    tokenizer: PreTrainedTokenizerBase,
    columns: tuple[str, str],
    names: list[str] | None,
    label2id: dict[str, int],
    where: str,
    max_length: int,
    padding: str | bool,
    all_subwords: bool,
    for_training: bool,
) -> dict[str, list]:
    """What the model takes, and `labels`, of a batch of sentences; the first subword of a word has its tag's id.

    Beside these there are `tag_places`, `is_cut` and `lost_entities`, which are no inputs of the model.

    Args:
        rows: the sentences by column.
        indices: their numbers in the data, from 0.
        tokenizer: cuts words into subwords.
        columns: of words and of tags.
        names: the tags' names, where they are numbers.
        label2id: of the model.
        where: task and split, for messages.
        max_length: subwords after which a sentence is cut.
        padding: as the tokenizer takes it.
        all_subwords: a word's further subwords have a label too, `I-` where the word's is `B-`.
        for_training: leave out sentences without a label.

    Raises:
        InputError: an unknown tag, words and tags of unequal number, or an empty value; names the row.
    """
    text, tags = rows[columns[0]], rows[columns[1]]
    for i, cells in enumerate(zip(text, tags, strict=True)):
        if any(cell is None or None in cell for cell in cells):
            raise InputError(f"{where}, row {indices[i] + 1}: an empty value (null); fill it in or delete the row.")
    features = tokenizer(text, truncation=True, max_length=max_length, padding=padding, is_split_into_words=True)
    own: dict[str, list] = {"labels": [], TAG_PLACES: [], IS_CUT: [], LOST_ENTITIES: []}
    for i, (words, row_tags) in enumerate(zip(text, tags, strict=True)):
        row = f"{where}, row {indices[i] + 1}"
        if len(words) != len(row_tags):
            raise InputError(
                f"{row} ({shown(' '.join(words))}): {len(words)} words but {len(row_tags)} tags; give each word "
                f"one tag."
            )
        # A ClassLabel's -1 means that the tag was left out.
        spelled = [names[tag] if tag >= 0 else "-1" for tag in row_tags] if names else row_tags
        if unknown := [tag for tag in spelled if tag not in label2id]:
            raise InputError(
                f"{row} ({shown(' '.join(words))}): unknown label {unknown[0]!r}; the model knows "
                f"{', '.join(label2id)}. {mend_of_unknown(for_training)}"
            )
        first = [label2id[tag] for tag in spelled]
        # A model may lack the `I-` of a type.
        inside = [label2id.get(f"I{tag[1:]}") if tag.startswith("B-") else None for tag in spelled]
        further = [own if i is None else i for own, i in zip(first, inside, strict=True)]
        labels, places = _of_subwords(features.word_ids(i), first, further if all_subwords else None)
        is_cut = bool(features.encodings[i].overflowing)
        lost = _lost_entities(spelled, places) if is_cut else 0
        for name, value in zip(own, (labels, places, is_cut, lost), strict=True):
            own[name].append(value)
    features = {name: list(values) for name, values in features.items()} | own
    if not for_training:
        return features
    kept = [i for i, row in enumerate(own["labels"]) if any(label != IGNORED for label in row)]
    return {name: [values[i] for i in kept] for name, values in features.items()}


def _of_subwords(
    word_ids: Sequence[int | None], first: Sequence[int], further: Sequence[int] | None
) -> tuple[list[int], list[int]]:
    """The label of each subword, and the place of each word's first one among those that are not ignored."""
    labels: list[int] = []
    places = [-1] * len(first)
    labelled = 0
    before: int | None = None
    for word in word_ids:
        label = IGNORED
        if word is not None and word != before:
            label = first[word]
            places[word] = labelled
        elif word is not None and further is not None:
            label = further[word]
        labels.append(label)
        labelled += label != IGNORED
        before = word
    return labels, places


def _lost_entities(tags: Sequence[str], places: Sequence[int]) -> int:
    """The number of entities, as the metric counts them, of which no word has a label."""
    # Imported when it is needed: it imports scikit-learn, which takes a second.
    from seqeval.metrics.sequence_labeling import get_entities

    with warnings.catch_warnings():
        # Of tags without B- and I-, as those of parts of speech.
        warnings.simplefilter("ignore", UserWarning)
        entities = get_entities(list(tags))
    return sum(all(place < 0 for place in places[start : end + 1]) for _, start, end in entities)
