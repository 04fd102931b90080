"""Tables of runs: which runs share a table and a row, statistics over seeds, marks, and the three formats."""

import csv
import io
import re
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_seqreptile.analysis.runs import read_run
from hf_seqreptile.errors import InputError
from hf_seqreptile.report.table_formats import csv_text, escape_latex, latex, markdown, plain_text
from hf_seqreptile.report.table_rows import Cell, Row
from hf_seqreptile.report.tables import Table, make_tables
from hf_seqreptile.scores import Metric
from tests.written_runs import write_run, write_stl

TEXT = st.characters(exclude_categories=["Cs"])
AWKWARD = ["=1+1", "a|b", r"50% & #1_$x^{2}~\n", "<i>x</i>", "**bold**", "Ärger"]


def table(rows: list[tuple[str, dict[str, list[float]]]], columns: list[str], zero_shot: str = "") -> Table:
    """A table of methods with the scores of each seed."""
    made = [
        Row(m, m, [], {c: Cell(s) for c, s in cells.items()}, max(map(len, cells.values()), default=0))
        for m, cells in rows
    ]
    return Table("t", "token-classification", "test", Metric("f1"), columns, frozenset(zero_shot.split()), made, True)


def labels(made: Table) -> list[str]:
    """Of all rows."""
    return [row.label for row in made.rows]


@settings(max_examples=20)
@given(st.lists(st.tuples(*[st.floats(0, 1)] * 3), min_size=1, max_size=4))
def test_cells_are_the_mean_and_the_sample_standard_deviation_over_seeds(scores: list[tuple[float, ...]]) -> None:
    with TemporaryDirectory() as folder:
        runs = [
            write_run(Path(folder) / str(seed), "mtl", dict(zip(("de", "sw", "tr"), own, strict=True)), seed=seed)
            for seed, own in enumerate(scores)
        ]
    (made,) = make_tables(runs)
    (row,) = made.rows
    values = np.array(scores)
    expected = np.column_stack([values, values.mean(axis=1)])
    assert made.columns == ["de", "sw", "tr", "avg"]
    np.testing.assert_allclose([row.cells[c].mean for c in made.columns], expected.mean(axis=0), atol=1e-12)
    deviations = [row.cells[column].deviation for column in made.columns]
    if len(scores) == 1:
        assert deviations == [None] * 4
    else:
        np.testing.assert_allclose(np.array(deviations, float), expected.std(axis=0, ddof=1), atol=1e-7)


def test_numbers_by_hand() -> None:
    # Mean 0.6; deviations −0.1, 0, 0.1, so the sample variance is 0.02 / 2.
    assert str(Cell([0.5, 0.6, 0.7])) == "60.0 ± 10.0"
    assert str(Cell([0.5])) == "50.0"


CELLS = st.dictionaries(st.sampled_from(["de", "sw"]), st.lists(st.floats(0, 1), min_size=1, max_size=2))


@settings(max_examples=100)
@given(st.dictionaries(st.sampled_from(["stl", "mtl", "pcgrad", "reptile"]), CELLS, min_size=2))
def test_bold_is_the_best_multilingual_result_and_underlined_the_best_of_all(
    scores: dict[str, dict[str, list[float]]],
) -> None:
    made = table(list(scores.items()), ["de", "sw"])
    for column in made.columns:
        shown = {m: f"{100 * np.mean(cells[column]):.1f}" for m, cells in scores.items() if column in cells}
        multilingual = [float(x) for method, x in shown.items() if method != "stl"]
        for row in made.rows:
            own = float(shown.get(row.label, "nan"))
            assert made.is_bold(row, column) == (row.label != "stl" and own == max(multilingual, default=-1))
            assert made.is_underlined(row, column) == (own == max(map(float, shown.values()), default=-1))


def test_a_single_row_is_not_the_best_of_anything() -> None:
    made = table([("mtl", {"de": [0.5]})], ["de"])
    assert not made.is_bold(made.rows[0], "de") and not made.is_underlined(made.rows[0], "de")
    assert "Bold" not in markdown(made)


def test_rows_are_methods_in_the_papers_order_with_stl_first(tmp_path: Path) -> None:
    scores = {"de": 0.5, "sw": 0.6}
    methods = ["seq_reptile", "torchjd:UPGrad", "reptile", "swep", "gradvac", "pcgrad", "gradnorm", "recadam", "mtl"]
    runs = [write_run(tmp_path / method, method, scores) for method in methods]
    (made,) = make_tables([*runs, write_stl(tmp_path / "stl", scores)])
    assert labels(made) == [
        "stl", "mtl", "recadam", "gradnorm", "pcgrad", "gradvac", "torchjd:UPGrad", "swep", "reptile", "seq_reptile",
    ]  # fmt: skip
    assert [row.is_multilingual for row in made.rows] == [False] + [True] * 9


