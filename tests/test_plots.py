"""The training figure: drawn for any number of tasks, whatever was logged, without touching matplotlib's state."""

import sys
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib import image
from matplotlib.figure import Figure

from hf_seqreptile import plots
from hf_seqreptile.plots import plot_training
from hf_seqreptile.scores import Metric


def history(tasks: list[str], points: int = 3, evaluate: bool = True) -> list[dict[str, Any]]:
    """As a trainer logs it: losses, then the scores of the same step."""
    entries: list[dict[str, Any]] = []
    for step in range(10, 10 * points + 1, 10):
        losses = {f"loss/{task}": 1 / step + i for i, task in enumerate(tasks)}
        entries.append({"step": step, "epoch": 1.0, "loss": 1.0, **losses, **{f"draws/{t}": 1.0 for t in tasks}})
        if evaluate:
            scores = {f"eval_{task}_f1": 0.5 + i / 100 for i, task in enumerate(tasks)}
            entries.append({"step": step, **scores, "eval_avg_f1": 0.5, "eval_f1": 0.5, "eval_de_runtime": 1.0})
    return [*entries, {"step": 10 * points, "train_loss": 1.0, "train_runtime": 1.0}]


@pytest.mark.parametrize("evaluate", [True, False])
@pytest.mark.parametrize(("tasks", "points"), [(1, 1), (5, 1), (30, 3)])
@pytest.mark.filterwarnings("error")
def test_it_draws_any_number_of_tasks_and_points(tmp_path: Path, tasks: int, points: int, evaluate: bool) -> None:
    path = tmp_path / "training.png"
    assert (
        plot_training(history([f"t{i}" for i in range(tasks)], points, evaluate), Metric("f1"), path, "Title") == path
    )
    height, width, _ = image.imread(path).shape
    assert width == 1600
    assert 700 < height < 1200


@pytest.mark.parametrize("steps", [[6], [1, 2], [0, 5, 6], [456], [0, 15_000, 30_000]])
def test_steps_are_labelled_with_whole_numbers_each_once(steps: list[int]) -> None:
    axes = Figure().subplots()
    plots._draw(axes, {"de": dict.fromkeys(steps, 0.5)}, {"de": plots.line_look(0)}, "training loss")
    ticks = axes.get_xticks()
    labels = axes.xaxis.get_major_formatter().format_ticks(list(ticks))
    assert [label.replace("−", "-") for label in labels] == [f"{tick:,.0f}" for tick in ticks]
    assert all(tick % 1 == 0 for tick in ticks)
    assert 1 <= len(set(labels)) == len(labels)


def test_nothing_logged_is_said_rather_than_raised(tmp_path: Path) -> None:
    assert plot_training([{"step": 3, "train_loss": 1.0}], Metric("f1"), tmp_path / "a.png", "Title").is_file()


@pytest.mark.filterwarnings("error")
def test_names_that_matplotlib_would_interpret_are_shown(tmp_path: Path) -> None:
    # A formula that does not parse would raise; a label that begins with an underscore would be left out.
    plot_training(history(["$x^", "_sw", "a\nb"]), Metric("f1"), tmp_path / "a.png", "$\\frac")
    plot_training(history(["x", "sw", "a\nb"]), Metric("f1"), tmp_path / "b.png", "$\\frac")
    assert not np.array_equal(image.imread(tmp_path / "a.png"), image.imread(tmp_path / "b.png"))


def test_other_metrics_of_a_task_are_no_tasks() -> None:
    keys = ["eval_de_f1", "eval_de_PER_f1", "eval_de_x_f1", "eval_hi_f1", "eval_hi_PER_f1"]
    keys += ["eval_avg_f1", "eval_avg_PER_f1", "eval_PER_f1", "eval_f1", "eval_de_loss"]
    assert plots.evaluated_tasks(keys, "f1", trained=["de", "de_x"]) == ["de", "de_x", "hi", "avg"]


def test_every_task_up_to_thirty_looks_different() -> None:
    looks = [plots.line_look(i, fine=True) for i in range(30)]
    assert len({(line.get_color(), str(line._unscaled_dash_pattern)) for line in looks}) == 30  # type: ignore[attr-defined]


def test_it_leaves_no_trace_in_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = dict(matplotlib.rcParams)
    # With this entry, importing pyplot raises.
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    plot_training(history(["de"]), Metric("f1"), tmp_path / "a.png", "Title")
    assert dict(matplotlib.rcParams) == before
