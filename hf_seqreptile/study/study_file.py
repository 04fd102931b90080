"""The file of a study, read and checked as a whole; what is wrong is said with its line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..data.load import take_samples
from ..data.names import check_task_name
from ..models.offline_encoder import OFFLINE_ENCODER
from ..problems.multitask import rows_of_entry
from ..problems.tasks_file import TaskEntry
from ..yaml_text import lines_of, read_mapping
from .conditions import Condition, read_condition, refuse_two_alike
from .part import Part
from .targets import Target, read_target

FILE = "study's file"
CONTENT = "start, intermediate, conditions, targets and seeds (docs/intermediate.md)"


@dataclass(frozen=True)
class Study:
    """What a study's file asks for.

    Args:
        path: of the file.
        lines: of each name in it.
        model: that all begins with: its name on the Hub, its folder, or the offline encoder's name.
        trims_vocabulary: of the offline encoder, to all texts of the study.
        start: further arguments of the model.
        arguments: of all runs.
        intermediate_arguments: of the phases' runs.
        budget: gradient computations of all phases of a condition together.
        tasks: the intermediate ones: their entries' keys by name, as of a tasks' file.
        conditions: what is trained on before the targets; the first is nothing.
        targets: what is scored.
        seeds: of the runs.
    """

    path: Path
    lines: Mapping[tuple[Any, ...], int]
    model: str
    trims_vocabulary: bool
    start: Sequence[str]
    arguments: Sequence[str]
    intermediate_arguments: Sequence[str]
    budget: int
    tasks: Mapping[str, Mapping[str, Any]]
    conditions: Sequence[Condition]
    targets: Sequence[Target]
    seeds: Sequence[int]

    def where(self, *place: Any) -> str:
        """File and line of a place, for messages."""
        return Part(self.path, self.lines, (), None).where(*place)


def read_study(path: Path) -> Study:
    """Read a study's file.

    Args:
        path: a YAML 1.2 or JSON file. Paths in it are relative to its folder.

    Raises:
        InputError: whatever is wrong, with file, line and place.
    """
    content = read_mapping(path, FILE, CONTENT)
    top = Part(path, lines_of(path), (), content)
    top.known(["start", "arguments", "intermediate", "conditions", "targets", "seeds"])
    start = top.needed("start", "the model that all begins with, `start: {model_name_or_path: xlm-roberta-base}`")
    model, trims, others = _start(start)
    intermediate = top.needed("intermediate", "tasks and their gradient_computations")
    intermediate.known(["gradient_computations", "arguments", "tasks"])
    budget = intermediate.needed(
        "gradient_computations", "drawn batches of all phases of a condition together"
    ).number(1)
    tasks = intermediate.needed("tasks", "an entry for each, as in a file for run_multitask.py")
    entries = _tasks(tasks)
    conditions = top.needed("conditions", "such as [single, joint: mtl, orders: all]")
    if not isinstance(conditions.content, list) or not conditions.content:
        raise conditions.wrong("give a list, such as [single, joint: mtl, orders: all].")
    # Read when an order asks for them, and once.
    sizes = cache(lambda: _sizes(entries))
    read = [Condition("none", "none", ())]
    for number in range(len(conditions.content)):
        read += read_condition(conditions.part(number), list(entries), budget, sizes)
    refuse_two_alike(read, conditions)
    targets = top.needed("targets", "what is scored, each with a name")
    made = [read_target(targets.part(name)) for name in targets.mapping("targets by name")]
    if not made:
        raise targets.wrong("name one.")
    return Study(
        path,
        top.lines,
        model,
        trims,
        others,
        top.part("arguments").arguments() if "arguments" in content else [],
        intermediate.part("arguments").arguments() if "arguments" in intermediate.content else [],
        budget,
        tasks.content,
        read,
        made,
        _seeds(top),
    )


def _start(part: Part) -> tuple[str, bool, list[str]]:
    content = dict(part.mapping("arguments of the model, `{model_name_or_path: xlm-roberta-base}`"))
    model = content.pop("model_name_or_path", None)
    if not isinstance(model, str):
        raise part.wrong("`model_name_or_path` is missing: a name on the Hub, a folder, or offline-multilingual.")
    trims = content.pop("trim_vocabulary", False)
    if not isinstance(trims, bool):
        raise part.wrong(f"is {trims!r}; give true or false.", "trim_vocabulary")
    if trims and model != OFFLINE_ENCODER:
        raise part.wrong(f"only {OFFLINE_ENCODER} can be trimmed; remove it.", "trim_vocabulary")
    located = part.path.parent / model
    rest = Part(part.path, part.lines, part.place, content).arguments()
    return str(located.resolve()) if located.is_dir() else model, trims, rest


def _tasks(part: Part) -> dict[str, TaskEntry]:
    entries = {}
    for name, keys in part.mapping("an entry for each task, `nli: {problem: nli, train_file: …}`").items():
        check_task_name(name, part.where(name))
        entries[name] = part.check_entry(name, keys, name)
        if entries[name].weight is not None:
            raise part.wrong("a study draws its tasks by size; remove the weight.", name, "weight")
        if not entries[name].has("train") or not entries[name].has("validation"):
            raise part.wrong("an intermediate task needs training and validation data.", name)
    if not entries:
        raise part.wrong("name one.")
    return entries


def _sizes(entries: Mapping[str, TaskEntry]) -> dict[str, int]:
    """How many training examples the tasks have."""
    found = {}
    for name, entry in entries.items():
        rows = rows_of_entry(entry, ["train"])["train"][name]
        found[name] = len(take_samples({"train": {name: rows}}, entry.args)["train"][name])
    return found


def _seeds(top: Part) -> list[int]:
    seeds = top.needed("seeds", "such as [1, 2, 3]")
    if not isinstance(seeds.content, list) or not seeds.content:
        raise seeds.wrong("give a list of whole numbers, such as [1, 2, 3].")
    found = [seeds.part(number).number(0) for number in range(len(seeds.content))]
    if len(set(found)) < len(found):
        raise seeds.wrong("names a seed twice.")
    return found
