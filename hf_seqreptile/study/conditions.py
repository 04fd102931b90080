"""What a study trains on before the targets: nothing, one task, all jointly, or one after another."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

from ..data.names import unknown_name
from ..errors import InputError
from ..experiments.names import label_of, slug
from ..methods import method_class
from .part import Part

KINDS = ("none", "single", "joint", "orders")
ORDERS = ("all", "latin", "size_up", "size_down")
PLAIN = ("--method", "mtl", "--tasks_per_step", "1")
"""Plain training: each step on one task's batch."""


@dataclass(frozen=True)
class Phase:
    """One run of a condition.

    Args:
        name: of its nodes: two phases of one name are the same.
        tasks: that it trains on, with their shares of the draws; `None` where these follow from sizes.
        method: arguments, `--method` and what belongs to it.
        budget: gradient computations.
    """

    name: str
    tasks: Mapping[str, float | None]
    method: Sequence[str]
    budget: int


@dataclass(frozen=True)
class Condition:
    """What comes before the targets.

    Args:
        label: in tables.
        kind: `none`, `single`, `joint` or `order`.
        phases: one after another.
        order: the tasks one after another; empty unless it is an order.
        rehearsal: the share of a later phase's draws that its earlier tasks have.
    """

    label: str
    kind: str
    phases: Sequence[Phase]
    order: Sequence[str] = ()
    rehearsal: float = 0.0

    @property
    def name(self) -> str:
        """Of its nodes."""
        return self.phases[-1].name if self.phases else self.kind


def read_condition(
    part: Part, tasks: Sequence[str], budget: int, sizes: Callable[[], Mapping[str, int]]
) -> list[Condition]:
    """The conditions that one entry of a study's file stands for.

    Args:
        part: the entry.
        tasks: the intermediate tasks.
        budget: gradient computations of each condition.
        sizes: gives the tasks' numbers of training examples.

    Raises:
        InputError: it is none, names an unknown task, or a task twice.
    """
    content = {part.content: None} if isinstance(part.content, str) else part.mapping(f"one of {', '.join(KINDS)}")
    kinds = [name for name in content if name != "rehearsal"]
    if len(kinds) != 1:
        raise part.wrong(f"a condition is one of {', '.join(KINDS)}; write an entry of the list for each.")
    (kind,) = kinds
    if kind not in KINDS:
        raise unknown_name(kind, KINDS, part.where(), "condition")
    if kind == "orders":
        return _orders(part, content, tasks, budget, sizes)
    if "rehearsal" in content:
        raise part.wrong("is for orders, where tasks come before others; remove it.", "rehearsal")
    if kind == "joint":
        return [_joint(part, content[kind], tasks, budget)]
    if content[kind] is not None:
        raise part.wrong(f"`{kind}` takes no value; write it alone.", kind)
    # "none" is always there, to compare with.
    return [_alone(name, budget) for name in tasks] if kind == "single" else []


def refuse_two_alike(conditions: Sequence[Condition], part: Part) -> None:
    """Raise InputError for a condition that is asked for twice."""
    names = [one.name for one in conditions]
    for one in conditions:
        if names.count(one.name) > 1:
            raise part.wrong(f"{one.label!r} is asked for twice.")


def _alone(task: str, budget: int) -> Condition:
    return Condition(task, "single", [Phase(f"alone.{slug(task)}", {task: None}, PLAIN, budget)])


def _joint(part: Part, method: Any, tasks: Sequence[str], budget: int) -> Condition:
    if not isinstance(method, str):
        raise part.wrong("name a method, as after --method: `joint: seq_reptile --inner_steps 10`.", "joint")
    if len(tasks) < 2:
        raise part.wrong("there is one intermediate task; `single` is what it can be.", "joint")
    try:
        name, *own = shlex.split(method)
        method_class(name)
    except (ValueError, InputError) as error:
        raise part.wrong(str(error), "joint") from error
    if name == "stl":
        raise part.wrong("stl trains a model for each task, and joint training is one; `single` is what you mean.")
    label = label_of(name, own)
    return Condition(
        f"joint: {label}", "joint",
        [Phase(f"joint.{slug(label)}", dict.fromkeys(tasks), ["--method", name, *own], budget)],
    )  # fmt: skip


def _orders(
    part: Part,
    content: Mapping[str, Any],
    tasks: Sequence[str],
    budget: int,
    sizes: Callable[[], Mapping[str, int]],
) -> list[Condition]:
    if len(tasks) < 2:
        raise part.wrong("there is one intermediate task, which has no order.", "orders")
    rehearsal = content.get("rehearsal", 0.0)
    if not isinstance(rehearsal, int | float) or isinstance(rehearsal, bool) or not 0 <= rehearsal < 1:
        raise part.wrong(f"is {rehearsal!r}; give a share of the draws, at least 0 and below 1.", "rehearsal")
    return [
        _in_order(order, budget, float(rehearsal))
        for order in _named_orders(part.part("orders"), content["orders"], tasks, sizes)
    ]


def _named_orders(
    part: Part, orders: Any, tasks: Sequence[str], sizes: Callable[[], Mapping[str, int]]
) -> list[Sequence[str]]:
    if orders == "all":
        return list(permutations(tasks))
    if orders == "latin":
        # Each task once at each place.
        return [[*tasks[place:], *tasks[:place]] for place in range(len(tasks))]
    if orders in ("size_up", "size_down"):
        found = sizes()
        return [sorted(tasks, key=found.__getitem__, reverse=orders == "size_down")]
    if isinstance(orders, str):
        raise unknown_name(orders, ORDERS, part.where(), "order")
    if not isinstance(orders, list) or not orders or not all(isinstance(one, list) for one in orders):
        raise part.wrong(f"give one of {', '.join(ORDERS)}, or a list of orders: [[nli, qa], [qa, nli]].")
    for number, order in enumerate(orders):
        for task in order:
            if task not in tasks:
                raise unknown_name(str(task), tasks, part.where(number), "task")
            if order.count(task) > 1:
                raise part.wrong(f"{' → '.join(order)} comes back to {task!r}; an order has each task once.", number)
        if len(order) < 2:
            raise part.wrong("an order has at least two tasks; one alone is `single`.", number)
    return orders


def _in_order(order: Sequence[str], budget: int, rehearsal: float) -> Condition:
    each, left = divmod(budget, len(order))
    mark = f".rehearsal{rehearsal:g}" if rehearsal else ""
    phases = []
    for place, task in enumerate(order):
        earlier = order[:place]
        shares: dict[str, float | None] = {task: None}
        if rehearsal and earlier:
            shares = {task: 1 - rehearsal, **dict.fromkeys(earlier, rehearsal / len(earlier))}
        is_last = place == len(order) - 1
        # What a phase is depends on how many there are, by its share of the budget.
        name = f"after.{'+'.join(map(slug, order[: place + 1]))}{mark if earlier else ''}.of{len(order)}"
        phases.append(Phase(name, shares, PLAIN, each + left * is_last))
    label = " → ".join(order) + (f", rehearsal {rehearsal:g}" if rehearsal else "")
    return Condition(label, "order", phases, order, rehearsal)