def test_runs_that_differ_in_the_seed_alone_are_one_row_and_others_say_what_differs(tmp_path: Path) -> None:
    scores = {"de": 0.5, "sw": 0.6}
    # How often is logged changes no result, nor where gradients wait, nor writing a default out.
    write = [
        (1, {}), (2, {"logging_steps": 7, "task_gradients_device": "cpu"}), (3, {"tasks_per_step": 8}),
        (1, {"tasks_per_step": 1}),
    ]  # fmt: skip
    runs = [write_run(tmp_path / str(i), "mtl", scores, seed=seed, **given) for i, (seed, given) in enumerate(write)]
    (made,) = make_tables(runs)
    assert [row.seeds for row in made.rows] == [3, 1]
    one, other = labels(made)
    assert one.startswith("mtl") and other.startswith("mtl") and one != other and "M" in other and "1" in other


def test_seeds_of_fewer_examples_are_a_row_of_their_own(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / str(seed), "mtl", {"de": 0.5}, seed=seed, results={"train_samples": samples})
        for seed, samples in ((1, 900), (2, 900), (3, 90))
    ]
    (made,) = make_tables(runs)
    assert [(row.label, row.seeds) for row in made.rows] == [
        ("mtl, train_samples=900", 2),
        ("mtl, train_samples=90", 1),
    ]


def test_runs_of_one_setting_and_seed_are_numbered_rows(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name / "mtl", "mtl", {"de": score}) for name, score in (("a", 0.5), ("b", 0.7))]
    (made,) = make_tables(runs)
    assert labels(made) == ["mtl #1", "mtl #2"]
    assert any(f"mtl #1: {tmp_path / 'a/mtl'}; mtl #2: {tmp_path / 'b/mtl'}." in note for note in made.notes)
    assert [str(row.cells["de"]) for row in made.rows] == ["50.0", "70.0"]


def test_a_table_for_each_problem_split_and_score(tmp_path: Path) -> None:
    results = {"predict_de_exact_match": 40.0, "predict_de_f1": 50.0}
    runs = [
        write_run(tmp_path / "qa", "mtl", {"de": 0.5}, problem="question-answering", results=results),
        write_run(tmp_path / "ner", "mtl", {"de": 0.5}),
        write_run(tmp_path / "ner-2", "mtl", {"de": 0.5}, split="validation"),
        write_run(tmp_path / "xnli", "mtl", {"de": 0.5}, problem="text-classification"),
    ]
    made = {one.name: one for one in make_tables(runs)}
    assert list(made) == [
        "question-answering-test-f1", "question-answering-test-exact_match", "token-classification-test-f1",
        "token-classification-validation-f1", "text-classification-test-accuracy",
    ]  # fmt: skip
    assert [str(one.rows[0].cells["de"]) for one in made.values()] == ["50.0", "40.0", "50.0", "50.0", "50.0"]
    assert made["question-answering-test-exact_match"].title == "Question answering, test: exact match (%)"


@pytest.mark.parametrize("text", ["{", "5", '{"predict_de_f1": "high"}'])
def test_broken_results_are_named(tmp_path: Path, text: str) -> None:
    run = write_run(tmp_path / "qa", "mtl", {"de": 0.5}, problem="question-answering")
    (run.folder / "all_results.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"all_results\.json"):
        read_run(run.folder)


def test_runs_on_other_tasks_have_a_table_of_their_own(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / "wide", "mtl", {"de": 0.5, "sw": 0.6, "tr": 0.7}, zero_shot=["tr"]),
        write_run(tmp_path / "other", "mtl", {"fr": 0.5, "de": 0.5}),
        # It has seen Turkish, which for the first is zero-shot.
        write_run(tmp_path / "seen", "pcgrad", {"de": 0.5, "sw": 0.6, "tr": 0.7}),
        write_run(tmp_path / "narrow", "reptile", {"sw": 0.4}),
    ]
    first, second, third = make_tables(runs)
    assert [one.name for one in (first, second, third)] == [
        f"token-classification-test-f1{number}" for number in ("", "-2", "-3")
    ]
    assert (labels(first), first.columns, first.zero_shot) == (["mtl", "reptile"], ["de", "sw", "tr", "avg"], {"tr"})
    assert (labels(second), second.columns) == (["mtl"], ["fr", "de", "avg"])
    assert (labels(third), third.zero_shot) == (["pcgrad", "reptile"], frozenset())


