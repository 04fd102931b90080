"""Several heads on several processes: steps of different heads end where one process ends, and are continued."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from torch import nn

from hf_seqreptile.models.multi_head import MultiHeadModel
from tests import heads, inner_steps, tiny
from tests.methods.test_seq_reptile import batches_of
from tests.methods.test_several_heads import IMAGES, ByHand, image_tasks, images, statistics
from tests.methods.test_swep import fix_noise
from tests.processes import together

BATCH = 6
"""Examples of a draw, on however many processes. The smallest task has fewer, and no task a multiple of it."""
METHODS = pytest.mark.parametrize("method", tiny.EVERY_METHOD)


def trainer(method: str, processes: int, folder: Path, dropout: float = 0.0, **changes: Any) -> Any:
    """A trainer for one of so many processes; steps of two draws, of one head or of both."""
    settings: dict[str, Any] = {"per_device_train_batch_size": BATCH // processes, "max_steps": 6}
    if method == "reptile":
        # Each process has draws of its own: two outer updates over three tasks, K = 2.
        settings = {"per_device_train_batch_size": BATCH, "max_steps": 2 * 2 * -(-3 // processes), "inner_steps": 2}
    elif method != "stl":
        settings |= {"tasks_per_step": 2}
    settings |= {"method": method, "learning_rate": 1e-3, "adam_epsilon": 1e-5, "logging_steps": 1} | changes
    start = heads.model(heads.config(dropout), heads.TWO)
    made = heads.trainer(folder, of_model=start, **settings)
    # Processes draw SWEP's noise each on its own.
    return fix_noise(made, mean=0.5) if method == "swep" and not dropout else made


def end_of(made: Any) -> dict[str, Any]:
    """Where a run ends."""
    tiny.train(made)
    return {
        "weights": tiny.weights(made.model),
        "statistics": statistics(made.model),
        "state": made.multitask_state(),
        "draws": made.draw_counts,
        "losses": [entry["loss"] for entry in made.state.log_history if "loss" in entry],
    }


def of_images(method: str, folder: Path) -> Any:
    changes = {"tasks_per_step": 2, "max_steps": 4, "per_device_train_batch_size": 2}
    return heads.trainer(folder, image_tasks(), of_model=images(), init=IMAGES, method=method, **changes)


PARALLEL = {
    "method": "seq_reptile", "parallel_trajectories": True, "lr_scheduler_type": "constant", "max_steps": 6,
    "inner_steps": 3, "adam_epsilon": 1e-5, "weight_decay": 0.01,
}  # fmt: skip


def losses(processes: int, folder: Path) -> dict[str, float]:
    """Of two tasks, whose last batches are filled up on two processes."""
    scores = trainer("mtl", processes, folder, per_device_eval_batch_size=4 // processes).evaluate(
        {"de": tiny.task(9, 5), "en": heads.topics(7, 6)}
    )
    return {name: value for name, value in scores.items() if name.endswith("loss")}


def every_run(processes: int, folder: Path) -> dict[str, dict[str, Any]]:
    """One of several processes: where a run of each method ends, and others."""
    runs = {method: end_of(trainer(method, processes, folder)) for method in tiny.EVERY_METHOD}
    runs["parallel"] = end_of(heads.trainer(folder, **PARALLEL))
    runs["evaluation"] = losses(processes, folder)
    saved = trainer("seq_reptile", processes, folder)
    saved.save_model(str(folder / "saved"))
    saved.accelerator.wait_for_everyone()
    assert MultiHeadModel.from_pretrained(folder / "saved").head_names == ["tags", "topics"]
    return runs | {f"images by {method}": end_of(of_images(method, folder)) for method in ("seq_reptile", "pcgrad")}


@cache
def several(processes: int) -> list[dict[str, dict[str, Any]]]:
    """What [`every_run`] gives on each process; processes take longer to start than to train."""
    with TemporaryDirectory() as folder:
        return together(processes, every_run, processes, Path(folder))


@METHODS
def test_two_processes_end_where_one_ends(tmp_path, method):
    """Law 5, with M = 2: a head that only a step's first draw is of has no part in its last micro-batch."""
    alone = end_of(trainer(method, 1, tmp_path))
    ends = [of_process[method] for of_process in several(2)]
    for end in ends:
        assert tiny.largest_difference(end["weights"], alone["weights"]) < 1e-5
        assert end["draws"] == alone["draws"]
        tiny.assert_equal(end["weights"], ends[0]["weights"])
        assert end["state"] == ends[0]["state"]
    if method != "reptile":
        # Reptile logs after rounds of different tasks.
        assert ends[0]["losses"] == pytest.approx(alone["losses"], abs=1e-4)
    start = tiny.weights(heads.model(kinds=heads.TWO))
    assert tiny.largest_difference(alone["weights"], start) > 5e-4


