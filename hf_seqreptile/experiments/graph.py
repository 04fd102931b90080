"""What an experiment consists of: runs of the scripts, and which come after which."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..durable import write_whole
from ..errors import InputError
from ..json_text import parse_json

GRAPH_FILE = "graph.json"
NODES = "nodes"
"""The folder of the nodes' markers: each a file that says which run is the node's, there once it has ended."""
RUNS = "runs"
"""The folder of the runs, each an output folder of a script."""
LOGS = "logs"
"""The folder of what the runs printed."""
LOCKS = "locks"
"""The folder of locks, each held by the process that works on a run."""
PARENT = "PARENT"
"""Among a node's arguments, alone or before `/`: the run that it follows."""
_NAME = re.compile(r"\w[\w.=+-]*")


@dataclass(frozen=True)
class Node:
    """A run of a script.

    Args:
        name: of files; letters, digits and `_ . = + -`.
        script: its path, or a module of this package that is a command, such as `hf_seqreptile.retrieval`.
        arguments: the script's, without `--output_dir`. In them `PARENT` and `PARENT/…` stand for the run of `parent`.
        choice: arguments that are taken over where this node is the best of several; if its loss does not stay finite,
            it is none of them, and the others go on.
        best_of: nodes that run before; the `choice` of the one with the best validation score is added to `arguments`.
        parent: a node that runs before, whose run this one begins with.
        then: functions `main(argv)` of modules of this package that are called after the run, in its process, each as
            its module's name and its arguments; `RUN` stands for the run's folder.
        cost: gradient computations, for the progress bar.
        directory: where the script is run, from which relative paths among its arguments go. Default: here.
    """

    name: str
    script: str
    arguments: Sequence[str]
    choice: Sequence[str] = ()
    best_of: Sequence[str] = ()
    parent: str | None = None
    then: Sequence[Sequence[str]] = ()
    cost: int = 1
    directory: str = field(default_factory=os.getcwd)

    @property
    def needs(self) -> list[str]:
        """The nodes that run before."""
        return [*self.best_of, *([] if self.parent is None else [self.parent])]


Graph = Mapping[str, Node]
"""The nodes by name."""


def make_graph(nodes: Sequence[Node]) -> Graph:
    """The nodes by name.

    Raises:
        InputError: a name that is no file's or occurs twice, or a node that comes before one that it needs.
    """
    graph: dict[str, Node] = {}
    for node in nodes:
        if not _NAME.fullmatch(node.name):
            raise InputError(f"A run cannot be called {node.name!r}: use letters, digits and _ . = + -.")
        if node.name in graph:
            raise InputError(f"Two runs are called {node.name!r}.")
        if unknown := [name for name in node.needs if name not in graph]:
            raise InputError(f"{node.name!r} is to follow {unknown[0]!r}, which is not before it.")
        graph[node.name] = node
    return graph


def write_graph(graph: Graph, folder: Path) -> None:
    """Write the graph into the folder of its experiment."""
    write_whole(folder / GRAPH_FILE, json.dumps([asdict(node) for node in graph.values()], indent=1) + "\n")


def read_graph(folder: Path) -> Graph:
    """The graph of an experiment's folder.

    Raises:
        InputError: there is none that can be read.
    """
    path = folder / GRAPH_FILE
    try:
        return make_graph([Node(**node) for node in parse_json(path.read_text(encoding="utf-8"))])
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path} cannot be read as a graph of runs: {error}") from error


def marker(folder: Path, name: str) -> Path:
    """The file that is there once a node has ended."""
    return folder / NODES / f"{name}.json"


def run_folder(folder: Path, name: str) -> Path | None:
    """The output folder of a node's run; `None` where it has not ended well."""
    run = _found(folder, name).get("run")
    return folder / run if run else None


def finished_run(folder: Path, name: str) -> Path:
    """As [`run_folder`], of a node that must have ended well.

    Raises:
        InputError: it has not.
    """
    found = run_folder(folder, name)
    if found is None:
        raise InputError(f"{name} has not been run; repeat the command.")
    return found


def why_diverged(folder: Path, name: str) -> str | None:
    """What is said of a node whose loss did not stay finite; `None` of others."""
    return _found(folder, name).get("diverged")


def _found(folder: Path, name: str) -> dict[str, str]:
    path = marker(folder, name)
    return parse_json(path.read_text(encoding="utf-8")) if path.is_file() else {}
