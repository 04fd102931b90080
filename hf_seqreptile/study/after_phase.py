"""What the encoder knows after a phase: of the phases before it, of translations, and how far it has moved."""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..analysis.encoders import Encoder, distance, load_encoder, load_start
from ..analysis.retrieval import RetrievalRuler, read_parallel_texts
from ..analysis.runs import SavedRun, read_run
from ..durable import write_whole
from ..experiments.other_encoder import own_scores, scores_on
from ..experiments.run_node import parents_of
from ..experiments.start_retrieval import retrieval_of, retrieval_of_start
from ..json_text import parse_json
from ..problems.image_classification import ImageClassification
from ..scores import AVERAGE

AFTER_FILE = "after_phase.json"
"""In a phase's folder: what was measured after it."""


def earlier_scores(run: SavedRun, encoder: Encoder, parents: Sequence[str]) -> dict[str, float]:
    """The validation scores of the tasks of earlier phases, by the heads that these left behind, on this encoder.

    Those that this phase trained on too keep their heads, and are scored by its run.

    Args:
        run: of the phase.
        encoder: that it left.
        parents: the runs before it, in the same folder, the next first.
    """
    own = _validation(run.folder)
    found: dict[str, float] = {}
    for parent in parents:
        folder = run.folder.parent / parent
        tasks = [task for task in _validation(folder) if task not in found]
        found |= {task: own[task] for task in tasks if task in own}
        if rest := [task for task in tasks if task not in own]:
            copy = folder.parent.parent / f"heads-of-{parent}-on-{run.folder.name}"
            scores = scores_on(folder, copy, lambda _: encoder.weights, "--do_predict", "False")["validation"]
            found |= {task: scores[task] for task in rest}
    return found


def _validation(run: Path) -> dict[str, float]:
    return {task: score for task, score in own_scores(run).get("validation", {}).items() if task != AVERAGE}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what is not yet known after a phase, and write it into its run's folder."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--start", required=True)
    args = parser.parse_args(argv)
    path = args.run / AFTER_FILE
    known: dict[str, Any] = parse_json(path.read_text(encoding="utf-8")) if path.is_file() else {}
    run = read_run(args.run)
    start, encoder = load_start(args.start), load_encoder(str(args.run))
    parents = parents_of(args.run)
    measures: Mapping[str, Any] = {
        "distance": lambda: distance(encoder, start.with_vocabulary_of(encoder))[0],
        "retrieval": lambda: _retrieval(args.run.parent.parent, start, encoder, run),
        "earlier": lambda: earlier_scores(run, encoder, parents),
    }
    for name, measure in measures.items():
        if name not in known:
            known[name] = measure()
            write_whole(path, json.dumps(known, indent=1) + "\n")


def _retrieval(folder: Path, start: Encoder, encoder: Encoder, run: SavedRun) -> dict[str, Any] | None:
    """Of the start and after the phase; the start's, which all phases share, is measured once."""
    if run.problem == ImageClassification.pipeline_tag:
        return None
    ruler = RetrievalRuler(start, read_parallel_texts(None))
    return {"start": retrieval_of_start(folder, ruler, {}), "now": retrieval_of(ruler, encoder)}
