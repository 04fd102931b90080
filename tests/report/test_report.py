"""The command that reports finished runs: what it reads, leaves out and writes."""

import csv
import math
from pathlib import Path

import pytest

from hf_seqreptile.report.__main__ import main
from tests.scripts import LANGUAGES, TRAINED, Workplace
from tests.written_runs import write_run


def test_real_runs_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = Workplace(tmp_path)
    short = ["--do_train", "--do_predict", "--max_steps", "2"]
    for output, arguments in {
        "mtl-1": ["--method", "mtl", "--seed", "1"],
        "mtl-2": ["--method", "mtl", "--seed", "2"],
        "mtl-one-draw": ["--method", "mtl", "--seed", "1", "--tasks_per_step", "1"],
        "stl": ["--method", "stl"],
        "seq_reptile": ["--method", "seq_reptile", "--inner_steps", "2"],
    }.items():
        assert place.main(*place.arguments(f"out/{output}", *short, *arguments)) == 0
    place.path("out", "notes.txt").write_text("none", encoding="utf-8")
    place.path("out", "unfinished").mkdir()
    capsys.readouterr()

    folder = tmp_path / "report"
    main([str(tmp_path / "out/*"), "--output_dir", str(folder)])
    printed = capsys.readouterr()
    name = "token-classification-test-f1"
    assert {path.name for path in folder.iterdir()} == {
        "index.html",
        *(f"{name}{kind}.{suffix}" for kind in ("", "-delta") for suffix in ("md", "tex", "csv")),
    }
    with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["method"].split(",")[0] for row in rows] == ["stl", "mtl", "mtl", "seq_reptile"]
    assert [row["seeds"] for row in rows] == ["1", "2", "1", "1"]
    expected = [place.json("out", f"mtl-{seed}", "all_results.json") for seed in (1, 2)]
    for column, task in {"de": "de", "nl (zero-shot)": "nl", "avg": "avg"}.items():
        mean = 50 * sum(results[f"predict_{task}_f1"] for results in expected)
        assert float(rows[1][column]) == pytest.approx(mean, abs=1e-4)
    assert all(rows[0][task] for task in TRAINED) and not rows[0]["nl (zero-shot)"] and not rows[0]["avg"]
    assert all(f" {task}" in printed.out for task in LANGUAGES) and str(folder / "index.html") in printed.out
    assert printed.err.count("skipped: ") == 2 and "notes.txt" in printed.err and "unfinished" in printed.err


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder with three finished runs."""
    for name in ("a", "b", "[c]"):
        write_run(tmp_path / name, "mtl", {"de": 0.5}, seed=ord(name[0]))
    return tmp_path


def test_patterns_may_be_expanded_by_the_shell_or_not(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(runs / "*"), "--output_dir", str(runs / "quoted")])
    main(
        [str(runs / "[c]"), str(runs / "a"), str(runs / "b"), str(runs / "a"), "--output_dir", str(runs / "expanded")]
    )
    quoted, expanded = [
        (runs / name / "token-classification-test-f1.csv").read_text(encoding="utf-8")
        for name in ("quoted", "expanded")
    ]
    assert quoted == expanded and quoted.splitlines()[1].startswith("mtl,3,")


def test_a_second_report_replaces_the_first(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        main([str(runs / "*"), "--output_dir", str(runs / "report")])
    assert "skipped: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent"], "absent matches nothing"),
        (["empty", "unscored", "nan"], "No finished run with scores"),
        (["a", "--output_dir", "a/scores.md"], "scores.md"),
    ],
)
def test_what_the_user_can_mend_ends_with_code_2(
    runs: Path, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (runs / "empty").mkdir()
    write_run(runs / "unscored", "mtl", {"de": 0.5})
    write_run(runs / "nan", "mtl", {"de": math.nan}, start={"de": 0.25})
    (runs / "unscored" / "scores.json").unlink()
    monkeypatch.chdir(runs)
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    error = capsys.readouterr().err
    assert exit_.value.code == 2 and message in error and "Traceback" not in error
    assert "report" not in {path.name for path in runs.iterdir()}
    if "unscored" in arguments:
        assert "empty has no" in error and "unscored has no scores." in error
        assert "nan has no scores of its method mtl (rows of its scores.json: before training, mtl)" in error
