"""An experiment's graph, run by Snakemake: what is done stays done, whenever it was stopped."""

import fcntl
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from ..errors import InputError
from .graph import LOGS, NODES, Graph, marker, write_graph

ENGINE = "snakemake"
SNAKEFILE = Path(__file__).with_name("Snakefile")
ENGINE_LOG = "snakemake.txt"
LOCK_FILE = ".lock"
LINES_OF_A_LOG = 12
_POLL_SECONDS = 0.5


def check_engine(folder: Path, jobs: int) -> None:
    """Refuse what no graph can be run with.

    Args:
        folder: of the experiment.
        jobs: runs at the same time.

    Raises:
        InputError: a folder that is a file, no jobs, or no workflow engine; says what to install.
    """
    if jobs < 1:
        raise InputError("--jobs must be at least 1.")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--output_dir {folder} is a file. Name a folder.")
    if importlib.util.find_spec(ENGINE) is None:
        raise InputError("Snakemake runs experiments and is not installed: pip install 'hf-seqreptile[experiments]'.")


def run_graph(graph: Graph, folder: Path, jobs: int = 1, executor: str | None = None) -> None:
    """Run what has not been run yet, with a progress bar over gradient computations.

    Args:
        graph: of the experiment.
        folder: of the experiment; all that it writes is in there.
        jobs: runs at the same time. The machine's cores are shared out among them, unless OMP_NUM_THREADS is set.
        executor: Snakemake's, such as `slurm`, whose plugin must be installed. Default: this machine.

    Raises:
        InputError: a run failed; says which, and how its log ends.
    """
    check_engine(folder, jobs)
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder) as lock:
        write_graph(graph, folder)
        _forget_changed(graph, folder)
        environment = dict(os.environ)
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))
        command = [
            sys.executable, "-m", ENGINE, "--snakefile", str(SNAKEFILE), "--directory", str(folder),
            f"--{'jobs' if executor else 'cores'}", str(jobs), *(["--executor", executor] if executor else []),
            # Its own lock would stay after kill -9; ours ends with the processes that hold it.
            "--nolock",
            "--rerun-incomplete",
            # A new version of this package or of a script is no reason to train again.
            "--rerun-triggers", "mtime", "params", "input",
        ]  # fmt: skip
        with (folder / ENGINE_LOG).open("ab") as log:
            engine = subprocess.Popen(command, stdout=log, stderr=log, env=environment, pass_fds=[lock])
            _follow(graph, folder, engine)
    if failed := [name for name in graph if not marker(folder, name).is_file()]:
        raise InputError(_failure(failed, folder))


def _forget_changed(graph: Graph, folder: Path) -> None:
    """Take away the markers of nodes that are no longer there."""
    for path in (folder / NODES).glob("*.json"):
        if path.stem not in graph:
            path.unlink()


@contextmanager
def _alone(folder: Path) -> Iterator[int]:
    """Hold the folder's lock, whose descriptor is given to the processes that work on it.

    So it is held as long as one of them lives, though this one was killed.
    """
    with (folder / LOCK_FILE).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"Waiting for runs in {folder} that another command has started …", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        os.set_inheritable(file.fileno(), True)
        yield file.fileno()


def _follow(graph: Graph, folder: Path, engine: subprocess.Popen) -> None:
    """Show how far the engine is until it ends; what stops this process stops it as well."""
    ahead = dict(graph)
    done = [name for name in ahead if marker(folder, name).is_file()]
    total, before = sum(node.cost for node in graph.values()), sum(graph[name].cost for name in done)
    try:
        with tqdm(total=total, initial=before, unit=" gradients", desc=f"{len(done)} of {len(graph)} runs") as bar:
            while True:
                has_ended = engine.poll() is not None
                for name in [name for name in ahead if marker(folder, name).is_file()]:
                    node = ahead.pop(name)
                    if name not in done:
                        bar.update(node.cost)
                bar.set_description(f"{len(graph) - len(ahead)} of {len(graph)} runs")
                if has_ended:
                    return
                time.sleep(_POLL_SECONDS)
    except BaseException as error:
        # Ctrl-C has reached it as well; a second signal would make it leave its runs behind.
        if not isinstance(error, KeyboardInterrupt):
            engine.terminate()
        engine.wait()
        if isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt("The same command goes on where it was.") from None
        raise


def _failure(failed: list[str], folder: Path) -> str:
    """Which run failed and how its log ends; the engine's where none did."""
    logs = [path for name in failed if (path := folder / LOGS / f"{name}.txt").is_file()]
    log = max(logs, key=lambda path: path.stat().st_mtime, default=folder / ENGINE_LOG)
    # Of a progress bar the last state alone.
    lines = [
        line.rpartition("\r")[2] for line in log.read_text(encoding="utf-8", errors="replace").strip().split("\n")
    ]
    ends = lines[-LINES_OF_A_LOG:]
    which = log.stem if logs else "The engine"
    return "\n".join(
        [
            f"{which} failed; {len(failed)} run{'s' if len(failed) > 1 else ''} left. {log} ends with:",
            *(f"  {line}" for line in ends),
            "The same command goes on where it was.",
        ]
    )
