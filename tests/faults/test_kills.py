"""Law 4, at random moments: `python -m benchmarks.kills` does the same in larger numbers."""

import random
from pathlib import Path

import pytest

from tests.faults.kills import METHODS, Kills, kill_runs, places


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("script", ["run_ner", "run_qa", "run_xnli"])
def test_runs_killed_anywhere_end_where_they_would_have_ended(tmp_path: Path, script: str) -> None:
    (place,) = [place for place in places(tmp_path) if place.script == script]
    kills = Kills()
    for method in METHODS:
        kill_runs(place, method, 3, random.Random(method), kills)
    assert kills.tried >= 20
    assert not kills.unusable
    assert not kills.differences
