"""Sentences and their words' tags as a model's inputs and labels."""

from transformers import PreTrainedTokenizerBase

from ..data.text import shown
from ..errors import InputError

IGNORED = -100


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
    drop_empty: bool,
) -> dict[str, list]:
    """What the model takes, and `labels`, of a batch of sentences; the first subword of a word has its tag's id.

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
        drop_empty: leave out sentences without a label.

    Raises:
        InputError: an unknown tag, words and tags of unequal number, or an empty value; names the row.
    """
    text, tags = rows[columns[0]], rows[columns[1]]
    for i, cells in enumerate(zip(text, tags, strict=True)):
        if any(cell is None or None in cell for cell in cells):
            raise InputError(f"{where}, row {indices[i] + 1}: an empty value (null); fill it in or delete the row.")
    features = tokenizer(text, truncation=True, max_length=max_length, padding=padding, is_split_into_words=True)
    labels = []
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
                f"{', '.join(label2id)}. Mend the row, or train on examples with that label."
            )
        first = [label2id[tag] for tag in spelled]
        further = [label2id[f"I{tag[1:]}" if tag.startswith("B-") else tag] for tag in spelled]
        before: int | None = None
        row_labels = []
        for word in features.word_ids(i):
            if word is None:
                row_labels.append(IGNORED)
            elif word != before:
                row_labels.append(first[word])
            else:
                row_labels.append(further[word] if all_subwords else IGNORED)
            before = word
        labels.append(row_labels)
    features = {name: list(values) for name, values in features.items()} | {"labels": labels}
    if not drop_empty:
        return features
    kept = [i for i, row in enumerate(labels) if any(label != IGNORED for label in row)]
    return {name: [values[i] for i in kept] for name, values in features.items()}
