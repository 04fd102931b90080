"""`python -m hf_seqreptile.compare` from end to end, with the real engine and real runs of a tiny model."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from hf_seqreptile.analysis.runs import read_run
from hf_seqreptile.compare.__main__ import main
from hf_seqreptile.compare.arguments import parse
from hf_seqreptile.compare.outcome import read_outcome
from hf_seqreptile.compare.plan import check_commands, described, plan
from hf_seqreptile.compare.presentation import sentences as sentences_of
from hf_seqreptile.compare.presentation import write_outcome
from hf_seqreptile.experiments.graph import write_graph
from hf_seqreptile.experiments.run_node import run_node, validation_score
from hf_seqreptile.report.__main__ import main as report
from tests.commands import kill_repeatedly, started
from tests.scripts import ROOT, TRAINED, sentences, write, write_conll, write_model

COMPARE = "hf_seqreptile.compare"
METHODS = ["--methods", "mtl --tasks_per_step 1 --learning_rate 1e-2", "seq_reptile --learning_rate 2e-2"]
SETTINGS = [
    "--inner_steps", "2", "6", "--seeds", "1", "--max_gradient_computations", "24", "--interpolate", "0.5",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, a model, and pairs of sentences."""
    folder = tmp_path_factory.mktemp("compare")
    write_model(folder / "model")
    for language in TRAINED:
        for split in ("train", "validation", "test"):
            write_conll(folder / f"{language}/{split}.conll", sentences(language, split))
    for language in ("de", "en"):
        lines = [" ".join(words) for words, _ in sentences(language)[:12]]
        write(folder / f"{language}.txt", "\n".join(f"{line} {i}" for i, line in enumerate(lines)))
    return folder


