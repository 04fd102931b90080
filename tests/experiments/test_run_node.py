"""One run of an experiment: what it leaves, and what a run whose loss does not stay finite means."""

import json
from pathlib import Path

import pytest

from hf_seqreptile.errors import InputError
from hf_seqreptile.experiments.graph import Node, make_graph, read_graph, run_folder, why_diverged, write_graph
from hf_seqreptile.experiments.run_node import FINISHED_FILE, best_of, run_node
from tests.scripts import write

SCRIPT = """
import sys
from pathlib import Path
from hf_seqreptile.console.bad_input import bad_input_exits
from hf_seqreptile.errors import InputError
from hf_seqreptile.training.draw_losses import NotFiniteLossError

folder = Path(sys.argv[sys.argv.index("--output_dir") + 1])
with bad_input_exits():
    (folder / "times").write_text((folder / "times").read_text() + "x" if (folder / "times").exists() else "x")
    if "--diverge" in sys.argv:
        raise NotFiniteLossError("The loss of task 'de' is nan at step 3. Lower it.")
    if "--fail" in sys.argv:
        raise InputError("broken")
    Path("where").write_text("here")
"""


@pytest.fixture
def script(tmp_path: Path) -> str:
    return write(tmp_path / "script.py", SCRIPT)


def node(script: str, name: str, *arguments: str, **others) -> Node:
    return Node(name, script, arguments, directory=str(Path(script).parent), **others)


def test_a_run_is_made_once_where_the_command_was_given(tmp_path: Path, script: str) -> None:
    graph = make_graph([node(script, "a", "--x")])
    run = run_node(graph, "a", tmp_path / "out")
    assert run == run_node(graph, "a", tmp_path / "out") == run_folder(tmp_path / "out", "a")
    assert (run / "times").read_text() == "x" and (run / FINISHED_FILE).is_file()
    assert (tmp_path / "where").is_file()
    assert (run / "command.sh").read_text() == f"python {script} --x --output_dir {run}\n"


def test_another_argument_is_another_run(tmp_path: Path, script: str) -> None:
    runs = {run_node(make_graph([node(script, "a", x)]), "a", tmp_path / "out") for x in ("--x", "--y", "--x")}
    assert len(runs) == 2


def test_what_was_left_unfinished_is_made_anew_unless_it_has_a_checkpoint(tmp_path: Path, script: str) -> None:
    graph = make_graph([node(script, "a")])
    run = run_node(graph, "a", tmp_path / "out")
    (run / FINISHED_FILE).unlink()
    run_node(graph, "a", tmp_path / "out")
    assert (run / "times").read_text() == "x"
    (run / FINISHED_FILE).unlink()
    (run / "checkpoint-5").mkdir()
    run_node(graph, "a", tmp_path / "out")
    assert (run / "times").read_text() == "xx"


def test_a_diverged_choice_is_none(tmp_path: Path, script: str) -> None:
    graph = make_graph([node(script, "a", "--diverge", choice=["--x", "1"])])
    run_node(graph, "a", tmp_path)
    assert run_folder(tmp_path, "a") is None and "is nan at step 3" in (why_diverged(tmp_path, "a") or "")
    with pytest.raises(InputError, match="every one of these"):
        best_of(["a"], tmp_path)


@pytest.mark.parametrize("others", [{}, {"choice": ["--x", "1"]}])
def test_another_failure_is_one(tmp_path: Path, script: str, others: dict, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_node(make_graph([node(script, "a", "--fail", **others)]), "a", tmp_path)
    assert not list((tmp_path / "nodes").glob("*")) and "broken" in capsys.readouterr().err


def test_a_diverged_run_that_is_no_choice_is_a_failure(tmp_path: Path, script: str) -> None:
    with pytest.raises(SystemExit):
        run_node(make_graph([node(script, "a", "--diverge")]), "a", tmp_path)


def test_the_graph_is_read_back(tmp_path: Path) -> None:
    graph = make_graph([Node("a", "s.py", ["--x"]), Node("b", "s.py", [], best_of=["a"], then=[["m", "RUN"]])])
    write_graph(graph, tmp_path)
    read = read_graph(tmp_path)
    assert json.dumps([vars(one) for one in read.values()]) == json.dumps([vars(one) for one in graph.values()])


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([Node("a b", "s", [])], "cannot be called 'a b'"),
        ([Node("../a", "s", [])], "cannot be called"),
        ([Node("a", "s", []), Node("a", "s", [])], "Two runs are called 'a'"),
        ([Node("a", "s", [], best_of=["b"])], "is to follow 'b', which is not before it"),
    ],
)
def test_graphs_that_cannot_be(nodes: list[Node], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_graph(nodes)
