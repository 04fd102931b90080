"""How the tasks' gradients point while a model trains, and that measuring it leaves no trace in training."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from torch import nn
from transformers import TrainerCallback, set_seed

from hf_seqreptile import InputError
from hf_seqreptile.training.gradient_alignment import PROBE_EXAMPLES, distance, gradient_alignment
from hf_seqreptile.training.progress import over_all_tasks
from tests import processes, tiny

PAIRS = ["cosine/de/en", "cosine/de/sw", "cosine/en/sw"]
OURS = {*PAIRS, "cosine/avg", "distance"}


def slow(parameter: Any) -> Any:
    """A parameter that only the whole suite tries."""
    return pytest.param(parameter, marks=pytest.mark.slow)


def measured(trainer) -> dict[int, dict[str, float]]:
    """The measurements of a run, by step."""
    return {entry["step"]: entry for entry in trainer.state.log_history if "cosine/avg" in entry}


def others(trainer) -> list[dict[str, float]]:
    """All other log entries, without the times that differ from run to run."""
    entries = [entry for entry in trainer.state.log_history if not OURS & entry.keys()]
    timings = ("runtime", "per_second")
    return [{k: v for k, v in entry.items() if not k.endswith(timings)} for entry in entries]


# The numbers.


def reference(model: nn.Module, collate: Any, tasks: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Each task's gradient of the mean loss over the labels of all its examples, in float64, as one vector."""
    model.eval()
    gradients = {}
    for task, dataset in tasks.items():
        model.zero_grad()
        batch = collate([{k: row[k] for k in ("input_ids", "attention_mask", "labels")} for row in dataset])
        labels = batch.pop("labels")
        scores = model(**batch).logits.double().log_softmax(dim=-1)
        scored = [scores[i, j, labels[i, j]] for i, j in (labels != -100).nonzero().tolist()]
        (-sum(scored) / len(scored)).backward()
        gradients[task] = torch.cat([p.grad.flatten().double() for p in model.parameters() if p.requires_grad])
    return gradients


def test_the_cosines_are_those_of_the_gradients_of_the_mean_loss_over_the_labels(tmp_path):
    # At most 32 examples a task, so that all are probed; micro-batches of 5, so that they differ in their labels.
    tasks = {"a": tiny.task(32, 1), "b": tiny.task(13, 2), "c": tiny.task(3, 3)}
    trainer = tiny.trainer(
        tmp_path, train=tasks, per_device_train_batch_size=5, max_steps=4, log_gradient_alignment=100
    )
    gradients = reference(trainer.model, trainer.data_collator, tasks)
    trainer.model.zero_grad()
    trainer.model.train()
    entry = measured(tiny.train(trainer))[0]
    expected = {
        f"cosine/{a}/{b}": torch.cosine_similarity(gradients[a], gradients[b], dim=0).item()
        for a, b in (("a", "b"), ("a", "c"), ("b", "c"))
    }
    assert [key for key in entry if key.startswith("cosine/")] == [*expected, "cosine/avg"]
    assert {key: entry[key] for key in expected} == pytest.approx(expected, abs=1e-5)
    assert entry["cosine/avg"] == pytest.approx(np.mean(list(expected.values())), abs=1e-5)
    assert entry["distance"] == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 5), st.integers(1, 4), st.integers(0, 1000))
def test_any_losses(tasks, parts, seed):
    random_numbers = torch.Generator().manual_seed(seed)
    first, second = (nn.Parameter(torch.randn(shape, generator=random_numbers)) for shape in ((3, 2), (4,)))
    # Some tasks do not touch the second parameter.
    wants = torch.randn(tasks, parts, 10, generator=random_numbers)
    wants[::2, :, 6:] = 0

    def losses(task):
        for part in wants[task]:
            loss = (first.flatten() * part[:6]).sum()
            yield loss if task % 2 == 0 else loss + (second * part[6:]).sum()

    result = gradient_alignment([first, second], {str(task): losses(task) for task in range(tasks)})
    gradients = wants.sum(dim=1).double()
    for i in range(tasks):
        for j in range(i + 1, tasks):
            expected = gradients[i] @ gradients[j] / gradients[i].norm() / gradients[j].norm()
            assert result[f"cosine/{i}/{j}"] == pytest.approx(expected.item(), abs=1e-5)
    assert first.grad is None and second.grad is None


def test_a_gradient_of_zero_is_not_aligned_with_any():
    weight = nn.Parameter(torch.ones(2))
    result = gradient_alignment([weight], {"a": [weight.sum()], "b": [0 * weight.sum()], "c": [-weight[0]]})
    assert result == pytest.approx(
        {"cosine/a/b": 0, "cosine/a/c": -(0.5**0.5), "cosine/b/c": 0, "cosine/avg": -(0.5**0.5) / 3}
    )


