"""A comparison as a graph of runs: some to choose settings by, then those that are scored."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from ..experiments.commands import why_refused
from ..experiments.graph import Graph, Node, make_graph
from ..experiments.names import label_of, slug
from .arguments import ComparisonArguments
from .candidates import Candidate, candidates


@dataclass(frozen=True)
class Comparison:
    """What is to be run.

    Args:
        args: that it follows from.
        candidates: the methods; the first is what the others are held against.
        graph: the runs.
        choosing: of each candidate's label, the names of the nodes that its settings are chosen by.
        scored: likewise, of those that are scored, by seed.
    """

    args: ComparisonArguments
    candidates: Sequence[Candidate]
    graph: Graph
    choosing: dict[str, list[str]]
    scored: dict[str, dict[int, str]]


def plan(args: ComparisonArguments) -> Comparison:
    """The runs of a comparison.

    Raises:
        InputError: methods that cannot be compared.
    """
    made = candidates(args)
    budget = args.max_gradient_computations
    at_choice = max(1, int(budget * args.choosing_share))
    nodes: list[Node] = []
    choosing: dict[str, list[str]] = {}
    scored: dict[str, dict[int, str]] = {}
    for one in made:
        own = ["--method", one.method, *one.arguments]
        # With a single setting there is nothing to choose.
        to_choose = one.grid if len(one.grid) > 1 else []
        choosing[one.label] = []
        for for_choosing, for_scoring in to_choose:
            name = f"choose.{one.slug}.{slug(label_of('', for_scoring))}.seed{args.choosing_seed}"
            given = [*own, *for_choosing, *_common(args, at_choice, args.choosing_seed, name), "--do_predict", "False"]
            nodes.append(
                Node(name, args.script, [*args.passed_on, *given], for_scoring, then=_then(args, one), cost=at_choice)
            )
            choosing[one.label].append(name)
        scored[one.label] = {}
        for seed in args.seeds:
            name = f"score.{one.slug}.seed{seed}"
            fixed = [] if to_choose else [part for _, for_scoring in one.grid for part in for_scoring]
            given = [*own, *fixed, *_common(args, budget, seed, name)]
            nodes.append(
                Node(
                    name, args.script, [*args.passed_on, *given], best_of=choosing[one.label], then=_then(args, one),
                    cost=budget,
                )
            )  # fmt: skip
            scored[one.label][seed] = name
    return Comparison(args, made, make_graph(nodes), choosing, scored)


def check_commands(comparison: Comparison) -> None:
    """Let the script check every command as its `--dry_run` does, before anything runs.

    Raises:
        InputError: says which command is refused, and why.
    """
    for node in comparison.graph.values():
        choices = [comparison.graph[name].choice for name in node.best_of] or [()]
        # Scored runs differ from each other in the seed, which nothing is refused for.
        if node.best_of and not node.name.endswith(f"seed{comparison.args.seeds[0]}"):
            continue
        for choice in choices:
            argv = [node.script, *node.arguments, *choice, "--output_dir", str(comparison.args.output_dir)]
            if (reason := why_refused(argv)) is not None:
                raise InputError(f"{node.name} cannot run: {reason}")


def described(comparison: Comparison, done: int) -> str:
    """What will be done, for the terminal.

    Args:
        comparison: the runs.
        done: how many of them have ended well before.
    """
    args = comparison.args
    width = max(len(one.label) for one in comparison.candidates)
    lines = [f"Comparison of {len(comparison.candidates)} methods in {args.output_dir}"]
    for one in comparison.candidates:
        settings = "; ".join(label_of("", point).removeprefix(", ") for _, point in one.grid)
        number = len(comparison.choosing[one.label])
        chosen = f"{number} runs choose among {settings}" if number else f"settings: {settings or 'as given'}"
        lines.append(f"  {one.label:<{width}}  {chosen}; {len(args.seeds)} scored")
    at_choice = max(1, int(args.max_gradient_computations * args.choosing_share))
    total = sum(node.cost for node in comparison.graph.values())
    choosing = f" Each choosing run: {at_choice:,} (seed {args.choosing_seed}), on validation data."
    lines += [
        f"  Each scored run: {args.max_gradient_computations:,} gradient computations (seeds "
        f"{', '.join(map(str, args.seeds))}).{choosing if any(comparison.choosing.values()) else ''}",
        f"  Altogether {len(comparison.graph)} runs, {total:,} gradient computations; {done} are done. The time left "
        f"is shown from the first run's end on.",
    ]
    return "\n".join(lines)


def _common(args: ComparisonArguments, budget: int, seed: int, name: str) -> list[str]:
    # Trackers show the runs as one group.
    project = [] if args.value_of("project") else ["--project", args.output_dir.resolve().name]
    return [
        # The script's file may name a number of steps.
        "--max_gradient_computations", str(budget), "--max_steps", "-1", "--seed", str(seed), "--do_train", "True",
        "--do_eval", "True", "--save_example_sums", "True", "--disable_tqdm", "True", "--run_name", name, *project,
    ]  # fmt: skip


def _then(args: ComparisonArguments, one: Candidate) -> list[list[str]]:
    """What is measured after a run; of STL's models nothing, which are one a task."""
    if one.method == "stl" or (args.without_retrieval and not args.interpolate):
        return []
    pairs = ["--pairs", *args.pairs] if args.pairs else []
    weights = ["--interpolate", *(f"{weight:g}" for weight in args.interpolate)] if args.interpolate else []
    model: Any = args.value_of("model_name_or_path")
    without = ["--without_retrieval"] if args.without_retrieval else []
    return [["hf_seqreptile.compare.kept", "RUN", "--base_model", str(model), *pairs, *weights, *without]]