def test_steps_of_several_processes_have_draws_of_both_heads(tmp_path):
    draws = [draw[0]["head"] for draw in batches_of(trainer("mtl", 1, tmp_path), 12)]
    steps = list(zip(draws[::2], draws[1::2], strict=True))
    assert ("tags", "topics") in steps or ("topics", "tags") in steps
    assert any(first == second for first, second in steps)


def test_two_trajectories_of_several_heads_are_averaged(tmp_path):
    """`--parallel_trajectories`: process w takes every second draw, with an AdamW of its own."""
    one = heads.trainer(tmp_path, **PARALLEL | {"max_steps": 12})
    draws = [draw for (draw,) in batches_of(one, 12)]
    models: list[nn.Module] = [ByHand(one.model) for _ in range(2)]
    optimizers = [inner_steps.adamw(model) for model in models]
    phi = tiny.weights(models[0])
    for start in (0, 6):
        ends = [
            inner_steps.trajectory(phi, draws[start + w : start + 6 : 2], optimizers[w], models[w]) for w in range(2)
        ]
        phi = inner_steps.outer_update(phi, ends, eta=0.5)
    for of_process in several(2):
        assert tiny.largest_difference(of_process["parallel"]["weights"], phi) < 1e-5


def test_two_processes_evaluate_as_one_does(tmp_path):
    alone = losses(1, tmp_path)
    assert len(alone) == 4
    for of_process in several(2):
        assert of_process["evaluation"] == pytest.approx(alone, rel=1e-5)


@pytest.mark.parametrize("method", ["seq_reptile", "pcgrad"])
def test_processes_keep_the_same_running_statistics(method, tmp_path):
    """DistributedDataParallel does not align them where it does not average gradients."""
    one, other = (of_process[f"images by {method}"] for of_process in several(2))
    tiny.assert_equal(one["statistics"], other["statistics"])
    tiny.assert_equal(one["weights"], other["weights"])
    assert tiny.largest_difference(one["statistics"], statistics(images())) > 1e-2


def whole_and_continued(processes: int, folder: Path) -> dict[str, list[dict[str, torch.Tensor]]]:
    """One of several processes: where runs with dropout end, and those that continue from their first checkpoint."""
    ends = {}
    for method in tiny.EVERY_METHOD:
        saving = {"save_strategy": "steps", "save_steps": 3, "dropout": 0.1}
        runs = [trainer(method, processes, folder / method, **saving) for _ in range(2)]
        tiny.train(runs[0])
        step = 4 if method == "reptile" else 3
        tiny.train(runs[1], resume_from_checkpoint=str(folder / method / f"checkpoint-{step}"))
        ends[method] = [tiny.weights(each.model) for each in runs]
    return ends


@pytest.mark.slow
def test_continued_runs_end_bit_for_bit_where_the_uninterrupted_ones_end(tmp_path):
    for of_process in together(2, whole_and_continued, 2, tmp_path):
        for whole, continued in of_process.values():
            tiny.assert_equal(continued, whole)