def test_the_distance_is_over_all_numbers():
    start = [torch.zeros(2, 2), torch.ones(3, dtype=torch.bfloat16)]
    assert distance([torch.full((2, 2), 2.0), torch.tensor([1.0, 1.0, 4.0])], start) == pytest.approx(5)


# No trace in training.


class Tracing(TrainerCallback):
    """All random states, the weights, the optimizer's state and what gradients there are, after each step."""

    def __init__(self) -> None:
        self.traces: list[Any] = []

    def on_step_begin(self, args, state, control, model, optimizer, **kwargs):
        _, numbers, position, *_ = np.random.get_state()
        moments = {(i, k): v for i, s in enumerate(optimizer.state.values()) for k, v in s.items()}
        self.traces.append(
            {
                "python": random.getstate(), "numpy": (numbers.tolist(), position),
                "torch": torch.get_rng_state().clone(), "weights": tiny.weights(model),
                "optimizer": {k: torch.as_tensor(v).clone() for k, v in moments.items()},
                "gradients": [n for n, p in model.named_parameters() if p.grad is not None],
                "modes": [m.training for m in model.modules()],
            }
        )  # fmt: skip


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    return one == other


class NoisyCollator:
    """A collator that draws from all of a process's random numbers, as augmenting ones do."""

    def __init__(self, collate: Any) -> None:
        self.collate = collate

    def __call__(self, examples: list[Any]) -> Any:
        batch = self.collate(examples)
        words = batch["input_ids"]
        word = 4 + (random.randrange(20) + int(np.random.randint(20)) + int(torch.randint(20, ()))) % 56
        words[torch.rand(words.shape) < 0.2] = word
        return batch


