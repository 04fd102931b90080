"""What a row of a table and a curve is called: all that distinguishes it, and never its folder."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_seqreptile.analysis.groups import group_by_setting
from hf_seqreptile.analysis.labels import labels, shown
from hf_seqreptile.analysis.runs import SavedRun
from hf_seqreptile.scores import Metric


def run(method: str = "mtl", *, folder: str = "x", tasks: str = "de en", **changes: Any) -> SavedRun:
    arguments = {name: value for name, value in changes.items() if name not in SavedRun.__dataclass_fields__}
    fields = {name: value for name, value in changes.items() if name in SavedRun.__dataclass_fields__}
    made: dict[str, Any] = {
        "folder": Path(folder), "method": method, "problem": "token-classification", "seed": 1, "scores": {},
        "results": {}, "train_samples": 100, "zero_shot": [], "tasks": tasks.split(), "languages": [],
        "base_model": "a/base", "evaluated_on": None, "log": [], "metric": Metric("f1"), "arguments": arguments,
    }  # fmt: skip
    return SavedRun(**made | fields)


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([run(), run("pcgrad", learning_rate=1e-4)], ["mtl", "pcgrad"]),
        ([run(), run(tasks_per_step=1)], ["mtl, M=8", "mtl, M=1"]),
        (
            [
                run(tasks_per_step=1, learning_rate=4e-4, max_steps=9, warmup_steps=3, steps=9, gradients=9),
                run(steps=2, gradients=16),
            ],
            ["mtl, M=1, α=4e-4, warmup_steps=3, S=9", "mtl, M=8, α=3e-5, S=2"],
        ),
        # As many gradient computations: M tells, and the number of steps follows from it.
        (
            [
                run(tasks_per_step=1, max_steps=800, steps=800, gradients=800),
                run(max_steps=100, steps=100, gradients=800),
            ],
            ["mtl, M=1", "mtl, M=8"],
        ),
        ([run(max_steps=800, steps=800), run(num_train_epochs=3.0, steps=100)], ["mtl, S=800", "mtl, S=100"]),
        ([run(num_train_epochs=3.0), run(num_train_epochs=2.0)], ["mtl, epochs=3", "mtl, epochs=2"]),
        (
            [
                run("seq_reptile", inner_steps=k, outer_learning_rate=o, learning_rate=a)
                for k, o, a in ((20, 0.5, 1e-4), (50, 0.3, 2e-4))
            ],
            ["seq_reptile, α=1e-4, K=20, η=0.5", "seq_reptile, α=2e-4, K=50, η=0.3"],
        ),
        ([run(task_sampling_exponent=0.5), run()], ["mtl, q=0.5", "mtl, q=0.2"]),
        ([run(tasks="de en"), run(tasks="de en sw")], ["mtl, without sw", "mtl, with sw"]),
        ([run(base_model="x/large"), run()], ["mtl, base_model=large", "mtl, base_model=base"]),
        ([run(task_weights=["en=1", "sw=3"]), run()], ["mtl, task_weights=en=1 sw=3", "mtl"]),
        (
            [run(adapters={"adapters": "LoRA", "lora_r": r}) for r in (8, 16)] + [run(adapters={})],
            ["mtl, LoRA, lora_r=8", "mtl, LoRA, lora_r=16", "mtl, whole model"],
        ),
        # Of a method of the user's own no default is known.
        ([run("own"), run("own", tasks_per_step=4)], ["own", "own, M=4"]),
    ],
)  # fmt: skip
def test_labels(runs: list[SavedRun], expected: list[str]) -> None:
    assert labels(runs) == expected


SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "learning_rate": st.sampled_from([1e-4, 1.00000000001e-4, 3e-4]),
        "tasks_per_step": st.sampled_from([1, 8, None]),
        "max_steps": st.sampled_from([100, 800]),
        "num_train_epochs": st.sampled_from([1.0, 3.0]),
        "weight_decay": st.sampled_from([0.0, 0.1]),
        "optim_args": st.sampled_from(["a/b", "c/b"]),
        "steps": st.sampled_from([100, 800, None]),
        "tasks": st.sampled_from(["de en", "en de", "de", "de sw"]),
        "base_model": st.sampled_from(["a/x", "b/x", None]),
        "train_samples": st.sampled_from([1, 2]),
    },
)


@settings(max_examples=60, deadline=None)
@given(st.lists(SETTINGS, min_size=2, max_size=6))
def test_no_two_settings_have_one_label_and_none_its_folder(given: list[dict[str, Any]]) -> None:
    runs = [run(folder=f"/secret/{number}", **{"tasks": "de en", **one}) for number, one in enumerate(given)]
    made = [group.label for group in group_by_setting(runs)]
    assert len(set(made)) == len(made)
    assert not any("secret" in label for label in made)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3e-5, "3e-5"), (4e-4, "4e-4"), (1.5e-4, "1.5e-4"), (0.02, "0.02"), (0.5, "0.5"), (1.0, "1"), (30, "30"),
        (True, "yes"), ("a/b", "b"),
    ],
)  # fmt: skip
def test_values(value: Any, text: str) -> None:
    assert shown(value) == text
