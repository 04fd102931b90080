"""Scores of words' tags: of the entities that they make up, or of the tags themselves."""

import warnings
from collections.abc import Sequence

Tags = Sequence[Sequence[str]]
"""Of each sentence's words."""


def entity_scores(predicted: Tags, true: Tags, of_each_type: bool = False) -> dict[str, float]:
    """`precision`, `recall` and `f1` of whole entities (seqeval's default mode), of tags in IOB2.

    Args:
        predicted: by a model.
        true: as many.
        of_each_type: also `TYPE_precision`, `TYPE_recall`, `TYPE_f1` and `TYPE_number`, how many there are.
    """
    # Imported when it is needed: with it comes scikit-learn, which takes a second.
    from seqeval.metrics import classification_report

    with warnings.catch_warnings():
        # Without any entity seqeval averages over no types.
        warnings.simplefilter("ignore", RuntimeWarning)
        report = classification_report(true, predicted, output_dict=True, zero_division=0)
    overall = report.pop("micro avg", {"precision": 0.0, "recall": 0.0, "f1-score": 0.0})
    scores = {"precision": overall["precision"], "recall": overall["recall"], "f1": overall["f1-score"]}
    if of_each_type:
        for entity in [name for name in report if not name.endswith(" avg")]:
            of_entity = report[entity]
            scores |= {
                f"{entity}_precision": of_entity["precision"],
                f"{entity}_recall": of_entity["recall"],
                f"{entity}_f1": of_entity["f1-score"],
                f"{entity}_number": of_entity["support"],
            }
    return {name: float(score) for name, score in scores.items()}


def tag_accuracy(predicted: Tags, true: Tags) -> float:
    """The share of words with the right tag; 0 where there are none."""
    pairs = [pair for row in zip(predicted, true, strict=True) for pair in zip(*row, strict=True)]
    return sum(one == other for one, other in pairs) / max(len(pairs), 1)


def tag_scores(predicted: Tags, true: Tags, of_each_tag: bool = False) -> dict[str, float]:
    """`accuracy`, and `macro_f1`, the plain mean of the F1 of each tag that occurs, right or predicted.

    Args:
        predicted: by a model.
        true: as many.
        of_each_tag: also `TAG_precision`, `TAG_recall`, `TAG_f1` and `TAG_number`, how many words have it.
    """
    # Imported when it is needed: it takes a second.
    from sklearn.metrics import precision_recall_fscore_support

    found, wanted = ([tag for row in rows for tag in row] for rows in (predicted, true))
    tags = sorted({*found, *wanted})
    if not tags:
        return {"accuracy": 0.0, "macro_f1": 0.0}
    of_tags = precision_recall_fscore_support(wanted, found, labels=tags, zero_division=0)
    scores = {"accuracy": tag_accuracy(predicted, true), "macro_f1": float(of_tags[2].mean())}
    if of_each_tag:
        for tag, *values in zip(tags, *of_tags, strict=True):
            names = ("precision", "recall", "f1", "number")
            scores |= {f"{tag}_{name}": float(value) for name, value in zip(names, values, strict=True)}
    return scores
