"""LibMTL's Δ over STL, and what a row cost."""

import csv
import io
import json
from pathlib import Path

import pytest

from hf_seqreptile.analysis.runs import read_run
from hf_seqreptile.report.delta import delta_tables
from hf_seqreptile.report.page import page
from hf_seqreptile.report.table_formats import csv_text, latex, markdown, plain_text
from hf_seqreptile.report.tables import Table, make_tables
from hf_seqreptile.scores import Metric
from tests.written_runs import write_run, write_stl


def tables(tmp_path: Path) -> tuple[Table, Table]:
    runs = [
        write_stl(tmp_path / "stl", {"de": 0.5, "sw": 0.8}),
        write_run(tmp_path / "1", "mtl", {"de": 0.6, "sw": 0.4, "tr": 0.7}, seed=1, zero_shot=["tr"]),
        write_run(tmp_path / "2", "mtl", {"de": 0.5, "sw": 1.0, "tr": 0.5}, seed=2, zero_shot=["tr"]),
    ]
    (made,) = make_tables(runs)
    (delta,) = delta_tables([made])
    return made, delta


def test_delta_is_the_mean_relative_improvement_over_the_tasks_that_stl_has(tmp_path: Path) -> None:
    _, delta = tables(tmp_path)
    (row,) = delta.rows
    assert delta.columns == ["de", "sw", "avg"] and [delta.heading(c) for c in delta.columns] == ["de", "sw", "Δ"]
    # By hand: de +20 and 0, sw −50 and +25; so the seeds have −15 and +12.5.
    assert row.cells["de"].scores == pytest.approx([0.2, 0])
    assert row.cells["sw"].scores == pytest.approx([-0.5, 0.25])
    assert row.cells["avg"].scores == pytest.approx([-0.15, 0.125])
    assert str(row.cells["de"]) == "+10.0 ± 14.1" and str(row.cells["avg"]) == "-1.3 ± 19.4"
    assert delta.title == "Token classification, test: Δ of F1 over stl (%)"
    assert any(note.startswith("Δ: the mean over the tasks of (score − stl's) / stl's") for note in delta.notes)


def test_where_less_is_better_a_lower_value_is_an_improvement(tmp_path: Path) -> None:
    made, _ = tables(tmp_path)
    object.__setattr__(made, "metric", Metric("error", greater_is_better=False))
    (delta,) = delta_tables([made])
    assert delta.rows[0].cells["avg"].scores == pytest.approx([0.15, -0.125])


def test_there_is_none_without_stl_or_over_nothing(tmp_path: Path) -> None:
    alone = write_run(tmp_path / "1", "mtl", {"de": 0.6})
    assert delta_tables(make_tables([alone])) == []
    assert delta_tables(make_tables([alone, write_stl(tmp_path / "stl", {"de": 0.0})])) == []
    assert delta_tables(make_tables([write_stl(tmp_path / "other", {"de": 0.5})])) == []


def test_every_format_tells_what_a_row_cost(tmp_path: Path) -> None:
    """The log of each written run has 2 steps and a draw of each task."""
    made, delta = tables(tmp_path)
    assert made.budgets == ["steps", "gradients"]
    assert [[made.budget(row, name) for name in made.budgets] for row in made.rows] == [["4", "2"], ["2", "2"]]
    assert "| steps | gradients |" in plain_text(made)
    assert markdown(made).splitlines()[2].endswith("| steps | gradients |")
    assert r" & steps & gradients \\" in latex(made) and r"lrrrrrr" in latex(made)
    rows = list(csv.DictReader(io.StringIO(csv_text(made))))
    assert [(row["optimizer steps"], row["gradient computations"]) for row in rows] == [("4", "2"), ("2", "2")]
    assert '<td class="budget">4</td>' in page([made, delta], [], tmp_path)
    assert any("of all its models together for stl. A step takes M gradients." in note for note in made.notes)


def test_runs_of_a_row_that_took_other_numbers_of_steps(tmp_path: Path) -> None:
    for seed, steps in ((1, 900), (2, 1200)):
        write_run(tmp_path / str(seed), "mtl", {"de": 0.5}, seed=seed)
        log = [{"step": steps, "draws/de": steps * 8.0}]
        (tmp_path / f"{seed}/trainer_state.json").write_text(json.dumps({"log_history": log}))
    (made,) = make_tables([read_run(tmp_path / "1"), read_run(tmp_path / "2")])
    assert [made.budget(made.rows[0], name) for name in made.budgets] == ["900–1,200", "7,200–9,600"]
