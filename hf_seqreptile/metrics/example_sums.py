"""What each example adds to the sums that a score is made of, from which the score of any resample follows."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..json_text import parse_json
from ..scores import SPLITS
from .tags import Tags

RATIO, CORRELATION = "ratio", "correlation"


@dataclass(frozen=True)
class ExampleSums:
    """The examples' parts of a score.

    Args:
        kind: `ratio`, where the columns are pairs and the score is the mean of Σ first / Σ second over the pairs whose
            second sum is not 0; or `correlation`, of the two columns.
        values: shape (examples, columns).
        metric: whose main score it is.
    """

    kind: str
    values: NDArray[np.float64]
    metric: str

    def scores(self, counts: NDArray[np.integer]) -> NDArray[np.float64]:
        """The scores, as fractions, where each example is taken a number of times.

        Args:
            counts: shape (resamples, examples).

        Returns:
            Shape (resamples,); 0 where a resample has nothing to score.
        """
        if self.kind == CORRELATION:
            return _correlations(self.values, counts)
        sums = counts @ self.values
        tops, bottoms = sums[:, ::2], sums[:, 1::2]
        ratios = np.divide(tops, bottoms, out=np.zeros_like(tops), where=bottoms != 0)
        return ratios.sum(axis=1) / np.maximum((bottoms != 0).sum(axis=1), 1)

    @property
    def score(self) -> float:
        """Of the examples as they are."""
        return float(self.scores(np.ones((1, len(self.values)), dtype=int))[0])

    def as_json(self, task: str) -> str:
        """The text of a file."""
        values = [[float(f"{value:.9g}") for value in row] for row in self.values.tolist()]
        return json.dumps({"task": task, "metric": self.metric, "kind": self.kind, "values": values}) + "\n"


def read_example_sums(path: Path) -> tuple[str, ExampleSums]:
    """The task and the sums that a file holds.

    Raises:
        InputError: it cannot be read as such.
    """
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        values = np.array(content["values"], dtype=float)
        if values.ndim != 2 or not len(values) or content["kind"] not in (RATIO, CORRELATION):
            raise ValueError("it holds no sums of examples")
        return str(content["task"]), ExampleSums(content["kind"], values, str(content["metric"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read ({type(error).__name__}: {error}).") from error


def sums_of_run(folder: Path, split: str) -> dict[str, ExampleSums]:
    """What a run wrote of each task's examples; STL's models lie in folders of their own.

    Args:
        folder: of the run.
        split: `validation` or `test`.
    """
    return dict(read_example_sums(path) for path in sorted(folder.rglob(f"{SPLITS[split]}_example_sums*.json")))


def of_means(scores: Sequence[float] | NDArray, metric: str) -> ExampleSums:
    """Of a score that is the mean of one for each example, as fractions."""
    return ExampleSums(RATIO, np.stack([np.asarray(scores, float), np.ones(len(scores))], axis=1), metric)


def of_entities(predicted: Tags, true: Tags) -> ExampleSums:
    """Of F1 of whole entities, a sentence an example; tags are in IOB2."""
    # Imported when it is needed: with it comes scikit-learn, which takes a second.
    from seqeval.metrics.sequence_labeling import get_entities

    pairs = (
        (set(get_entities(list(one))), set(get_entities(list(other))))
        for one, other in zip(predicted, true, strict=True)
    )
    return ExampleSums(RATIO, np.array([[2 * len(a & b), len(a) + len(b)] for a, b in pairs], float), "f1")


def of_tag_accuracy(predicted: Tags, true: Tags) -> ExampleSums:
    """Of the share of words with the right tag, a sentence an example."""
    rows = (
        [sum(a == b for a, b in zip(one, other, strict=True)), len(other)] for one, other in _pairs(predicted, true)
    )
    return ExampleSums(RATIO, np.array([*rows], float), "accuracy")


def of_macro_f1(predicted: Tags, true: Tags) -> ExampleSums:
    """Of the mean of the tags' F1, a sentence an example."""
    tags = sorted({tag for rows in (predicted, true) for row in rows for tag in row})
    rows = [[part for tag in tags for part in _f1_parts(one, other, tag)] for one, other in _pairs(predicted, true)]
    return ExampleSums(RATIO, np.array(rows, float), "macro_f1")


def of_class_f1(predicted: NDArray, true: NDArray, positive: int) -> ExampleSums:
    """Of F1 of a class."""
    found, wanted = predicted == positive, true == positive
    columns = [2.0 * (found & wanted), found.astype(float) + wanted]
    return ExampleSums(RATIO, np.stack(columns, axis=1), "f1")


def of_correlation(one: NDArray, other: NDArray, metric: str) -> ExampleSums:
    """Of Pearson's correlation of two numbers of each example; Spearman's is that of their ranks among all."""
    return ExampleSums(CORRELATION, np.stack([np.asarray(one, float), np.asarray(other, float)], axis=1), metric)


def _pairs(predicted: Tags, true: Tags) -> Iterable[tuple[Sequence[str], Sequence[str]]]:
    return zip(predicted, true, strict=True)


def _f1_parts(found: Sequence[str], wanted: Sequence[str], tag: str) -> tuple[int, int]:
    both = sum(one == tag == other for one, other in zip(found, wanted, strict=True))
    return 2 * both, sum(one == tag for one in found) + sum(one == tag for one in wanted)


def _correlations(values: NDArray[np.float64], counts: NDArray[np.integer]) -> NDArray[np.float64]:
    # Centred first: the sums of squares of large numbers would lose the digits that matter.
    x, y = (values - values.mean(axis=0)).T
    n = np.maximum(counts.sum(axis=1), 1)
    sums: Any = [counts @ column / n for column in (x, y, x * x, y * y, x * y)]
    mean_x, mean_y, xx, yy, xy = sums
    spread = np.sqrt(np.maximum(xx - mean_x**2, 0) * np.maximum(yy - mean_y**2, 0))
    # Equal numbers have no spread but for rounding.
    is_there = spread > 1e-12 * np.maximum(np.abs(xy), 1e-300)
    return np.divide(xy - mean_x * mean_y, spread, out=np.zeros_like(spread), where=is_there)
