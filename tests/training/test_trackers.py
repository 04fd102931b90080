"""What trackers receive of a run, read from the files that they write: nothing goes to a server."""

import json
import subprocess
import sys
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests import scripts

READ_TRACKIO = """
import json, sys
import trackio
from trackio.sqlite_storage import SQLiteStorage

(run,) = trackio.Api().runs(sys.argv[1])
print(json.dumps({"logs": SQLiteStorage.get_logs(sys.argv[1], run.name), "config": run.config}, default=str))
"""
Curves = dict[str, dict[int, float]]
"""By name, the value at each optimizer step."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Data and a model."""
    return scripts.Workplace(tmp_path_factory.mktemp("trackers"))


def arguments(place: scripts.Place, tracker: str) -> list[str]:
    """A run that reports to `tracker`, into a folder of its name."""
    return place.arguments(
        tracker, "--method", "seq_reptile", "--inner_steps", "4", "--log_gradient_alignment", "10", "--do_train",
        "--eval_strategy", "steps", "--eval_steps", "10", "--report_to", tracker, "--project", "languages",
        "--run_name", "ours",
    )  # fmt: skip


def logged(place: scripts.Place, output: str) -> Curves:
    """What the trainer logged, named as transformers' callbacks name it for trackers."""
    curves: Curves = {}
    for entry in place.json(output, "trainer_state.json")["log_history"]:
        for name, value in entry.items():
            if name not in ("step", "epoch"):
                split = "eval" if name.startswith("eval_") else "train"
                curves.setdefault(f"{split}/{name.removeprefix('eval_')}", {})[entry["step"]] = value
    return curves


def assert_received(curves: Curves, expected: Curves) -> None:
    """Everything that was logged is there, and what this package adds is among it."""
    # Times differ in the evaluation that follows training; the summary of training is no curve.
    compared = [name for name in expected if not name.endswith(("runtime", "per_second", "train_loss", "total_flos"))]
    for name in compared:
        assert curves[name] == pytest.approx(expected[name], rel=1e-5), name
    tasks = scripts.TRAINED
    assert {f"train/loss/{task}" for task in tasks} | {f"train/draws/{task}" for task in tasks} <= curves.keys()
    assert {"train/cosine/de/en", "train/cosine/de/sw", "train/cosine/en/sw", "train/cosine/avg"} <= curves.keys()
    assert list(curves["train/distance"]) == [0, 10, 20] and curves["train/distance"][0] == 0
    assert curves["train/outer_updates"] == {5: 1, 10: 2, 15: 3, 20: 5}
    assert {f"eval/{language}_f1" for language in scripts.LANGUAGES} <= curves.keys()


def test_tensorboard(place):
    assert place.main(*arguments(place, "tensorboard")) == 0
    (folder,) = place.path("tensorboard", "runs").iterdir()
    events = EventAccumulator(str(folder))
    events.Reload()
    curves = {name: {event.step: event.value for event in events.Scalars(name)} for name in events.Tags()["scalars"]}
    assert_received(curves, logged(place, "tensorboard"))


def read_trackio(place: scripts.Place) -> dict[str, Any]:
    # Where its files are is settled when it is imported.
    environment = place.environment(TRACKIO_DIR=str(place.path("trackio-files")))
    process = subprocess.run(
        [sys.executable, "-c", READ_TRACKIO, "languages"], env=environment,
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])


@pytest.mark.slow
def test_trackio_without_a_hub(place):
    finished = place.run(*arguments(place, "trackio"), TRACKIO_DIR=str(place.path("trackio-files")))
    assert finished.returncode == 0, finished.stderr
    received = read_trackio(place)
    curves: Curves = {}
    for entry in received["logs"]:
        for name, value in entry.items():
            # The summaries have no step.
            if name.startswith(("train/", "eval/")) and "train/global_step" in entry:
                curves.setdefault(name, {})[entry["train/global_step"]] = value
    assert_received(curves, logged(place, "trackio"))
    config = received["config"]
    assert config["method"] == "seq_reptile" and config["inner_steps"] == 4 and config["log_gradient_alignment"] == 10
