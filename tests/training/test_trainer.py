"""What every method shares: the window of draws, losses, logs, metrics, files."""

import json
import math
from collections import Counter

import pytest
import torch
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed

from hf_seqreptile import InputError, MultiTaskTrainer, MultiTaskTrainingArguments, SeqReptileTrainer
from hf_seqreptile.methods.seq_reptile import SeqReptileMixin
from hf_seqreptile.scores import average_over_tasks
from tests import tiny


class InGivenOrder(Trainer):
    """The stock trainer, which shuffles unless told not to."""

    def _get_train_sampler(self, train_dataset=None):
        return SequentialSampler(self.train_dataset)


@pytest.mark.parametrize("schedule", ["linear", "constant"])
def test_one_task_and_one_draw_is_the_stock_trainer_bit_for_bit(tmp_path, schedule):
    """Law 2."""
    task = tiny.task(32, 1)
    ours = tiny.trainer(
        tmp_path, {"de": task}, method="mtl", tasks_per_step=1, max_steps=8, lr_scheduler_type=schedule
    )
    order = [row for batch in ours.get_train_dataloader().batch_sampler for _, row, _ in batch]
    tiny.train(ours)

    stock_args = TrainingArguments(
        output_dir=str(tmp_path), learning_rate=1e-2, per_device_train_batch_size=4, max_steps=8, save_strategy="no",
        lr_scheduler_type=schedule, logging_steps=3, report_to="none", disable_tqdm=True, use_cpu=True,
    )  # fmt: skip
    stock = InGivenOrder(
        model=tiny.model(), args=stock_args, train_dataset=task.select(order), data_collator=ours.data_collator
    )
    set_seed(stock_args.seed)
    stock.train()
    tiny.assert_equal(tiny.weights(ours.model), tiny.weights(stock.model))
    assert ours.state.log_history[-1]["train_loss"] == stock.state.log_history[-1]["train_loss"]


@pytest.mark.parametrize("method", ["seq_reptile", "mtl"])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_accumulation_gives_the_same_trajectory_and_the_same_loss(tmp_path, method, label_smoothing):
    """Law 6. The sentences differ in length, so a mean of micro-batch means would be another number."""
    runs = []
    for batch, accumulation in ((8, 1), (2, 4)):
        trainer = tiny.trainer(
            tmp_path, dropout=0.0, method=method, per_device_train_batch_size=batch, logging_steps=1,
            gradient_accumulation_steps=accumulation, label_smoothing_factor=label_smoothing, learning_rate=1e-3,
        )  # fmt: skip
        trainer.train()
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        norms = [entry["grad_norm"] for entry in trainer.state.log_history if "grad_norm" in entry]
        runs.append((tiny.weights(trainer.model), losses, norms))
    (one, losses, norms), (four, other_losses, other_norms) = runs
    assert other_losses == pytest.approx(losses, abs=1e-5)
    assert other_norms == pytest.approx(norms, rel=1e-4)
    assert tiny.largest_difference(one, four) < 1e-4


def test_a_steps_loss_is_the_mean_over_its_draws(tmp_path):
    """Four draws a step, whose labels differ in number: an oracle that knows nothing of windows."""
    trainer = tiny.trainer(tmp_path, dropout=0.0, method="mtl", tasks_per_step=4, max_steps=1, logging_steps=1)
    model, loader = tiny.model(dropout=0.0), trainer.get_train_dataloader()
    draws = [batch for _, batch in zip(range(4), loader, strict=False)]
    expected = [
        model(**{k: v for k, v in batch.items() if k not in ("task", "labels_in_batch")}).loss.item()
        for batch in draws
    ]
    trainer.train()
    logged = trainer.state.log_history[0]
    assert logged["loss"] == pytest.approx(sum(expected) / 4, rel=1e-5)
    for task in {batch["task"] for batch in draws}:
        own = [loss for loss, batch in zip(expected, draws, strict=True) if batch["task"] == task]
        assert logged[f"loss/{task}"] == pytest.approx(sum(own) / len(own), rel=1e-5)
        assert logged[f"draws/{task}"] == len(own)


@pytest.mark.parametrize("tasks_per_step", [1, 5])
def test_an_epoch_is_the_data_over_the_batch_rounded_up_to_whole_steps(tmp_path, tasks_per_step):
    trainer = tiny.trainer(tmp_path, method="mtl", tasks_per_step=tasks_per_step, max_steps=-1, num_train_epochs=2)
    assert trainer.draw_counts == {}
    trainer.train()
    steps = math.ceil(math.ceil((60 + 37 + 9) / 4) / tasks_per_step)
    draws = steps * tasks_per_step
    assert sum(trainer.draw_counts.values()) == 2 * draws
    assert trainer.state.global_step == 2 * steps
    last = [entry for entry in trainer.state.log_history if "loss" in entry][-1]
    assert trainer.args.gradient_accumulation_steps == 1
    assert sum(value for key, value in last.items() if key.startswith("draws/")) <= 2 * draws


