"""`max_gradient_computations`: what methods with different M are compared by."""

from pathlib import Path

import pytest

from hf_seqreptile import MultiTaskTrainingArguments
from hf_seqreptile.errors import InputError
from tests import tiny

TASKS = {"de": tiny.task(12, 1), "en": tiny.task(9, 2), "sw": tiny.task(6, 3)}


@pytest.mark.parametrize(
    ("method", "settings", "steps"),
    [
        ("mtl", {"tasks_per_step": 1}, 13),
        ("mtl", {"tasks_per_step": 4}, 3),
        ("mtl", {"all_tasks_each_step": True}, 4),
        ("seq_reptile", {"inner_steps": 2, "tasks_per_step": 1}, 13),
        ("reptile", {"inner_steps": 2}, 13),
    ],
)
def test_it_sets_the_number_of_steps(tmp_path: Path, method: str, settings: dict, steps: int) -> None:
    trainer = tiny.trainer(
        tmp_path,
        TASKS,
        method=method,
        max_gradient_computations=13,
        max_steps=-1,
        **{"tasks_per_step": None} | settings,
    )
    trainer.train()
    assert trainer.state.global_step == steps
    assert sum(trainer.draw_counts.values()) == 13 - 13 % (13 // steps)


def test_with_max_steps_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--max_gradient_computations sets --max_steps"):
        MultiTaskTrainingArguments(output_dir=str(tmp_path), max_gradient_computations=8, max_steps=3)


def test_too_small_a_budget_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not suffice for one optimizer step, which takes 4"):
        tiny.trainer(tmp_path, TASKS, method="mtl", tasks_per_step=4, max_gradient_computations=3, max_steps=-1)
