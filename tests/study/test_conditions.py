"""Conditions of a study: which phases they are, that they cost the same, and which phases they share."""

from collections import Counter
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from hf_seqreptile.errors import InputError
from hf_seqreptile.study.conditions import Condition, read_condition
from hf_seqreptile.study.part import Part

TASKS = ["nli", "qa", "sts"]
SIZES = {"nli": 30, "qa": 10, "sts": 20}


def read(content: Any, tasks: list[str] = TASKS, budget: int = 100) -> list[Condition]:
    part = Part(Path("study.yaml"), {("conditions", 0): 7}, ("conditions", 0), content)
    return read_condition(part, tasks, budget, lambda: SIZES)


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        ("none", []),
        ("single", TASKS),
        ({"joint": "mtl"}, ["joint: mtl"]),
        ({"joint": "seq_reptile --inner_steps 10"}, ["joint: seq_reptile, K=10"]),
        ({"orders": "all"}, [" → ".join(order) for order in permutations(TASKS)]),
        ({"orders": "latin"}, ["nli → qa → sts", "qa → sts → nli", "sts → nli → qa"]),
        ({"orders": "size_up"}, ["qa → sts → nli"]),
        ({"orders": "size_down"}, ["nli → sts → qa"]),
        ({"orders": [["sts", "nli"]], "rehearsal": 0.2}, ["sts → nli, rehearsal 0.2"]),
    ],
)
def test_what_an_entry_stands_for(content: Any, labels: list[str]) -> None:
    found = read(content)
    assert [one.label for one in found] == labels
    for condition in found:
        assert sum(phase.budget for phase in condition.phases) == 100, "all conditions cost the same"


def test_a_latin_square_has_each_task_once_at_each_place() -> None:
    orders = [one.order for one in read({"orders": "latin"})]
    assert all(set(column) == set(TASKS) for column in zip(*orders, strict=True))


def test_orders_that_begin_alike_share_their_phases() -> None:
    names = Counter(phase.name for one in read({"orders": "all"}) for phase in one.phases)
    assert len(names) == 3 + 6 + 6
    plain = {phase.name for one in read({"orders": "all"}) for phase in one.phases}
    rehearsed = {phase.name for one in read({"orders": "all", "rehearsal": 0.1}) for phase in one.phases}
    assert len(plain & rehearsed) == 3, "the first phase has nothing to rehearse"
    # A shorter order has more of the budget in each phase.
    assert not plain & {phase.name for one in read({"orders": [["nli", "qa"]]}) for phase in one.phases}


def test_rehearsal_gives_earlier_tasks_their_share() -> None:
    (condition,) = read({"orders": [TASKS], "rehearsal": 0.3})
    assert [dict(phase.tasks) for phase in condition.phases] == [
        {"nli": None},
        {"qa": 0.7, "nli": 0.3},
        {"sts": 0.7, "nli": 0.15, "qa": 0.15},
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("singles", "line 7, conditions.0: unknown condition 'singles'. Did you mean 'single'"),
        ({"joint": "mtll"}, "conditions.0.joint: .*mtll"),
        ({"joint": "stl"}, "stl trains a model for each task"),
        ({"joint": None}, "name a method, as after --method"),
        ({"joint": "mtl", "rehearsal": 0.1}, "rehearsal: is for orders"),
        ({"single": 3}, "takes no value"),
        ({"orders": "random"}, "unknown order 'random'"),
        ({"orders": ["nli", "qa"]}, "or a list of orders"),
        ({"orders": [["nli", "qaa"]]}, "unknown task 'qaa'. Did you mean 'qa'"),
        ({"orders": [["nli", "qa", "nli"]]}, "nli → qa → nli comes back to 'nli'"),
        ({"orders": [["nli"]]}, "at least two tasks"),
        ({"orders": "all", "rehearsal": 1}, "at least 0 and below 1"),
        ({"orders": "all", "joint": "mtl"}, "one of"),
        (3, "one of"),
        ({}, "one of"),
    ],
)
def test_what_cannot_be_meant(content: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        read(content)
    assert str(error.value).startswith("study.yaml, line 7, conditions.0")


@pytest.mark.parametrize("content", [{"joint": "mtl"}, {"orders": "all"}])
def test_one_task_has_no_order(content: Any) -> None:
    with pytest.raises(InputError, match="there is one intermediate task"):
        read(content, ["nli"])
