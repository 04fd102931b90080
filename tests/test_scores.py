"""Scores: taken from a trainer's metrics, shown as tables, written as Markdown and JSON."""

import json
import math
from pathlib import Path

import pytest

from hf_seqreptile.scores import Metric, escape_markdown, markdown_table, score_table, scores_by_task, write_scores

METRICS = {"eval_de_f1": 0.8, "eval_sw_f1": 0.5, "eval_de_loss": 1.0, "eval_avg_f1": 0.65, "eval_f1": 0.65}


def test_scores_by_task_gives_what_the_trainer_gave() -> None:
    assert scores_by_task(METRICS, "eval", ["de", "sw"], Metric("f1")) == {"de": 0.8, "sw": 0.5, "avg": 0.65}


def test_metrics_in_percent_become_fractions() -> None:
    metrics = {"eval_de_f1": 80.0, "eval_sw_f1": 50.0}
    assert scores_by_task(metrics, "eval", ["de", "sw"], Metric("f1", perfect=100)) == {
        "de": 0.8,
        "sw": 0.5,
        "avg": 0.65,
    }


def test_the_average_of_gathered_metrics_is_over_all_their_tasks() -> None:
    # As with STL: each trainer's metrics hold an average, of its one task.
    gathered = {"test_de_f1": 0.8, "test_avg_f1": 0.8} | {"test_sw_f1": 0.5, "test_avg_f1": 0.5}
    assert scores_by_task(gathered, "test", ["de", "sw"], Metric("f1"))["avg"] == pytest.approx(0.65)
    del gathered["test_avg_f1"]
    assert scores_by_task(gathered, "test", ["de", "sw"], Metric("f1"))["avg"] == pytest.approx(0.65)


def test_scores_by_task_averages_nothing_where_a_task_is_missing() -> None:
    assert scores_by_task({"test_de_f1": 0.8}, "test", ["de", "sw"], Metric("f1")) == {"de": 0.8}
    assert scores_by_task({}, "test", ["de"], Metric("f1")) == {}


def test_score_table_reads_well_in_a_terminal() -> None:
    rows = {"before training": {"de": 0.1234, "avg": 0.1234}, "seq_reptile": {"de": 0.8, "sw": 1.0, "avg": 0.9}}
    assert score_table(rows, "F1").splitlines() == [
        "| F1 (%)          |   de |    sw |  avg |",
        "|-----------------|-----:|------:|-----:|",
        "| before training | 12.3 |     – | 12.3 |",
        "| seq_reptile     | 80.0 | 100.0 | 90.0 |",
    ]


def test_the_average_stands_last_wherever_it_came() -> None:
    header = score_table({"a": {"avg": 0.5, "de": 0.5}, "b": {"sw": 0.5, "de": 0.5}}, "F1").splitlines()[0]
    assert [cell.strip() for cell in header.strip("|").split("|")] == ["F1 (%)", "de", "sw", "avg"]


def test_a_score_that_is_no_number_is_missing() -> None:
    assert "–" in score_table({"a": {"de": math.nan}}, "F1")


def test_wide_characters_are_aligned_as_a_terminal_shows_them() -> None:
    table = markdown_table(["任务", "N_t"], [["中文", "1"], ["de", "2"]])
    assert table.splitlines() == ["| 任务 | N_t |", "|------|----:|", "| 中文 |   1 |", "| de   |   2 |"]


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("seq_reptile", "seq_reptile"),
        ("_a_", r"\_a\_"),
        ("a|b", r"a\|b"),
        ("<b>x</b> & y", "&lt;b&gt;x&lt;/b&gt; &amp; y"),
        ("[x](y) *z* `c`", r"\[x\](y) \*z\* \`c\`"),
        ("two\nlines", "two lines"),
    ],
)
def test_escape_markdown(text: str, escaped: str) -> None:
    assert escape_markdown(text) == escaped


def test_write_scores(tmp_path: Path) -> None:
    tables = {
        "validation": {"seq_reptile": {"de": 0.8, "sw": math.nan}},
        "test": {"seq_reptile": {"de": 0.7512, "sw": 0.5}},
    }
    path = write_scores(tmp_path / "new", tables, zero_shot=["sw"])
    text = path.read_text(encoding="utf-8")
    assert path.name == "scores.md"
    assert "## validation\n\n| validation (%)" in text
    assert score_table(tables["test"], "test") in text
    assert "Zero-shot (no training examples): sw." in text
    # Strict JSON: NaN would be refused by readers in other languages.
    saved = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert saved == {
        "zero_shot": ["sw"],
        "scores": {
            "validation": {"seq_reptile": {"de": 0.8, "sw": None}},
            "test": {"seq_reptile": {"de": 0.7512, "sw": 0.5}},
        },
    }


def test_without_zero_shot_languages_no_line_names_them(tmp_path: Path) -> None:
    assert "Zero-shot" not in write_scores(tmp_path, {"test": {"mtl": {"de": 0.5}}}, []).read_text(encoding="utf-8")