def test_runs_on_other_data_have_a_table_of_their_own_that_says_so(tmp_path: Path) -> None:
    scores = {"de": 0.5, "sw": 0.6}
    of_half = {"predict_samples": 10.0}
    runs = [
        write_run(tmp_path / method, method, scores, results={"predict_samples": samples}, evaluated_on=data)
        for method, samples, data in (
            ("mtl", 20, "local-files"), ("gradnorm", 1060, "sample"), ("pcgrad", 20, "sample"), ("swep", 20, "sample"),
        )
    ]  # fmt: skip
    made = make_tables(runs)
    assert [(labels(one), one.title) for one in made] == [
        (["mtl"], "Token classification, test (20 examples of local files): F1 (%)"),
        (["gradnorm"], "Token classification, test (1,060 examples of sample): F1 (%)"),
        (["pcgrad", "swep"], "Token classification, test (20 examples of sample): F1 (%)"),
    ]
    # STL's models have a folder each, and together the examples of a multilingual run.
    alike = write_run(tmp_path / "alike", "mtl", scores, results={"predict_samples": 20.0})
    (together,) = make_tables([alike, write_stl(tmp_path / "stl", scores, results=of_half)])
    assert labels(together) == ["stl", "mtl"] and together.title == "Token classification, test: F1 (%)"
    # Of fewer languages there are fewer examples.
    (wider,) = make_tables([alike, write_run(tmp_path / "narrow", "reptile", {"sw": 0.5}, results=of_half)])
    assert labels(wider) == ["mtl", "reptile"]


def test_other_numbers_of_training_examples_are_said_below_the_table(tmp_path: Path) -> None:
    sizes = {"mtl": 1900.0, "pcgrad": 90.0}
    runs = [write_run(tmp_path / m, m, {"de": 0.5}, results={"train_samples": n}) for m, n in sizes.items()]
    (made,) = make_tables(runs)
    note = "The rows differ in their training examples, all tasks together (mtl: 1,900, pcgrad: 90)."
    assert labels(made) == ["mtl", "pcgrad"] and note in made.notes
    (alone,) = make_tables(runs[:1])
    assert not any("training examples, all" in text for text in alone.notes)


def test_questions_without_answers_have_tables_of_their_own(tmp_path: Path) -> None:
    results = {
        "mtl": {"predict_de_exact_match": 40.0, "predict_exact_match": 40.0},
        "pcgrad": {"predict_de_exact": 30.0, "predict_exact": 30.0},
    }
    runs = [
        write_run(tmp_path / m, m, {"de": 0.5}, problem="question-answering", results=own | {"predict_samples": 9.0})
        for m, own in results.items()
    ]
    made = make_tables(runs)
    assert [(one.name.removeprefix("question-answering-test-"), labels(one)) for one in made] == [
        ("f1", ["mtl"]), ("f1-2", ["pcgrad"]), ("exact_match", ["mtl"]), ("exact", ["pcgrad"]),
    ]  # fmt: skip
    assert "with unanswerable questions" in made[1].title and "unanswerable" not in made[0].title
    assert [str(one.rows[0].cells["de"]) for one in made[2:]] == ["40.0", "30.0"]


def test_stl_stands_beside_zero_shot_languages_without_an_average(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / "mtl", "mtl", {"de": 0.5, "sw": 0.6, "tr": 0.7}, zero_shot=["tr"]),
        write_stl(tmp_path / "stl", {"de": 0.9, "sw": 0.8}),
    ]
    (made,) = make_tables(runs)
    assert [[made.text(row, column) for column in made.columns] for row in made.rows] == [
        ["90.0", "80.0", "–", "–"],
        ["50.0", "60.0", "70.0", "60.0"],
    ]
    assert any("not evaluated" in note for note in made.notes)


def test_a_score_that_one_seed_lacks_is_said(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / "1", "mtl", {"de": 0.5, "sw": 0.6}, seed=1),
        write_run(tmp_path / "2", "mtl", {"de": 0.7, "sw": float("nan")}, seed=2),
    ]
    (made,) = make_tables(runs)
    assert [made.text(made.rows[0], column) for column in made.columns] == ["60.0 ± 14.1", "60.0", "55.0"]
    assert "mtl, sw: only 1 of 2 seeds." in made.notes and "mtl, avg: only 1 of 2 seeds." in made.notes


def test_the_start_is_shown_once_and_is_no_method(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / f"{method}-{seed}", method, {"de": 0.1}, seed=seed, start={"de": 0.1 + seed / 10})
        for method in ("mtl", "reptile")
        for seed in (1, 2)
    ]
    (made,) = make_tables(runs)
    assert labels(made) == ["before training", "mtl", "reptile"]
    assert made.text(made.rows[0], "de") == "25.0 ± 7.1"
    assert not made.is_bold(made.rows[0], "de") and not made.is_underlined(made.rows[0], "de")
    assert made.is_bold(made.rows[1], "de")