def test_every_task_has_metrics_and_callbacks_see_their_average_once(tmp_path):
    seen = []

    class Watch(TrainerCallback):
        def on_evaluate(self, args, state, control, metrics, **kwargs):
            seen.append(metrics)

    trainer = tiny.trainer(
        tmp_path, method="mtl", eval_strategy="steps", eval_steps=6, save_strategy="steps", save_steps=6,
        load_best_model_at_end=True, metric_for_best_model="avg_share", greater_is_better=True,
        init={
            "eval_dataset": {"de": tiny.task(8, 5), "nl": tiny.task(8, 6)},
            "compute_metrics": lambda prediction: {"share": float((prediction.predictions.argmax(-1) == 0).mean())},
            "callbacks": [Watch()],
        },
    )  # fmt: skip
    trainer.train()
    assert len(seen) == 2
    for metrics in seen:
        mean = (metrics["eval_de_share"] + metrics["eval_nl_share"]) / 2
        assert metrics["eval_avg_share"] == metrics["eval_share"] == pytest.approx(mean)
        assert not any("avg_runtime" in name for name in metrics)
    assert trainer.state.best_metric == max(metrics["eval_avg_share"] for metrics in seen)


def test_an_unknown_best_metric_is_named_with_the_known_ones(tmp_path):
    trainer = tiny.trainer(
        tmp_path, eval_strategy="steps", eval_steps=4, metric_for_best_model="avg_f2",
        init={"eval_dataset": {"de": tiny.task(4, 5)}},
    )  # fmt: skip
    with pytest.raises(InputError, match=r"metric_for_best_model avg_f2 .*eval_avg_loss"):
        trainer.train()


def test_averages_leave_out_metrics_that_a_task_lacks():
    metrics = {"eval_a_f1": 0.5, "eval_b_f1": 1.0, "eval_a_LOC_f1": 0.1, "eval_a_runtime": 3.0, "eval_b_runtime": 5.0}
    assert average_over_tasks(metrics, ["a", "b"], "eval") == {"eval_avg_f1": 0.75, "eval_f1": 0.75}


def test_saved_arguments_are_json_without_paths_or_tokens(tmp_path):
    """Law 9."""
    trainer = tiny.trainer(tmp_path / "home", hub_token="hf_secret", hub_model_id="me/mine")
    trainer.train()
    trainer.save_model()
    assert not (tmp_path / "home" / "training_args.bin").exists()
    text = (tmp_path / "home" / "training_args.json").read_text()
    assert "hf_secret" not in text and "home" not in text
    saved = json.loads(text)
    assert saved["method"] == "seq_reptile" and saved["inner_steps"] == 4 and saved["learning_rate"] == 1e-2
    assert "weight_decay" not in saved


def test_a_loss_that_is_not_finite_names_task_and_step(tmp_path):
    model = tiny.model()
    with torch.no_grad():
        model.classifier.bias.fill_(float("nan"))
    trainer = tiny.trainer(tmp_path, of_model=model)
    with pytest.raises(InputError, match=r"loss of task '(de|en|sw)' is nan at step 1\..*learning_rate"):
        trainer.train()


