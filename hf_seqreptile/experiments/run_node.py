"""`python -m hf_seqreptile.experiments.run_node NAME`: one run of an experiment, as the workflow engine starts it."""

import argparse
import json
import os
import runpy
import shlex
import shutil
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager
from importlib import import_module
from pathlib import Path
from statistics import fmean

from filelock import FileLock

from ..analysis.runs import SavedRun, read_run
from ..digests import digest
from ..durable import write_whole
from ..errors import InputError
from ..scores import AVERAGE
from ..training.draw_losses import NotFiniteLossError
from .graph import LOCKS, LOGS, RUNS, Graph, Node, marker, read_graph, run_folder

COMMAND_FILE = "command.sh"
"""In a run's folder: what was run."""
FINISHED_FILE = "experiment_run.json"
"""In a run's folder: that the script has ended well, and how long it took."""


def counted_tasks(run: SavedRun) -> list[str]:
    """The tasks that settings are chosen by: those trained on; where all that was validated is zero-shot, all.

    Raises:
        InputError: the run has no validation scores.
    """
    tasks = [task for task in run.scores.get("validation", {}).get(run.method, {}) if task != AVERAGE]
    if not tasks:
        raise InputError(f"{run.folder} has no validation scores to choose by.")
    return [task for task in tasks if task not in run.zero_shot] or tasks


def validation_score(run: SavedRun) -> float:
    """What settings are chosen by: the mean validation score of [`counted_tasks`]."""
    return fmean(run.scores["validation"][run.method][task] for task in counted_tasks(run))


def best_of(names: Sequence[str], folder: Path) -> str:
    """The node with the best validation score; of equal ones the first. One whose loss did not stay finite is none.

    Args:
        names: of nodes whose markers are there.
        folder: of the experiment.

    Raises:
        InputError: none is left.
    """
    runs = {name: run for name in names if (run := run_folder(folder, name)) is not None}
    if not runs:
        raise InputError(f"The loss of every one of these became infinite or no number: {', '.join(names)}.")
    return max(runs, key=lambda name: validation_score(read_run(runs[name])))


def run_node(graph: Graph, name: str, folder: Path) -> Path:
    """Run a node's script unless its run has ended well before, then what comes after it; write its marker.

    A run's folder is named after its arguments, so that a changed experiment finds the runs that it has in common.

    Args:
        graph: of the experiment.
        name: of the node.
        folder: of the experiment.

    Returns:
        The run's folder.
    """
    node = graph[name]
    arguments = [*node.arguments, *(graph[best_of(node.best_of, folder)].choice if node.best_of else ())]
    run = folder / RUNS / f"{name}-{digest(Path(node.script).name, arguments)[:8]}"
    run.mkdir(parents=True, exist_ok=True)
    # A process that outlived its experiment may still work on it.
    (folder / LOCKS).mkdir(exist_ok=True)
    with (
        FileLock(folder / LOCKS / f"{run.name}.lock"),
        _printed_to(folder / LOGS / f"{name}.txt"),
        chdir(node.directory),
    ):
        diverged = None
        if not (run / FINISHED_FILE).is_file():
            diverged = _run_script(node, arguments, run)
        for module, *argv in node.then if diverged is None else ():
            import_module(module).main([str(run) if part == "RUN" else part for part in argv])
    marker(folder, name).parent.mkdir(exist_ok=True)
    found = {"run": str(run.relative_to(folder))} if diverged is None else {"diverged": diverged}
    write_whole(marker(folder, name), json.dumps(found) + "\n")
    return run


def _run_script(node: Node, arguments: Sequence[str], run: Path) -> str | None:
    """Run the script; why it ended, where the loss of a run that others are chosen beside did not stay finite."""
    if not any(run.rglob("checkpoint-*")):
        # Nothing there can be continued, and a model without its last files would be in the way.
        shutil.rmtree(run)
        run.mkdir()
    argv = [node.script, *arguments, "--output_dir", str(run)]
    (run / COMMAND_FILE).write_text(shlex.join(["python", *argv]) + "\n", encoding="utf-8")
    start = time.perf_counter()
    try:
        run_script(argv)
    except SystemExit as end:
        if node.choice and isinstance(end.__context__, NotFiniteLossError):
            return str(end.__context__)
        raise
    facts = {"node": node.name, "seconds": round(time.perf_counter() - start, 3), "cost": node.cost}
    write_whole(run / FINISHED_FILE, json.dumps(facts) + "\n")
    return None


def run_script(argv: Sequence[str]) -> None:
    """Run a script in this process, as `python` would.

    Args:
        argv: its path and its arguments.

    Raises:
        SystemExit: it ended with another code than 0.
    """
    before, sys.argv = sys.argv, list(argv)
    sys.path.insert(0, str(Path(argv[0]).resolve().parent))
    try:
        runpy.run_path(argv[0], run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
    finally:
        sys.argv = before
        del sys.path[0]


@contextmanager
def _printed_to(path: Path) -> Iterator[None]:
    """All that the process and those that it starts print goes to the end of a file."""
    path.parent.mkdir(exist_ok=True)
    with path.open("ab") as file:
        sys.stdout.flush()
        sys.stderr.flush()
        kept = [os.dup(1), os.dup(2)]
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield
        except Exception:
            traceback.print_exc()
            sys.exit(1)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, descriptor in enumerate(kept, start=1):
                os.dup2(descriptor, number)
                os.close(descriptor)


def main(argv: Sequence[str] | None = None) -> None:
    """The command; the working directory is the experiment's folder."""
    parser = argparse.ArgumentParser(prog="python -m hf_seqreptile.experiments.run_node")
    parser.add_argument("name")
    args = parser.parse_args(argv)
    folder = Path.cwd()
    run_node(read_graph(folder), args.name, folder)


if __name__ == "__main__":
    main()
