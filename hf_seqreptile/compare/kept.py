"""What the encoder of a finished run still knows, and what it knows and scores when it is pulled back to its start."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..analysis.encoders import Encoder, load_encoder, load_start
from ..analysis.retrieval import RetrievalRuler, read_parallel_texts
from ..analysis.runs import read_run
from ..durable import write_whole
from ..experiments.other_encoder import scores_on
from ..experiments.start_retrieval import retrieval_of, retrieval_of_start
from ..json_text import parse_json
from ..problems.image_classification import ImageClassification

KEPT_FILE = "kept.json"
"""In a run's folder: scores and retrieval, at the run's end (weight 1) and pulled back."""


def mixed(weight: float, end: Encoder, start: Encoder) -> dict[str, torch.Tensor]:
    """Weight · θ + (1 − weight) · start, of what both have (Wortsman et al. 2022, "Robust fine-tuning").

    Args:
        weight: of the finished encoder.
        end: the finished encoder θ.
        start: what it started from, with the same vocabulary.
    """
    return {
        name: torch.lerp(start.weights[name], value, weight) if name in start.weights else value
        for name, value in end.weights.items()
    }


def _pulled_back(weight: float, start: Encoder, end: Encoder) -> dict[str, torch.Tensor]:
    return mixed(weight, end, start.with_vocabulary_of(end))


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what is asked for and not yet known of a run, and write it into its folder."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--base_model", required=True)
    parser.add_argument("--pairs", nargs="+", default=())
    parser.add_argument("--interpolate", nargs="+", type=float, default=())
    parser.add_argument("--without_retrieval", action="store_true")
    args = parser.parse_args(argv)
    run = read_run(args.run)
    if run.is_adapter or run.problem == ImageClassification.pipeline_tag:
        # An adapter leaves the encoder's own weights as they were; pictures have no translations.
        return
    asked = {"pairs": list(args.pairs)}
    path = args.run / KEPT_FILE
    known: dict[str, Any] = parse_json(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if known.get("asked") != asked:
        known = {"asked": asked, "points": {}}
    start = load_start(args.base_model)
    ruler = None if args.without_retrieval else RetrievalRuler(start, read_parallel_texts(args.pairs or None))
    if ruler is not None and "start" not in known:
        known["start"] = retrieval_of_start(args.run.parent.parent, ruler, asked)
    end = None
    for weight in (1.0, *args.interpolate):
        point = known["points"].setdefault(f"{weight:g}", {})
        if ruler is not None and "retrieval" not in point:
            end = end or load_encoder(str(args.run)).with_whole_vocabulary(start)
            point["retrieval"] = retrieval_of(ruler, replace(end, weights=mixed(weight, end, start)))
        if weight < 1 and "scores" not in point:
            folder = args.run.parent.parent / f"pulled-back-{args.run.name}"
            point["scores"] = scores_on(args.run, folder, partial(_pulled_back, weight, start))
        write_whole(path, json.dumps(known, indent=1) + "\n")
