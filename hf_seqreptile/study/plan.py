"""A study as a graph of runs: phases one after another, and targets after each condition."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..digests import digest
from ..durable import write_whole
from ..errors import InputError
from ..experiments.commands import find_script, why_refused
from ..experiments.graph import PARENT, Graph, Node, make_graph, marker, run_folder
from ..experiments.names import slug
from ..experiments.run_node import seconds_of
from ..models.multi_head_folder import ENCODER
from ..problems.registry import PROBLEMS
from .conditions import PLAIN, Condition, Phase
from .study_file import Study
from .targets import Target

SCRIPT = "run_multitask.py"
RETRIEVAL_COMMAND = "hf_seqreptile.retrieval"
AFTER_PHASE = "hf_seqreptile.study.after_phase"


@dataclass(frozen=True)
class StudyPlan:
    """What is to be run.

    Args:
        study: that it follows from.
        graph: the runs.
        phases: of each condition by name, the nodes of each seed, one after another.
        targets: of each target and condition by name, the node of each seed.
        places: of each node that trains, where in the study's file it comes from.
    """

    study: Study
    graph: Graph
    phases: Mapping[str, Mapping[int, Sequence[str]]]
    targets: Mapping[tuple[str, str], Mapping[int, str]]
    places: Mapping[str, str]


@dataclass(frozen=True)
class TasksFiles:
    """The tasks' files of a study's runs, each called after its content.

    Args:
        study: names the tasks and targets.
        folder: to write them in.
    """

    study: Study
    folder: Path

    def of_phase(self, phase: Phase) -> Path:
        """That of a phase."""
        entries = {}
        for task, share in phase.tasks.items():
            # A head of its own, unless the entry says which.
            entries[task] = {"head": task, **self.study.tasks[task]} | ({} if share is None else {"weight": share})
        return self._write("+".join(map(slug, phase.tasks)), entries)

    def of_target(self, target: Target) -> Path:
        """That of a target which is trained."""
        return self._write(slug(target.name), target.entries)

    def all_files(self) -> list[Path]:
        """One of all intermediate tasks each, and those of the targets."""
        alone = [self.of_phase(Phase(task, {task: None}, PLAIN, 1)) for task in self.study.tasks]
        return alone + [self.of_target(target) for target in self.study.targets if not target.is_retrieval]

    def _write(self, name: str, entries: Mapping[str, Mapping[str, Any]]) -> Path:
        located = {task: self._located(keys) for task, keys in entries.items()}
        path = self.folder / f"{name[:80]}-{digest(located)[:8]}.json"
        self.folder.mkdir(parents=True, exist_ok=True)
        if not path.is_file():
            write_whole(path, json.dumps(located, indent=1, ensure_ascii=False) + "\n")
        return path

    def _located(self, keys: Mapping[str, Any]) -> dict[str, Any]:
        """An entry's keys, its files and folders with their whole paths."""
        base = self.study.path.parent.resolve()
        files = {*PROBLEMS[keys["problem"]].arguments.files_of_splits.values(), "glue_dir"}

        def located(name: str, value: Any) -> Any:
            if isinstance(value, list):
                return [located(name, one) for one in value]
            is_place = name in files or (name == "dataset_name" and (base / value).is_dir())
            return str(base / value) if is_place else value

        return {name: located(name, value) for name, value in keys.items()}


def plan(study: Study, model: str, folder: Path) -> StudyPlan:
    """The runs of a study.

    Args:
        study: what is asked for.
        model: what all begins with.
        folder: of the study, for its tasks' files.

    Raises:
        InputError: two runs would have one name.
    """
    runs = _Runs(study, model, TasksFiles(study, folder / "tasks"), find_script(SCRIPT))
    nodes: dict[str, Node] = {}
    places: dict[str, str] = {}
    phases: dict[str, dict[int, list[str]]] = {}
    targets: dict[tuple[str, str], dict[int, str]] = {}

    def add(node: Node, *place: str) -> str:
        places[node.name] = study.where(*place)
        # Orders that begin alike share their first phases.
        if nodes.setdefault(node.name, node) != node:
            raise InputError(
                f"{places[node.name]}: two runs would be called {node.name!r}; rename a task or a target."
            )
        return node.name

    for condition in study.conditions:
        of_condition = phases[condition.name] = {}
        for seed in study.seeds:
            names: list[str] = []
            for phase in condition.phases:
                tasks = list(phase.tasks)
                place = ["intermediate", "tasks", *tasks] if len(tasks) == 1 else ["conditions"]
                parent = names[-1] if names else None
                names.append(add(runs.of_phase(phase, seed, parent, bool(condition.rehearsal)), *place))
            if names:
                of_condition[seed] = names
            for target in study.targets:
                node = runs.of_target(target, condition, seed, names[-1] if names else None)
                of_target = targets.setdefault((target.name, condition.name), {})
                of_target[seed] = add(node, "targets", target.name)
    ordered = sorted(nodes.values(), key=lambda node: _depth(nodes, node))
    return StudyPlan(study, make_graph(ordered), phases, targets, places)


