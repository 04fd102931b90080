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
    files = TasksFiles(study, folder / "tasks")
    script = find_script(SCRIPT)
    directory = str(study.path.parent.resolve())
    nodes: dict[str, Node] = {}
    places: dict[str, str] = {}
    phases: dict[str, dict[int, list[str]]] = {}
    targets: dict[tuple[str, str], dict[int, str]] = {}

    def add(node: Node, place: str) -> str:
        if node.name in nodes and nodes[node.name] != node:
            raise InputError(f"{place}: two runs would be called {node.name!r}; rename a task or a target.")
        nodes[node.name] = node
        places[node.name] = place
        return node.name

    def command(tasks_file: Path, begins_with: str, budget: int, seed: int, name: str, *own: str) -> list[str]:
        return [
            str(tasks_file), *study.start, *study.arguments, *own, "--model_name_or_path", begins_with,
            "--max_gradient_computations", str(budget), "--seed", str(seed), "--do_train", "True",
            "--disable_tqdm", "True", "--run_name", name,
        ]  # fmt: skip

    for condition in study.conditions:
        of_seeds: dict[int, list[str]] = {}
        for seed in study.seeds:
            parent: str | None = None
            for phase in condition.phases:
                name = f"{phase.name}.seed{seed}"
                # Heads go on where their tasks are rehearsed.
                later = PARENT if condition.rehearsal else f"{PARENT}/{ENCODER}"
                own = [*study.intermediate_arguments, *phase.method, "--do_eval", "True"]
                arguments = command(files.of_phase(phase), later if parent else model, phase.budget, seed, name, *own)
                then = [[AFTER_PHASE, "RUN", "--start", model]]
                node = Node(
                    name, script, arguments, parent=parent, then=then, cost=phase.budget, directory=directory
                )  # fmt: skip
                parent = add(node, study.where("conditions") if len(phase.tasks) > 1 else study.where(
                    "intermediate", "tasks", next(iter(phase.tasks))
                ))  # fmt: skip
                of_seeds.setdefault(seed, []).append(name)
        phases[condition.name] = of_seeds
        for target in study.targets:
            targets[target.name, condition.name] = {
                seed: add(
                    _target_node(target, condition, seed, of_seeds.get(seed, []), model, files, script, command),
                    study.where("targets", target.name),
                )
                for seed in study.seeds
            }
    ordered = sorted(nodes.values(), key=lambda node: _depth(nodes, node))
    return StudyPlan(study, make_graph(ordered), phases, targets, places)


def _target_node(
    target: Target,
    condition: Condition,
    seed: int,
    phases: Sequence[str],
    model: str,
    files: TasksFiles,
    script: str,
    command: Any,
) -> Node:
    parent = phases[-1] if phases else None
    begins_with = f"{PARENT}/{ENCODER}" if parent else model
    directory = str(files.study.path.parent.resolve())
    if target.is_retrieval:
        # Nothing is drawn: without phases all seeds find the same.
        name = f"{slug(target.name)}.{condition.name}" + (f".seed{seed}" if parent else "")
        arguments = ["--model_name_or_path", begins_with, *target.arguments]
        return Node(name, RETRIEVAL_COMMAND, arguments, parent=parent, cost=0, directory=directory)
    name = f"{slug(target.name)}.{condition.name}.seed{seed}"
    splits = {"do_eval": "validation_file", "do_predict": "test_file"}
    has_dataset = any("dataset_name" in keys for keys in target.entries.values())
    asked = [f"--{do}" for do, key in splits.items() if any(key in keys for keys in target.entries.values())]
    own = [*target.arguments, *PLAIN, *(asked or ["--do_eval"] if has_dataset else asked), "--save_example_sums"]
    arguments = command(files.of_target(target), begins_with, target.budget, seed, name, *own)
    return Node(name, script, arguments, parent=parent, cost=target.budget, directory=directory)


def _depth(nodes: Mapping[str, Node], node: Node) -> int:
    return 0 if node.parent is None else 1 + _depth(nodes, nodes[node.parent])


def check_commands(made: StudyPlan) -> None:
    """Let the scripts check every command as their `--dry_run` does, before anything runs.

    Raises:
        InputError: says which place of the file is at fault, and why.
    """
    tried: set[tuple[str, ...]] = set()
    for name, node in made.graph.items():
        if node.script == RETRIEVAL_COMMAND:
            continue
        seed, run_name = node.arguments.index("--seed"), node.arguments.index("--run_name")
        fixed = [part for place, part in enumerate(node.arguments) if place not in (seed + 1, run_name + 1)]
        argv = [made.study.model if part.startswith(PARENT) else part for part in fixed]
        if tuple(argv) in tried:
            continue
        tried.add(tuple(argv))
        argv = [made.study.model if part.startswith(PARENT) else part for part in node.arguments]
        if (reason := why_refused([node.script, *argv, "--output_dir", "study"])) is not None:
            raise InputError(f"{made.places[name]}: {reason}")


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
    return f"{target.name} ({target.budget:,} gradient computations on {target.trained}, scored on {scored})"