def command(folder: Path, output: str = "out", *others: str) -> list[str]:
    files = [
        part
        for split in ("train", "validation", "test")
        for part in (f"--{split}_file", *(f"{x}={folder / x / split}.conll" for x in TRAINED))
    ]
    return [
        str(ROOT / "run_ner.py"), *METHODS, *SETTINGS, "--pairs", f"de={folder / 'de.txt'},{folder / 'en.txt'}",
        "--model_name_or_path", str(folder / "model"), *files, "--do_predict", "--per_device_train_batch_size", "4",
        "--use_cpu", "--save_strategy", "no", "--jobs", "2", "--output_dir", str(folder / output), *others,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def printed(folder: Path) -> str:
    """What the command says, its runs made here one after another, since the engine takes its time for each."""
    comparison = plan(parse(command(folder)))
    check_commands(comparison)
    (folder / "out").mkdir()
    write_graph(comparison.graph, folder / "out")
    for name in comparison.graph:
        run_node(comparison.graph, name, folder / "out")
    outcome = read_outcome(comparison)
    write_outcome(outcome, comparison, 2)
    return "\n".join([described(comparison, 0), *sentences_of(outcome)])


def found(folder: Path, output: str = "out") -> dict:
    return json.loads((folder / output / "comparison.json").read_text())


def findings(folder: Path, output: str = "out") -> list[dict]:
    """What was found of each method, without the names of its runs, which depend on the output folder's."""
    return [{name: value for name, value in one.items() if name != "runs"} for one in found(folder, output)["methods"]]


def test_it_says_what_it_will_do_and_what_it_found(folder: Path, printed: str) -> None:
    assert "2 runs choose among K=2, η=0.5; K=6, η=0.5; 1 scored" in printed
    assert "Altogether 4 runs, 72 gradient computations; 0 are done." in printed
    assert "The difference to mtl, M=1, α=1e-2, " in printed
    assert "within chance" in printed or "beyond chance" in printed


def test_budgets_are_equal_and_settings_chosen_on_another_seed(folder: Path, printed: str) -> None:
    runs = [read_run(path) for path in (folder / "out/runs").iterdir() if path.name.startswith("score")]
    assert len(runs) == 2
    for run in runs:
        assert sum(value for key, value in run.log[-1].items() if key.startswith("draws/")) in (0, 24)
        assert {"validation", "test"} <= run.scores.keys() and run.seed == 1
    choosing = [read_run(path) for path in (folder / "out/runs").iterdir() if path.name.startswith("choose")]
    assert {run.seed for run in choosing} == {2} and all("test" not in run.scores for run in choosing)
    best = max(map(validation_score, choosing))
    best_settings = {run.setting("inner_steps") for run in choosing if validation_score(run) == best}
    (chosen,) = {run.setting("inner_steps") for run in runs if run.method == "seq_reptile"}
    assert chosen in best_settings


def test_scores_are_those_of_the_runs(folder: Path, printed: str) -> None:
    outcome = found(folder)
    assert outcome["split"] == "test" and outcome["groups"] == {"trained": TRAINED}
    for method in outcome["methods"]:
        runs = [read_run(folder / "out/runs" / name) for name in method["runs"].values()]
        mean = sum(run.score("test") or 0 for run in runs) / len(runs)
        estimate = method["scores"]["trained"]
        assert estimate["value"] == pytest.approx(mean)
        assert estimate["low"] <= mean <= estimate["high"] and estimate["counts_examples"]
    assert outcome["methods"][0]["difference"] is None
    first, second = (method["scores"]["trained"]["value"] for method in outcome["methods"])
    assert outcome["methods"][1]["difference"]["value"] == pytest.approx(second - first)


def test_the_frontier_has_the_models_pulled_back(folder: Path, printed: str) -> None:
    points = found(folder)["frontier"]["scored"]
    assert {point["weight"] for point in points} == {1.0, 0.5}
    assert all(0 <= point[name] <= 1 for point in points for name in ("score", "kept"))
    assert (folder / "out/frontier.png").is_file()
    page = (folder / "out/index.html").read_text()
    assert "What was found" in page and "data:image/png" in page


def times_of_models(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (folder / "out/runs").rglob("*.safetensors")}


def test_a_repeated_command_trains_nothing(folder: Path, printed: str, capsys: pytest.CaptureFixture) -> None:
    before = times_of_models(folder)
    text = (folder / "out/comparison.json").read_text()
    # The engine looks one up again, whose run has ended.
    next((folder / "out/nodes").glob("score*")).unlink()
    main(command(folder))
    assert before == times_of_models(folder)
    assert (folder / "out/comparison.json").read_text() == text
    assert "3 are done" in capsys.readouterr().out


def test_runs_are_ordinary_folders(folder: Path, printed: str, tmp_path: Path) -> None:
    report([str(folder / "out/runs/*"), "--output_dir", str(tmp_path)])
    one = next((folder / "out/runs").glob("score*"))
    assert (one / "command.sh").read_text().startswith("python ")


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_the_same(folder: Path, printed: str) -> None:
    kill_repeatedly(COMPARE, *command(folder, "killed"), times=10, step=3)
    started(COMPARE, *command(folder, "killed")).communicate(timeout=280)
    assert findings(folder, "killed") == findings(folder)
    shutil.rmtree(folder / "killed")


@pytest.mark.slow
def test_runs_that_outlive_their_command_are_waited_for(folder: Path, printed: str) -> None:
    running = started(COMPARE, *command(folder, "orphans"))
    while not list((folder / "orphans").glob("logs/*")):
        time.sleep(0.5)
    # The command alone; the engine and its runs go on.
    os.kill(running.pid, signal.SIGKILL)
    again = started(COMPARE, *command(folder, "orphans"))
    text, _ = again.communicate(timeout=280)
    assert "Waiting for runs in" in text and again.returncode == 0
    assert findings(folder, "orphans") == findings(folder)


@pytest.mark.parametrize(
    ("others", "message"),
    [
        (["--seed", "3"], "A comparison sets --seed itself: give --seeds instead"),
        (["--learning_rate=3"], "give --learning_rates instead"),
        (["--choosing_seed", "1"], "--choosing_seed is one of --seeds"),
        (["--interpolate", "1.5"], "--interpolate must lie between 0 and 1"),
        (["--methods", "mtl", "mtl"], "--methods names 'mtl' twice"),
        (["--methods", "seq_reptil"], "seq_reptile"),
        (["--methods", "mtl --inner_steps 3"], "--inner_steps is a setting of --method"),
        (["--methods", "mtl --seed 3"], "a comparison sets --seed itself"),
        (["--train_batch", "3"], "Unknown argument --train_batch"),
        (["--pairs", "de=nowhere.txt,no.txt"], "nowhere.txt is no file"),
        (["--inner_steps", "50"], "--inner_steps (K) is 50, but only 24"),
        (["--use_peft"], "--interpolate pulls an encoder's own weights back"),
    ],
)
def test_mistakes_are_refused_before_anything_runs(
    folder: Path, others: list[str], message: str, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as end:
        main(command(folder, "refused", *others))
    said = capsys.readouterr()
    assert end.value.code == 2 and message in said.err, said.err
    assert not (folder / "refused").exists()


@pytest.mark.slow
def test_a_failed_run_is_named_with_the_end_of_its_log(folder: Path, capsys: pytest.CaptureFixture) -> None:
    write(folder / "bad.conll", "Anna\tB-PER\nWeber\n")
    with pytest.raises(SystemExit) as end:
        main(command(folder, "failed", "--train_file", f"de={folder / 'bad.conll'}", "--languages", "de"))
    said = capsys.readouterr().err
    assert end.value.code == 2 and "failed; 4 runs left" in said and "bad.conll" in said, said


def test_without_the_engine_it_says_what_to_install(folder: Path, capsys: pytest.CaptureFixture, monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        main(command(folder, "absent"))
    assert "pip install 'hf-seqreptile[experiments]'" in capsys.readouterr().err