@pytest.mark.parametrize(
    "changes",
    [
        slow({"method": "mtl", "bf16": True}),
        {"method": "pcgrad", "gradient_accumulation_steps": 2},
        {"method": "seq_reptile", "inner_steps": 4, "gradient_accumulation_steps": 2, "bf16": True},
        slow({"method": "mtl", "gradient_accumulation_steps": 2}),
        slow({"method": "mtl", "label_smoothing_factor": 0.1}),
        slow({"method": "gradnorm"}),
        slow({"method": "swep"}),
        slow({"method": "recadam"}),
        slow({"method": "seq_reptile", "inner_steps": 4}),
        slow({"method": "reptile", "inner_steps": 2}),
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_training_is_the_same_bit_for_bit(tmp_path, changes):
    runs = []
    for every in (None, 3):
        trainer = tiny.trainer(
            tmp_path, log_gradient_alignment=every, max_steps=13, logging_steps=2, eval_strategy="steps", eval_steps=4,
            init={"eval_dataset": {"de": tiny.task(8, 5)}, "callbacks": [Tracing()]}, **changes,
        )  # fmt: skip
        trainer.data_collator = NoisyCollator(trainer.data_collator)
        tiny.train(trainer)
        trace = next(c for c in trainer.callback_handler.callbacks if isinstance(c, Tracing))
        runs.append((trainer, trace.traces))
    (without, plain), (with_it, traced) = runs
    assert list(measured(with_it)) == [0, 3, 6, 9, 12, 13] and not measured(without)
    assert all(same(a, b) for a, b in zip(plain, traced, strict=True))
    tiny.assert_equal(tiny.weights(without.model), tiny.weights(with_it.model))
    assert others(without) == others(with_it)
    # Dropout is on in training, or nothing was shown.
    assert not same(plain[-1]["torch"], plain[0]["torch"])


@pytest.mark.parametrize("method", ["seq_reptile", slow("mtl"), slow("pcgrad"), slow("reptile")])
def test_a_resumed_run_measures_what_the_uninterrupted_one_does(tmp_path, method):
    changes = {"method": method, "log_gradient_alignment": 3, "save_strategy": "steps", "save_steps": 6}
    changes |= {"inner_steps": 4} if method == "seq_reptile" else {"inner_steps": 2} if method == "reptile" else {}
    whole, resumed = (tiny.trainer(tmp_path, max_steps=13, **changes) for _ in range(2))
    tiny.train(whole)
    tiny.train(resumed, resume_from_checkpoint=str(tmp_path / "checkpoint-6"))
    assert list(measured(whole)) == [0, 3, 6, 9, 12, 13]
    assert measured(resumed) == measured(whole)
    assert others(resumed)[:-1] == others(whole)[:-1]
    tiny.assert_equal(tiny.weights(whole.model), tiny.weights(resumed.model))
    # A checkpoint of a step that is measured holds the measurement, and none holds the start weights.
    names = load_file(tmp_path / "checkpoint-6" / "model.safetensors").keys()
    assert not any("start" in name for name in names)


def test_a_finished_run_that_is_continued_measures_its_end_alone(tmp_path):
    changes = {"max_steps": 10, "log_gradient_alignment": 4, "save_strategy": "steps", "save_steps": 10}
    whole, again = (tiny.trainer(tmp_path, inner_steps=3, **changes) for _ in range(2))
    tiny.train(whole)
    tiny.train(again, resume_from_checkpoint=str(tmp_path / "checkpoint-10"))
    assert measured(again) == measured(whole)


def test_it_can_be_dropped_but_not_taken_up_on_the_way(tmp_path):
    changes = {"save_strategy": "steps", "save_steps": 6}
    tiny.train(tiny.trainer(tmp_path / "with", log_gradient_alignment=3, **changes))
    dropped = tiny.trainer(tmp_path / "with", **changes)
    tiny.train(dropped, resume_from_checkpoint=str(tmp_path / "with" / "checkpoint-6"))
    assert list(measured(dropped)) == [0, 3, 6]
    tiny.train(tiny.trainer(tmp_path / "without", **changes))
    taken_up = tiny.trainer(tmp_path / "without", log_gradient_alignment=3, **changes)
    with pytest.raises(InputError, match="did not measure it"):
        taken_up.train(resume_from_checkpoint=str(tmp_path / "without" / "checkpoint-6"))


def test_another_start_is_refused_since_the_distance_would_be_from_there(tmp_path):
    changes = {"log_gradient_alignment": 3, "save_strategy": "steps", "save_steps": 6}
    tiny.train(tiny.trainer(tmp_path, **changes))
    other = tiny.trainer(tmp_path, of_model=tiny.model(seed=1), **changes)
    with pytest.raises(InputError, match="started from other weights"):
        other.train(resume_from_checkpoint=str(tmp_path / "checkpoint-6"))


# What is measured.


def test_seq_reptile_is_measured_at_phi_in_the_middle_of_a_trajectory(tmp_path):
    trainer = tiny.trainer(
        tmp_path, inner_steps=5, outer_learning_rate=0.5, max_steps=15, log_gradient_alignment=1, logging_steps=1
    )
    entries = measured(tiny.train(trainer))
    by_value = [{key: entries[step][key] for key in OURS} for step in range(16)]
    for start in (0, 5, 10):
        assert all(by_value[step] == by_value[start] for step in range(start, start + 5))
    assert len({entry["distance"] for entry in by_value}) == 4
    counts = [entry["outer_updates"] for entry in trainer.state.log_history if "outer_updates" in entry]
    assert counts == [step // 5 for step in range(1, 16)]


def test_the_last_measurement_is_of_the_finished_model(tmp_path):
    start = tiny.weights(tiny.model())
    # The last trajectory is an unfinished one.
    trainer = tiny.train(tiny.trainer(tmp_path, inner_steps=5, max_steps=12, log_gradient_alignment=100))
    entries = measured(trainer)
    assert list(entries) == [0, 12]
    end = tiny.weights(trainer.model)
    expected = torch.cat([(end[name] - start[name]).flatten() for name in end]).norm().item()
    assert entries[12]["distance"] == pytest.approx(expected, rel=1e-5) and expected > 0.1


def test_only_what_is_trained_counts(tmp_path):
    torch.manual_seed(0)
    model = get_peft_model(
        tiny.model(), LoraConfig(task_type="TOKEN_CLS", r=2, target_modules=["query"], init_lora_weights=True)
    )
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    start = tiny.weights(model)
    trainer = tiny.train(tiny.trainer(tmp_path, of_model=model, method="mtl", log_gradient_alignment=6))
    end = tiny.weights(trainer.model)
    expected = torch.cat([(end[name] - start[name]).flatten() for name in sorted(trained)]).norm().item()
    assert measured(trainer)[12]["distance"] == pytest.approx(expected, rel=1e-5)
    assert trained != set(end)


def test_a_second_training_starts_where_the_first_ended(tmp_path):
    trainer = tiny.train(tiny.trainer(tmp_path, method="mtl", log_gradient_alignment=6))
    between = tiny.weights(trainer.model)
    tiny.train(trainer)
    entries, end = measured(trainer), tiny.weights(trainer.model)
    assert entries[0]["distance"] == 0
    expected = torch.cat([(end[name] - between[name]).flatten() for name in end]).norm().item()
    assert entries[12]["distance"] == pytest.approx(expected, rel=1e-5)


def test_a_model_that_training_makes_is_where_it_starts(tmp_path):
    trainer = tiny.trainer(tmp_path, method="mtl", log_gradient_alignment=6)
    args, collator = trainer.args, trainer.data_collator
    own = type(trainer)(
        model_init=lambda: tiny.model(seed=3), args=args, train_dataset=tiny.tasks(), data_collator=collator
    )
    assert measured(tiny.train(own))[0]["distance"] == 0


def test_the_probes_follow_from_the_seed_and_are_few(tmp_path):
    tasks = {"big": tiny.task(100, 1), "small": tiny.task(7, 2)}

    class Seen:
        def __init__(self, collate):
            self.collate, self.batches = collate, []

        def __call__(self, examples):
            self.batches.append([tuple(example["input_ids"]) for example in examples])
            return self.collate(examples)

    def probes(seed, method):
        trainer = tiny.trainer(
            tmp_path, train=tasks, method=method, seed=seed, log_gradient_alignment=100, max_steps=4
        )
        trainer.data_collator = seen = Seen(trainer.data_collator)
        set_seed(random.randrange(1000))
        trainer.train()
        # The first measurement's 32 and 7 examples in micro-batches of 4; the last one's are the same.
        first, last = seen.batches[:10], seen.batches[-10:]
        assert first == last and [len(b) for b in first] == [4] * 9 + [3]
        return [words for batch in first for words in batch]

    of_mtl = probes(1, "mtl")
    assert of_mtl == probes(1, "seq_reptile") and of_mtl != probes(2, "mtl")
    assert len(of_mtl) == PROBE_EXAMPLES + 7
    of_task = {task: {tuple(words) for words in dataset["input_ids"]} for task, dataset in tasks.items()}
    assert set(of_mtl[:32]) <= of_task["big"] and set(of_mtl[32:]) == of_task["small"]


def test_a_loss_of_ones_own_is_the_one_that_is_measured(tmp_path):
    def only_first_label(outputs, inputs):
        return outputs.logits[..., 0].mean()

    own, stock = (
        tiny.train(tiny.trainer(tmp_path, method="mtl", max_steps=4, log_gradient_alignment=4, init=init))
        for init in ({"compute_batch_loss": only_first_label}, {})
    )
    assert measured(own)[0]["cosine/avg"] != pytest.approx(measured(stock)[0]["cosine/avg"], abs=1e-3)


# What users see, and what is refused.


def test_the_plan_says_what_it_takes(tmp_path):
    trainer = tiny.trainer(tmp_path, method="mtl", log_gradient_alignment=50)
    assert "gradient alignment every 50 steps: 3 tasks' gradients over up to 32 examples each" in str(
        trainer.plan(100)
    )
    assert "alignment" not in str(tiny.trainer(tmp_path, method="mtl").plan(100))


def test_the_progress_bar_shows_the_mean_and_no_pair():
    logs = dict.fromkeys([*PAIRS, "cosine/avg", "distance", "loss", "loss/de", "outer_updates"], 1.0)
    assert list(over_all_tasks(logs)) == ["cosine/avg", "distance", "loss", "outer_updates"]


@pytest.mark.parametrize(("method", "tasks"), [("stl", ["de"]), ("mtl", ["sw"])])
def test_a_single_task_has_nothing_to_be_aligned_with(tmp_path, method, tasks):
    train = {task: tiny.tasks()[task] for task in tasks}
    with pytest.raises(InputError, match=rf"--log_gradient_alignment .*--method {method} .*'{tasks[0]}'; remove it"):
        tiny.trainer(tmp_path, train=train, method=method, log_gradient_alignment=5)


def test_no_step_in_between_is_refused(tmp_path):
    with pytest.raises(InputError, match="--log_gradient_alignment is 0; it must be at least 1"):
        tiny.arguments(tmp_path, log_gradient_alignment=0)


# Two processes.


@pytest.mark.parametrize("method", ["seq_reptile", slow("reptile")])
def test_two_processes_stay_together_and_train_as_without(method):
    changes = {"method": method, "inner_steps": 2, "max_steps": 8}
    with_it, without = (
        processes.together(2, processes.trained, changes | {"log_gradient_alignment": every}) for every in (3, None)
    )
    for one, other in [*zip(with_it, without, strict=True), with_it]:
        tiny.assert_equal(one["weights"], other["weights"])
    first, second = ([entry for entry in run["log"] if "cosine/avg" in entry] for run in with_it)
    assert first == second and [entry["step"] for entry in first] == [0, 3, 6, 8]
    # Nothing waits for another process.
    assert [run["sums"] for run in with_it] == [run["sums"] for run in without]
    assert [run["averaged_gradients"] for run in with_it] == [run["averaged_gradients"] for run in without]
