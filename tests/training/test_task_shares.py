"""How often tasks are drawn, and in which batches, where the user says so."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_seqreptile import InputError, MultiTaskTrainingArguments
from hf_seqreptile.methods import method_class
from hf_seqreptile.training.sampling import TaskBatchSampler
from hf_seqreptile.training.task_shares import capped
from tests import tiny
from tests.processes import together

SHARES = st.dictionaries(st.sampled_from("abcdef"), st.floats(0.01, 1), min_size=1)


@given(SHARES, st.floats(0.01, 2))
def test_no_task_is_above_its_cap_and_others_keep_their_proportions(weights: dict[str, float], cap: float) -> None:
    p = {task: weight / sum(weights.values()) for task, weight in weights.items()}
    most = {task: cap * (i + 1) / len(p) for i, task in enumerate(p)}
    if sum(most.values()) < 1 - 1e-6:
        with pytest.raises(InputError, match="leaves no task"):
            capped(p, most)
        return
    found = capped(p, most)
    assert sum(found.values()) == pytest.approx(1)
    assert all(found[task] <= most[task] + 1e-9 for task in p)
    free = [task for task in p if found[task] < most[task] - 1e-9]
    ratios = [found[task] / p[task] for task in free]
    assert ratios == pytest.approx(ratios[:1] * len(ratios))
    # Nobody who is not at the cap has less than before.
    assert all(ratio >= 1 - 1e-9 for ratio in ratios)


def test_equal_shares_with_a_cap_are_unimax() -> None:
    """Chung et al. 2023, Algorithm 1, written out: the budget is dealt out from the smallest task to the largest."""
    sizes, epochs, budget = {"a": 10.0, "b": 400.0, "c": 90.0, "d": 3000.0}, 4, 2400.0
    left, unimax = budget, {}
    for number, (task, size) in enumerate(sorted(sizes.items(), key=lambda item: item[1])):
        unimax[task] = min(left / (len(sizes) - number), size * epochs)
        left -= unimax[task]
    found = capped(dict.fromkeys(sizes, 0.25), {task: size * epochs / budget for task, size in sizes.items()})
    assert found == pytest.approx({task: of / budget for task, of in unimax.items()})


def test_weights_are_the_probabilities(tmp_path: Path) -> None:
    trainer = tiny.trainer(tmp_path, method="mtl", task_weights={"de": 1, "en": 1, "sw": 2})
    assert trainer.task_probabilities == {"de": 0.25, "en": 0.25, "sw": 0.5}
    assert "in the proportions de=1, en=1, sw=2" in trainer.describe_training()


def test_a_cap_is_on_passes_over_the_run(tmp_path: Path) -> None:
    """sw has 9 examples; 2 passes are 18, of the 12 · 8 · 4 that are drawn."""
    trainer = tiny.trainer(tmp_path, method="mtl", tasks_per_step=8, max_task_passes=10)
    p = trainer.task_probabilities
    assert p["sw"] == pytest.approx(10 * 9 / (12 * 8 * 4))
    plain = tiny.trainer(tmp_path, method="mtl", tasks_per_step=8).task_probabilities
    assert p["de"] / p["en"] == pytest.approx(plain["de"] / plain["en"])


def test_a_task_has_batches_of_its_own(tmp_path: Path) -> None:
    trainer = tiny.trainer(tmp_path, method="mtl", tasks_per_step=2, task_batch_sizes={"sw": 2}, max_steps=4)
    sizes = {(batch["task"], len(batch["input_ids"])) for batch in trainer.get_train_dataloader()}
    assert sizes == {("de", 4), ("en", 4), ("sw", 2)}
    assert "draws expected  batch" in str(trainer.plan(4))
    tiny.train(trainer)


def test_an_epoch_has_the_draws_of_all_batches() -> None:
    sampler = TaskBatchSampler(
        {"a": 10, "b": 7}, {"a": 0.5, "b": 0.5}, batch_size=4, batch_sizes={"b": 1}, tasks_per_step=3
    )
    # ⌈10 / 4 + 7 / 1⌉, rounded up to whole steps.
    assert (sampler.draws_for_the_data, sampler.draws_per_epoch) == (10, 12)


def trained(folder: Path, batch: int) -> dict:
    own = {"sw": batch // 2}
    trainer = tiny.trainer(
        folder, method="mtl", tasks_per_step=2, per_device_train_batch_size=batch, task_batch_sizes=own, max_steps=5,
        dropout=0.0, learning_rate=1e-3, adam_epsilon=1e-5,
    )  # fmt: skip
    return tiny.weights(tiny.train(trainer).model)


def test_two_processes_share_batches_of_every_size(tmp_path: Path) -> None:
    alone = trained(tmp_path, 8)
    for weights in together(2, trained, tmp_path, 4):
        assert tiny.largest_difference(weights, alone) < 1e-5


def test_a_run_goes_on_with_the_same_draws_or_is_refused(tmp_path: Path) -> None:
    settings = {"method": "mtl", "tasks_per_step": 2, "task_weights": {"de": 1, "en": 2, "sw": 3}}
    saving = {"save_strategy": "steps", "save_steps": 5, "task_batch_sizes": {"en": 3}}
    whole = tiny.train(tiny.trainer(tmp_path, **settings, **saving))
    continued = tiny.trainer(tmp_path, **settings, **saving)
    tiny.train(continued, resume_from_checkpoint=str(tmp_path / "checkpoint-5"))
    tiny.assert_equal(tiny.weights(whole.model), tiny.weights(continued.model))
    assert whole.draw_counts == continued.draw_counts
    other = tiny.trainer(tmp_path, **settings | {"task_weights": {"de": 1, "en": 1, "sw": 3}}, **saving)
    with pytest.raises(InputError, match="task_weights"):
        other.train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"task_weights": ["de=0", "en=1", "sw=1"]}, "`de=0` does not give a task a number above 0"),
        ({"task_weights": ["de=nan"]}, "above 0"),
        ({"task_weights": ["de=1", "de=2"]}, "names the task 'de' twice"),
        ({"task_weights": {"de": 1, "en": 1}}, "has none for 'sw'"),
        ({"task_weights": {"de": 1, "en": 1, "sw": 1, "xx": 1}}, "names 'xx', which is no training task"),
        ({"task_weights": 3}, "give a number by task"),
        ({"task_weights": {"de": 1, "en": 1, "sw": 1}, "task_sampling_exponent": 0.5}, "both say how tasks are drawn"),
        ({"task_weights": {"de": 1, "en": 1, "sw": 1}, "all_tasks_each_step": True}, "draws no tasks"),
        ({"task_batch_sizes": ["de=1.5"]}, "a whole number"),
        ({"task_batch_sizes": {"xx": 1}}, "no training task"),
        ({"task_batch_sizes": {"de": 1}, "auto_find_batch_size": True}, "knows one batch size"),
        ({"max_task_passes": 0}, "above 0"),
        ({"max_task_passes": 0.01}, "leaves no task"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, given: dict, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        tiny.trainer(tmp_path, method="mtl", **given).train()


@pytest.mark.parametrize("method", ["reptile", "stl"])
def test_methods_without_draws_refuse_weights(tmp_path: Path, method: str) -> None:
    args: MultiTaskTrainingArguments = tiny.arguments(tmp_path, method=method, max_task_passes=3)
    with pytest.raises(InputError, match="--max_task_passes has no effect"):
        method_class(method).check_arguments(args)