def test_runs_that_did_not_start_alike_are_said_to_differ(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / m, m, {"de": 0.5}, start={"de": s}) for m, s in (("mtl", 0.1), ("reptile", 0.2))]
    (made,) = make_tables(runs)
    assert labels(made) == ["mtl", "reptile"]
    assert any("differ in their model or data" in note for note in made.notes)


def test_the_notes_say_how_many_seeds(tmp_path: Path) -> None:
    assert "One seed for each row" in " ".join(table([("mtl", {"de": [0.5]})], ["de"]).notes)
    even = table([("mtl", {"de": [0.5, 0.6]}), ("stl", {"de": [0.5, 0.6]})], ["de"])
    assert "(n − 1) over 2 seeds." in " ".join(even.notes)
    uneven = table([("mtl", {"de": [0.5, 0.6]}), ("stl", {"de": [0.5]})], ["de"])
    assert "over the seeds (mtl: 2, stl: 1)." in " ".join(uneven.notes)


SMALL = table([("stl", {"de": [0.9]}), ("mtl", {"de": [0.5, 0.7], "sw": [0.25, 0.35]})], ["de", "sw"], zero_shot="sw")


def test_markdown_marks_the_means() -> None:
    assert markdown(SMALL).splitlines()[:6] == [
        "## Token classification, test: F1 (%)",
        "",
        "| Method |          de |       sw † |",
        "|--------|------------:|-----------:|",
        "| stl    |        <u>90.0</u> |          – |",
        "| mtl    | **60.0** ± 14.1 | **<u>30.0</u>** ± 7.1 |",
    ]
    assert "<u>" not in plain_text(SMALL) and "| mtl    | 60.0 ± 14.1 | 30.0 ± 7.1 |" in plain_text(SMALL)


def test_latex_marks_the_means() -> None:
    lines = [line.strip() for line in latex(SMALL).splitlines()]
    assert r"stl & \underline{90.0} & -- \\" in lines
    assert r"mtl & \textbf{60.0}~$\pm$~14.1 & \underline{\textbf{30.0}}~$\pm$~7.1 \\" in lines
    assert r"Method & de & sw $^\dagger$ \\" in lines


def test_csv_has_means_and_deviations_for_programs() -> None:
    assert list(csv.DictReader(io.StringIO(csv_text(SMALL)))) == [
        {"method": "stl", "seeds": "1", "de": "90.0000", "de std": "", "sw (zero-shot)": "", "sw (zero-shot) std": ""},
        {
            "method": "mtl", "seeds": "2", "de": "60.0000", "de std": "14.1421", "sw (zero-shot)": "30.0000",
            "sw (zero-shot) std": "7.0711",
        },
    ]  # fmt: skip


@given(st.from_regex(r"\s?[=+\-@]?", fullmatch=True).flatmap(lambda start: st.text(TEXT).map(lambda end: start + end)))
def test_no_csv_cell_is_a_formula_and_none_is_lost(name: str) -> None:
    text = csv_text(table([(name, {name: [0.5]})], [name]))
    header, row = csv.reader(io.StringIO(text, newline=""))
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in [*header, *row])
    line = " ".join(name.split())
    assert header[2] == row[0] == (f"'{line}" if line[:1] in tuple("=+-@") else line)


@given(st.text(TEXT))
def test_escaped_latex_is_balanced_and_has_no_active_character(name: str) -> None:
    escaped = escape_latex(name)
    bare = re.sub(r"\\(text[a-z]+\{\}|[&%$#_{}])|\$\\(pm|alpha|beta|gamma|eta)\$|\$-\$|\$\^\\dagger\$", "", escaped)
    assert not set(bare) & set("\\&%$#_{}~^\n")


@pytest.mark.parametrize("name", AWKWARD)
def test_names_stay_within_their_cells(name: str) -> None:
    made = table([(name, {name: [0.5]}), ("mtl", {name: [0.6]})], [name])
    lines = markdown(made).splitlines()[2:6]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {3}
    assert "<i>" not in markdown(made) and "**bold**" not in markdown(made)
    assert {line.count("&") - line.count(r"\&") for line in latex(made).splitlines() if line.endswith(r"\\")} == {1}


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_is_typeset(tmp_path: Path) -> None:
    made = table([(name, {name: [0.5, 0.6]}) for name in AWKWARD], AWKWARD, zero_shot="Ärger")
    text = rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}{latex(made)}\end{{document}}"
    (tmp_path / "t.tex").write_text(text, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)
    assert process.returncode == 0, process.stdout[-2000:]