def test_methods_combine_with_other_trainers(tmp_path):
    class Doubled(Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            loss, outputs = super().compute_loss(model, inputs, return_outputs=True)
            return (2 * loss, outputs) if return_outputs else 2 * loss

    class Mine(SeqReptileMixin, Doubled):
        """Sequential Reptile on the doubled loss."""

    logs = []
    for trainer_class in (Mine, None):
        trainer = tiny.trainer(tmp_path, trainer_class=trainer_class, max_steps=4, logging_steps=1)
        trainer.train()
        logs.append(trainer.state.log_history[0]["loss"])
    assert logs[0] == pytest.approx(2 * logs[1])


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({}, "one dataset for each task"),
        ([1, 2], "one dataset for each task"),
        ({"de": tiny.task(4, 1), "sw": tiny.task(4, 1).select([])}, "'sw' has no training examples"),
        ({"avg": tiny.task(4, 1)}, "'avg'"),
        ({"de": (row for row in [])}, "'de' has no length"),
    ],
)
def test_unusable_tasks_are_named(tmp_path, train, message):
    with pytest.raises(InputError, match=message):
        tiny.trainer(tmp_path, train)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inner_steps": 0}, r"inner_steps \(K\) is 0"),
        ({"outer_learning_rate": 0.0}, r"outer_learning_rate \(η\) is 0"),
        ({"outer_learning_rate": 1.5}, r"outer_learning_rate \(η\) is 1.5"),
        ({"slow_weights_device": "gpu5"}, "slow_weights_device gpu5 is no device"),
        ({"method": "mtl", "all_tasks_each_step": True, "tasks_per_step": 2}, "remove --tasks_per_step"),
        ({"task_sampling_exponent": -0.1}, r"task_sampling_exponent \(q\) is -0.1"),
        ({"task_sampling_exponent": 1.1}, r"task_sampling_exponent \(q\) is 1.1"),
        ({"tasks_per_step": 0}, r"tasks_per_step \(M\) is 0"),
        ({"train_sampling_strategy": "sequential"}, "sequential is not supported"),
        ({"inner_optimizer_state": "forget"}, "choose keep or reset"),
        ({"method": "mtl", "inner_steps": 5}, "inner_steps is a setting of --method seq_reptile and reptile"),
        ({"max_steps": 3}, r"--inner_steps \(K\) is 4, but only 3 inner steps are planned"),
    ],
)
def test_bad_settings_are_refused_before_training(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        tiny.trainer(tmp_path, **changes).train()


@pytest.mark.parametrize(
    ("method", "changes", "steps"),
    [
        ("mtl", {"tasks_per_step": 8}, 3),
        ("mtl", {"tasks_per_step": 8}, 9),
        ("mtl", {"tasks_per_step": 40}, 2),
        ("mtl", {"tasks_per_step": 2, "gradient_accumulation_steps": 3}, 7),
        ("pcgrad", {"all_tasks_each_step": True}, 11),
        ("reptile", {"inner_steps": 4}, 14),
        ("seq_reptile", {}, 30),
    ],
)
def test_the_plan_has_the_draws_that_the_run_makes(tmp_path, monkeypatch, method, changes, steps):
    trainer = tiny.trainer(tmp_path, method=method, max_steps=steps, **changes)
    plan, made, end_draw = trainer.plan(steps), Counter(), trainer.end_draw

    def counted(task, is_last_of_step):
        made[task] += 1
        end_draw(task, is_last_of_step)

    monkeypatch.setattr(trainer, "end_draw", counted)
    trainer.train()
    assert plan.draws == sum(made.values())
    if not trainer.draws_tasks:
        assert plan.expected_draws == pytest.approx(made)
    assert str(trainer.plan(steps)) == str(plan)


@pytest.mark.parametrize(
    ("method", "steps", "warning"),
    [
        ("mtl", 12, "12 optimizer steps are few for M = 8. --tasks_per_step 1 makes 96 of the same gradient"),
        ("pcgrad", 12, "12 optimizer steps are few for M = 8. Raise --max_steps or --num_train_epochs"),
        ("mtl", 50, None),
        ("stl", 12, None),
    ],
)
def test_the_plan_warns_of_few_steps_for_many_draws(tmp_path, method, steps, warning):
    plan = str(tiny.trainer(tmp_path, method=method, tasks_per_step=None).plan(steps))
    assert warning in plan if warning else "are few for M" not in plan


@pytest.mark.parametrize(
    ("method", "warns"), [("seq_reptile", True), ("pcgrad", True), ("mtl", False), ("stl", False)]
)
def test_the_plan_warns_of_a_single_task_where_the_method_is_about_several(tmp_path, method, warns):
    plan = str(tiny.trainer(tmp_path, {"all": tiny.task(40, 1)}, method=method).plan(60))
    assert ("warning: 'all' is the only task" in plan) == warns


@pytest.mark.parametrize(("steps", "column"), [(1, ["1.2", "1.1", "0.8"]), (10, ["11.6", "10.5", "7.9"]), (40, [])])
def test_a_few_expected_draws_have_a_decimal(tmp_path, steps, column):
    trainer = tiny.trainer(tmp_path, method="mtl", tasks_per_step=3)
    lines = str(trainer.plan(steps)).splitlines()[3:6]
    assert [line.split()[-1] for line in lines if "." in line.split()[-1]] == column


def test_arguments_of_another_kind_or_method_are_refused(tmp_path):
    with pytest.raises(InputError, match="MultiTaskTrainingArguments"):
        MultiTaskTrainer(tiny.model(), TrainingArguments(output_dir=str(tmp_path)), train_dataset=tiny.tasks())
    seq_reptile = MultiTaskTrainingArguments(output_dir=str(tmp_path), inner_steps=3)
    with pytest.raises(InputError, match="inner_steps is a setting of --method seq_reptile and reptile"):
        MultiTaskTrainer(tiny.model(), seq_reptile, train_dataset=tiny.tasks())
    mtl = MultiTaskTrainingArguments(output_dir=str(tmp_path), method="mtl")
    with pytest.raises(InputError, match="method='seq_reptile'"):
        SeqReptileTrainer(tiny.model(), mtl, train_dataset=tiny.tasks())


def test_a_method_left_open_is_the_trainers(tmp_path):
    args = MultiTaskTrainingArguments(output_dir=str(tmp_path), report_to="none")
    assert MultiTaskTrainer(tiny.model(), args, train_dataset=tiny.tasks()).args.method == "mtl"


def test_stl_takes_one_task(tmp_path):
    tiny.trainer(tmp_path, {"sw": tiny.task(9, 3)}, method="stl").train()
    with pytest.raises(InputError, match="one task; got 3"):
        tiny.trainer(tmp_path, tiny.tasks(), method="stl")
