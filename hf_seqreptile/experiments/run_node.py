"""`python -m hf_seqreptile.experiments.run_node NAME`: one run of an experiment, as the workflow engine starts it."""

import argparse
import hashlib
import json
import os
import shlex
import shutil
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

from filelock import FileLock

from ..analysis.runs import SavedRun, read_run
from ..digests import digest
from ..durable import write_whole
from ..errors import InputError
from ..json_text import parse_json
from ..scores import AVERAGE
from ..training.draw_losses import NotFiniteLossError
from .commands import run_script
from .graph import LOCKS, LOGS, PARENT, RUNS, Graph, Node, marker, read_graph, run_folder

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
    parent = None if node.parent is None else run_folder(folder, node.parent)
    # The parent's name has the digest of its own arguments.
    named = arguments if parent is None else _with_parent(arguments, Path(parent.name))
    run = folder / RUNS / f"{name}-{digest(Path(node.script).name, named)[:8]}"
    run.mkdir(parents=True, exist_ok=True)
    arguments = arguments if parent is None else _with_parent(arguments, parent)
    # A process that outlived its experiment may still work on it.
    (folder / LOCKS).mkdir(exist_ok=True)
    with (
        FileLock(folder / LOCKS / f"{run.name}.lock"),
        _printed_to(folder / LOGS / f"{name}.txt"),
        chdir(node.directory),
    ):
        diverged = None
        if not (run / FINISHED_FILE).is_file():
            diverged = _run_script(node, arguments, run, parent)
        for module, *argv in node.then if diverged is None else ():
            import_module(module).main([str(run) if part == "RUN" else part for part in argv])
    marker(folder, name).parent.mkdir(exist_ok=True)
    found = {"run": str(run.relative_to(folder))} if diverged is None else {"diverged": diverged}
    write_whole(marker(folder, name), json.dumps(found) + "\n")
    return run


def _with_parent(arguments: Sequence[str], parent: Path) -> list[str]:
    """The arguments with the parent's run in them."""
    return [
        str(parent) + part.removeprefix(PARENT) if part == PARENT or part.startswith(f"{PARENT}/") else part
        for part in arguments
    ]


def _run_script(node: Node, arguments: Sequence[str], run: Path, parent: Path | None) -> str | None:
    """Run the script; why it ended, where the loss of a run that others are chosen beside did not stay finite."""
    if not any(run.rglob("checkpoint-*")):
        # Nothing there can be continued, and a model without its last files would be in the way.
        shutil.rmtree(run)
        run.mkdir()
    argv = [node.script, *arguments, "--output_dir", str(run)]
    command = ["python", *([] if Path(node.script).is_file() else ["-m"]), *argv]
    (run / COMMAND_FILE).write_text(shlex.join(command) + "\n", encoding="utf-8")
    start = time.perf_counter()
    try:
        run_script(argv)
    except SystemExit as end:
        if node.choice and isinstance(end.__context__, NotFiniteLossError):
            return str(end.__context__)
        raise
    facts: dict[str, Any] = {"node": node.name, "seconds": round(time.perf_counter() - start, 3), "cost": node.cost}
    if parent is not None:
        facts["parents"] = [parent.name, *parents_of(parent)]
    if (begun := parent or _start_of(arguments)) is not None:
        facts["started_from"] = weights_digest(begun)
    write_whole(run / FINISHED_FILE, json.dumps(facts) + "\n")
    return None


def _start_of(arguments: Sequence[str]) -> Path | None:
    """The folder of the model that a run without a parent starts from; `None` where it is no folder's path."""
    names = [value for name, value in pairwise(arguments) if name == "--model_name_or_path"]
    return Path(names[-1]) if names and Path(names[-1]).is_dir() else None


def parents_of(run: Path) -> list[str]:
    """The names of the runs that a finished run follows, the next before it first."""
    return list(parse_json((run / FINISHED_FILE).read_text(encoding="utf-8")).get("parents", ()))


def seconds_of(run: Path) -> float:
    """How long a finished run took."""
    return float(parse_json((run / FINISHED_FILE).read_text(encoding="utf-8"))["seconds"])


def weights_digest(run: Path) -> str:
    """SHA-256 over the names and contents of a run's or a model's files of weights, checkpoints left out."""
    found = hashlib.sha256()
    for path in sorted(run.rglob("*.safetensors")):
        place = path.relative_to(run)
        if not place.parts[0].startswith("checkpoint-"):
            with path.open("rb") as file:
                found.update(f"{place}:{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return found.hexdigest()


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