@dataclass(frozen=True)
class _Runs:
    """How phases and targets become runs.

    Args:
        study: that they are of.
        model: what all begins with.
        files: their tasks' files.
        script: that trains.
    """

    study: Study
    model: str
    files: TasksFiles
    script: str

    def of_phase(self, phase: Phase, seed: int, parent: str | None, keeps_heads: bool) -> Node:
        name = f"{phase.name}.seed{seed}"
        begins_with = self.model
        if parent is not None:
            begins_with = PARENT if keeps_heads else f"{PARENT}/{ENCODER}"
        own = [*self.study.intermediate_arguments, *phase.method, "--do_eval", "True"]
        arguments = self._command(self.files.of_phase(phase), begins_with, phase.budget, seed, name, own)
        then = [[AFTER_PHASE, "RUN", "--start", self.model]]
        return self._node(name, self.script, arguments, parent, phase.budget, then)

    def of_target(self, target: Target, condition: Condition, seed: int, parent: str | None) -> Node:
        begins_with = self.model if parent is None else f"{PARENT}/{ENCODER}"
        name = f"{slug(target.name)}.{condition.name}"
        if target.is_retrieval:
            # Nothing is drawn: without phases all seeds find the same.
            name += "" if parent is None else f".seed{seed}"
            arguments = ["--model_name_or_path", begins_with, *target.arguments, "--save_example_sums"]
            return self._node(name, RETRIEVAL_COMMAND, arguments, parent, cost=0)
        name += f".seed{seed}"
        entries = target.entries.values()
        splits = {"--do_eval": "validation_file", "--do_predict": "test_file"}
        # Which splits a dataset has is not known yet: `do_predict` is the user's to say.
        asked = [do for do, key in splits.items() if any(key in keys for keys in entries)] or ["--do_eval"]
        own = [*target.arguments, *PLAIN, *asked, "--save_example_sums"]
        arguments = self._command(self.files.of_target(target), begins_with, target.budget, seed, name, own)
        return self._node(name, self.script, arguments, parent, target.budget)

    def _command(
        self, tasks_file: Path, begins_with: str, budget: int, seed: int, name: str, own: Sequence[str]
    ) -> list[str]:
        return [
            str(tasks_file), *self.study.start, *self.study.arguments, *own, "--model_name_or_path", begins_with,
            "--max_gradient_computations", str(budget), "--seed", str(seed), "--do_train", "True",
            "--disable_tqdm", "True", "--run_name", name,
        ]  # fmt: skip

    def _node(
        self,
        name: str,
        script: str,
        arguments: Sequence[str],
        parent: str | None,
        cost: int,
        then: Sequence[Sequence[str]] = (),
    ) -> Node:
        directory = str(self.study.path.parent.resolve())
        return Node(name, script, arguments, parent=parent, then=then, cost=cost, directory=directory)


def _depth(nodes: Mapping[str, Node], node: Node) -> int:
    return 0 if node.parent is None else 1 + _depth(nodes, nodes[node.parent])


def check_commands(made: StudyPlan) -> None:
    """Let the scripts check every command as their `--dry_run` does, before anything runs.

    Raises:
        InputError: says which place of the file is at fault, and why.
    """
    # Seeds and starts differ in nothing that a run is refused for.
    tried: set[tuple[str, ...]] = set()
    for name, node in made.graph.items():
        if node.script == RETRIEVAL_COMMAND:
            continue
        argv = [made.study.model if part.startswith(PARENT) else part for part in node.arguments]
        varied = {argv.index("--seed") + 1, argv.index("--run_name") + 1}
        fixed = tuple(part for place, part in enumerate(argv) if place not in varied)
        if fixed not in tried and (reason := why_refused([node.script, *argv, "--output_dir", "study"])) is not None:
            raise InputError(f"{made.places[name]}: {reason}")
        tried.add(fixed)


def described(made: StudyPlan, folder: Path) -> str:
    """What will be run, for the terminal.

    Args:
        made: the runs.
        folder: of the study, in which some may have ended.
    """
    study, graph = made.study, made.graph
    wanted = sum(len(names) for of_seed in made.phases.values() for names in of_seed.values())
    phases = {name for of_seed in made.phases.values() for names in of_seed.values() for name in names}
    total = sum(node.cost for node in graph.values())
    done = [name for name in graph if marker(folder, name).is_file()]
    lines = [
        f"Study {study.path} in {folder}",
        f"  Start: {study.model}. Intermediate: {', '.join(study.tasks)}; {study.budget:,} gradient computations.",
        f"  {len(study.conditions)} conditions: {'; '.join(one.label for one in study.conditions)}.",
        f"  {len(study.targets)} targets: {', '.join(_in_words(one) for one in study.targets)}.",
        f"  Seeds {', '.join(map(str, study.seeds))}. {wanted:,} phases, of which {len(phases):,} are run: orders "
        f"that begin alike share them.",
        f"  Altogether {len(graph):,} runs, {total:,} gradient computations; {len(done):,} are done.",
    ]
    known = [(run, graph[name].cost) for name in done if graph[name].cost and (run := run_folder(folder, name))]
    if cost := sum(of_run for _, of_run in known):
        left = total - sum(graph[name].cost for name in done)
        hours = left * sum(seconds_of(run) for run, _ in known) / cost / 3600
        lines.append(f"  By these, the others take about {hours:.1f} hours, one after another.")
    else:
        lines.append("  How long that takes is shown from the first run's end on.")
    return "\n".join(lines)


def _in_words(target: Target) -> str:
    scored = ", ".join(target.evaluated) or "all pairs"
    if target.is_retrieval:
        return f"{target.name} (translations of {scored})"
    return f"{target.name} ({target.budget:,} gradient computations on {target.language}, scored on {scored})"
