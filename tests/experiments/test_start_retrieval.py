"""What runs of one experiment share of their start."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hf_seqreptile.experiments.graph import LOCKS
from hf_seqreptile.experiments.start_retrieval import START_FILE, retrieval_of_start
from hf_seqreptile.retrieval import Accuracy


def test_runs_that_end_together_measure_the_start_once(tmp_path: Path) -> None:
    (tmp_path / LOCKS).mkdir()
    measured = []

    def measure(encoder: Any) -> dict[str, Accuracy]:
        measured.append(encoder)
        time.sleep(0.05)
        return {"de": Accuracy(0.5, 0.25)}

    ruler: Any = SimpleNamespace(start=SimpleNamespace(path="start"), measure=measure)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: retrieval_of_start(tmp_path, ruler, {"pairs": []}), range(8)))
    assert len(measured) == 1
    assert found == [{"de": {"source_to_target": 0.5, "target_to_source": 0.25}}] * 8
    assert json.loads((tmp_path / START_FILE).read_text())["retrieval"] == found[0]
