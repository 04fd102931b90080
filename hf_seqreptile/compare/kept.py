"""What the encoder of a finished run still knows, and what it knows and scores when it is pulled back to its start."""

import argparse
import json
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from filelock import FileLock
from transformers.utils import CONFIG_NAME

from ..analysis.encoders import Encoder, load_encoder, load_start
from ..analysis.retrieval import RetrievalRuler, read_parallel_texts
from ..analysis.runs import read_run
from ..analysis.saved_json import read_object
from ..durable import write_whole
from ..experiments.graph import LOCKS
from ..experiments.run_node import COMMAND_FILE, run_script
from ..json_text import parse_json
from ..models.multi_head_folder import ENCODER, heads_in
from ..problems.image_classification import ImageClassification
from ..scores import SCORES_FILE, SCORES_JSON, SPLITS

START_FILE = "start.json"
"""In an experiment's folder: what the start knows."""
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


def write_pulled_back(run: Path, folder: Path, weight: float, start: Encoder) -> None:
    """Copy a finished run's models with their encoders pulled back; heads stay.

    Args:
        run: the run's folder.
        folder: of the copy.
        weight: as in [`mixed`].
        start: what the run started from, whole.
    """
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("checkpoint-*", "runs", "clusters"))
    heads = heads_in(folder)
    for part in [folder / name for name in (*heads, ENCODER)] if heads else [folder]:
        end = load_encoder(str(part))
        config = read_object(part / CONFIG_NAME)
        model = getattr(transformers, config["architectures"][0]).from_pretrained(part, dtype=torch.float32)
        encoder = dict(model.base_model.named_parameters())
        with torch.no_grad():
            for name, value in mixed(weight, end, start.with_vocabulary_of(end)).items():
                encoder[name].copy_(value)
        model.save_pretrained(part)


def score_pulled_back(run: Path, weight: float, start: Encoder) -> dict[str, Any]:
    """The scores of a run's model with its encoder pulled back, by split and task.

    Args:
        run: the run's folder, with the command that it came from.
        weight: as in [`mixed`].
        start: what the run started from, whole.
    """
    _, *argv = shlex.split((run / COMMAND_FILE).read_text(encoding="utf-8"))
    folder = run.parent.parent / f"pulled-back-{run.name}"
    # What a killed process left.
    shutil.rmtree(folder, ignore_errors=True)
    try:
        write_pulled_back(run, folder, weight, start)
        for stale in (SCORES_JSON, SCORES_FILE):
            (folder / stale).unlink(missing_ok=True)
        own = ["--do_train", "False", "--eval_strategy", "no", "--model_name_or_path", str(folder)]
        run_script([*argv, *own, "--trim_vocabulary", "False", "--output_dir", str(folder)])
        return own_scores(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def own_scores(folder: Path) -> dict[str, Any]:
    """A run's scores by split and task."""
    run = read_run(folder)
    return {split: dict(run.scores[split][run.method]) for split in SPLITS if run.method in run.scores.get(split, {})}


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
        known["start"] = _of_start(args.run.parent.parent, ruler, asked)
    end = None
    for weight in (1.0, *args.interpolate):
        point = known["points"].setdefault(f"{weight:g}", {})
        if ruler is not None and "retrieval" not in point:
            end = end or load_encoder(str(args.run)).with_whole_vocabulary(start)
            point["retrieval"] = _found(ruler, replace(end, weights=mixed(weight, end, start)))
        if weight < 1 and "scores" not in point:
            point["scores"] = score_pulled_back(args.run, weight, start)
        write_whole(path, json.dumps(known, indent=1) + "\n")


def _found(ruler: RetrievalRuler, encoder: Encoder) -> dict[str, Any]:
    return {name: asdict(accuracy) for name, accuracy in ruler.measure(encoder).items()}


def _of_start(folder: Path, ruler: RetrievalRuler, asked: Any) -> dict[str, Any]:
    """The start's own accuracies, which all runs of an experiment share: the first one measures them."""
    path, wanted = folder / START_FILE, {"path": ruler.start.path, **asked}
    with FileLock(folder / LOCKS / f"{START_FILE}.lock"):
        saved = parse_json(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if saved.get("of") != wanted:
            saved = {"of": wanted, "retrieval": _found(ruler, ruler.start)}
            write_whole(path, json.dumps(saved) + "\n")
    return saved["retrieval"]
