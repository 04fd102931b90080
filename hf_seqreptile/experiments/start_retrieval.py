"""Which translations the start of an experiment finds, measured by the first run that asks."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock

from ..analysis.encoders import Encoder
from ..analysis.retrieval import RetrievalRuler
from ..durable import write_whole
from ..json_text import parse_json
from .graph import LOCKS

START_FILE = "start.json"
"""In an experiment's folder: what the start knows."""


def retrieval_of(ruler: RetrievalRuler, encoder: Encoder) -> dict[str, Any]:
    """Both directions' accuracy of each pair, for JSON."""
    return {name: asdict(accuracy) for name, accuracy in ruler.measure(encoder).items()}


def retrieval_of_start(folder: Path, ruler: RetrievalRuler, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The start's own accuracies, which all runs of an experiment share: the first one measures them.

    Args:
        folder: of the experiment.
        ruler: knows the start and the pairs.
        asked: what else the result depends on.
    """
    path, wanted = folder / START_FILE, {"path": ruler.start.path, **asked}
    with FileLock(folder / LOCKS / f"{START_FILE}.lock"):
        saved = parse_json(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if saved.get("of") != wanted:
            saved = {"of": wanted, "retrieval": retrieval_of(ruler, ruler.start)}
            write_whole(path, json.dumps(saved) + "\n")
    return saved["retrieval"]
