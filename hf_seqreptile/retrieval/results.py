"""What a retrieval found: tables for people, JSON for programs, the mined sentences."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..durable import write_whole
from ..metrics.example_sums import RATIO, ExampleSums
from ..scores import MISSING, SPLITS, markdown_table
from .accuracy import Accuracy, accuracy_of
from .mining import Mined, MiningScore
from .pairs import Pair

REPORT, TABLES, MINED = "retrieval.json", "retrieval.md", "mined"
ARROWS = (
    "→: each sentence of the first language is searched for among those of the second; ←: the other way round. Layer "
    "n: the states after block n."
)
THRESHOLDS = "The threshold of the margin is the one with the highest F1 on the development set."


@dataclass(frozen=True)
class LayerResult:
    """What was found by the vectors of a layer.

    Args:
        hits: by pair, which sentences' translations are found; those with a gold of their own have none.
        mined: by pair, where there was mining.
        scores: of the mined, by pair.
        development: likewise of the development set, whose best threshold `scores` has.
    """

    hits: Mapping[str, NDArray[np.bool_]]
    mined: Mapping[str, Mined] = field(default_factory=dict)
    scores: Mapping[str, MiningScore] = field(default_factory=dict)
    development: Mapping[str, MiningScore] = field(default_factory=dict)

    @property
    def accuracies(self) -> dict[str, Accuracy]:
        """Both directions' accuracy of each pair that has one."""
        return {name: accuracy_of(hits) for name, hits in self.hits.items()}


def accuracy_table(results: Mapping[int, LayerResult], pairs: Mapping[str, Pair]) -> str:
    """A Markdown table in percent: a row a pair, three columns a layer; empty where no pair has an accuracy."""
    names = [name for name in pairs if pairs[name].gold is None]
    if not names:
        return ""
    header = ["accuracy (%)", "sentences"]
    rows = [[name, f"{len(pairs[name].source):,}"] for name in names]
    means = [f"mean of {len(names)}", ""]
    for layer, result in results.items():
        header += [f"layer {layer} →", "←", "mean"]
        found = [result.accuracies[name] for name in names]
        columns = [[each.source_to_target for each in found], [each.target_to_source for each in found]]
        columns.append([each.mean for each in found])
        for column in columns:
            for row, value in zip(rows, column, strict=True):
                row.append(_percent(value))
            means.append(_percent(fmean(column)))
    return markdown_table(header, [*rows, means] if len(names) > 1 else rows)


def mining_table(results: Mapping[int, LayerResult], pairs: Mapping[str, Pair]) -> str:
    """A Markdown table in percent: a row a pair and layer; empty where nothing was mined."""
    header = ["mining", "source", "target", "gold", "mined", "threshold", "precision (%)", "recall (%)", "F1 (%)"]
    rows = []
    for layer, result in results.items():
        for name, found in result.scores.items():
            sizes = [len(pairs[name].source), len(pairs[name].target), result.mined[name].gold, found.mined]
            rows.append(
                [
                    f"{name}, layer {layer}",
                    *(f"{size:,}" for size in sizes),
                    f"{found.threshold:.4f}" if math.isfinite(found.threshold) else MISSING,
                    *(_percent(value) for value in (found.precision, found.recall, found.f1)),
                ]
            )
        if len(result.scores) > 1:
            average = fmean(found.f1 for found in result.scores.values())
            rows.append([f"mean of {len(result.scores)}, layer {layer}", *[""] * 7, _percent(average)])
    return markdown_table(header, rows) if rows else ""


def tables(results: Mapping[int, LayerResult], pairs: Mapping[str, Pair]) -> str:
    """Both tables, each with what its columns are."""
    accuracy, mining = accuracy_table(results, pairs), mining_table(results, pairs)
    parts = ([accuracy, ARROWS] if accuracy else []) + ([mining, THRESHOLDS] if mining else [])
    return "\n\n".join(parts)


def write_results(
    results: Mapping[int, LayerResult], pairs: Mapping[str, Pair], settings: Mapping[str, Any], folder: Path
) -> list[Path]:
    """Write the tables, all numbers as JSON, and the mined sentences, as `margin TAB source TAB target`.

    Args:
        results: by layer.
        pairs: what was searched.
        settings: what gave the numbers, for the JSON file.
        folder: exists.

    Returns:
        What was written: files, and the folder of the mined sentences.
    """
    written = [folder / REPORT, folder / TABLES]
    layers = {str(layer): _layer(result) for layer, result in results.items()}
    sizes = {name: {"source": len(pair.source), "target": len(pair.target)} for name, pair in pairs.items()}
    content = {**settings, "sentences": sizes, "layers": layers}
    write_whole(written[0], json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    write_whole(written[1], f"# Retrieval\n\n{tables(results, pairs)}\n")
    if any(result.mined for result in results.values()):
        written.append(folder / MINED)
        written[-1].mkdir(exist_ok=True)
    for layer, result in results.items():
        for name, mined in result.mined.items():
            count = result.scores[name].mined
            lines = [
                "\t".join([f"{margin:.6f}", *(" ".join(sentence.split()) for sentence in both)]) + "\n"
                for margin, both in zip(mined.margins[:count], mined.sentences[:count], strict=True)
            ]
            write_whole(folder / MINED / f"{name}-layer-{layer}.tsv", "".join(lines))
    return written


def write_example_sums(result: LayerResult, folder: Path) -> None:
    """Write what each pair of sentences adds to its accuracy, a file a pair, as the scripts do of their examples."""
    for name, hits in result.hits.items():
        ones = np.ones(len(hits))
        values = np.column_stack([hits[:, 0], ones, hits[:, 1], ones])
        text = ExampleSums(RATIO, values, "accuracy").as_json(name)
        write_whole(folder / f"{SPLITS['test']}_example_sums_{name}.json", text)


def _layer(result: LayerResult) -> dict[str, Any]:
    found = {name: {**asdict(accuracy), "mean": accuracy.mean} for name, accuracy in result.accuracies.items()}
    content: dict[str, Any] = {"accuracy": found, "average": _averages(list(found.values()))} if found else {}
    if result.scores:
        content["mining"] = {
            name: {
                **_numbers(score),
                "gold": result.mined[name].gold,
                "development": _numbers(result.development[name]),
            }
            for name, score in result.scores.items()
        }
    return content


def _averages(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {key: fmean(each[key] for each in found) for key in found[0]}


def _numbers(score: MiningScore) -> dict[str, float | None]:
    # JSON knows no infinity.
    return {key: value if math.isfinite(value) else None for key, value in asdict(score).items()}


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"
