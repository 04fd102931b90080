"""Evaluation: predictions in the data's order, metrics from labels or from the dataset, each task's and their mean."""

import re
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import psutil
import pytest
import torch
from transformers import (
    BertForQuestionAnswering,
    EvalPrediction,
    Trainer,
    TrainerState,
    TrainingArguments,
    default_data_collator,
)

from hf_seqreptile import InputError
from hf_seqreptile.problems.labels import predicted_labels
from tests import tiny


def evaluating(folder: Path, init: dict[str, Any] | None = None, **changes: Any) -> Any:
    return tiny.trainer(folder, init=init, **({"method": "mtl", "per_device_eval_batch_size": 4} | changes))


def test_predictions_are_in_the_order_of_the_data(tmp_path: Path) -> None:
    dataset = tiny.task(30, 1)
    stock = Trainer(
        model=tiny.model(), args=TrainingArguments(tmp_path, per_device_eval_batch_size=4, use_cpu=True),
        data_collator=evaluating(tmp_path).data_collator,
    ).predict(dataset)  # fmt: skip
    ours = evaluating(tmp_path).predict(dataset)
    assert np.array_equal(ours.label_ids, stock.label_ids)
    labelled = stock.label_ids != -100
    assert np.abs(ours.predictions - stock.predictions)[labelled].max() < 1e-5
    assert ours.metrics["test_loss"] == pytest.approx(stock.metrics["test_loss"], rel=0.2)


def mean_loss(dataset: datasets.Dataset) -> float:
    """The mean over all labels, one sentence after another."""
    model, total, number = tiny.model().eval(), 0.0, 0
    for row in dataset:
        inputs, labels = torch.tensor([row["input_ids"]]), torch.tensor(row["labels"])
        with torch.no_grad():
            logits = model(inputs).logits[0]
        total += torch.nn.functional.cross_entropy(logits, labels, reduction="sum").item()
        number += int((labels != -100).sum())
    return total / number


def partly_labelled(size: int) -> datasets.Dataset:
    """Sentences of which every third has no labels; alone in a batch, it has no loss."""
    labels = tiny.task(size, 1)["labels"]
    labels = [[-100] * len(row) if i % 3 == 2 else row for i, row in enumerate(labels)]
    return tiny.task(size, 1).remove_columns("labels").add_column("labels", labels)


@pytest.mark.parametrize("strategy", ["group_by_length", "random"])
@pytest.mark.parametrize("batch", [1, 4, 30])
@pytest.mark.parametrize("only_losses", [False, True])
def test_the_loss_is_the_mean_over_labels_whatever_the_batches(
    tmp_path: Path, strategy: str, batch: int, only_losses: bool
) -> None:
    dataset = partly_labelled(30)
    trainer = evaluating(
        tmp_path, train_sampling_strategy=strategy, per_device_eval_batch_size=batch, prediction_loss_only=only_losses
    )
    assert trainer.evaluate({"de": dataset})["eval_de_loss"] == pytest.approx(mean_loss(dataset), rel=1e-5)


def test_without_a_column_of_labels_the_loss_is_the_mean_over_examples(tmp_path: Path) -> None:
    """As for answers, which have a start and an end."""
    config = tiny.model().config
    config.num_labels = 2
    model = BertForQuestionAnswering(config).eval()
    words = [row[:3] for row in tiny.task(10, 1)["input_ids"]]
    rows = datasets.Dataset.from_dict({"input_ids": words, "start_positions": [0, 1] * 5, "end_positions": [2, 1] * 5})
    trainer = evaluating(tmp_path, of_model=model)
    trainer.data_collator = default_data_collator
    alone = [{name: torch.tensor([value]) for name, value in row.items()} for row in rows]
    expected = np.mean([model(**row).loss.item() for row in alone])
    assert trainer.evaluate(rows)["eval_loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("skips", "is_finite"), [(True, True), (False, False)])
def test_losses_that_are_not_finite_are_left_out_as_in_the_stock_trainer(
    tmp_path: Path, skips: bool, is_finite: bool
) -> None:
    """Unless `logging_nan_inf_filter` is off."""
    dataset = tiny.task(8, 1)

    def infinite_once(outputs: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        is_last = inputs["input_ids"].shape[1] == min(map(len, dataset["input_ids"]))
        return torch.tensor(torch.inf) if is_last else torch.tensor(2.0)

    trainer = evaluating(tmp_path, {"compute_batch_loss": infinite_once}, logging_nan_inf_filter=skips)
    trainer.args.per_device_eval_batch_size = 1
    assert trainer.evaluate(dataset)["eval_loss"] == (2.0 if is_finite else torch.inf)


@pytest.mark.parametrize("strategy", ["group_by_length", "random"])
def test_every_example_is_evaluated_whatever_training_drops(tmp_path: Path, strategy: str) -> None:
    dataset = tiny.task(30, 1)
    trainer = evaluating(tmp_path, dataloader_drop_last=True, train_sampling_strategy=strategy)
    output = trainer.predict(dataset)
    assert len(output.predictions) == 30 and output.metrics["test_loss"] == pytest.approx(mean_loss(dataset), rel=1e-5)
    assert len(trainer.get_eval_dataloader(dataset)) == len(trainer.get_test_dataloader(dataset)) == 8
    assert trainer.args.dataloader_drop_last


def test_no_worker_outlives_its_evaluation(tmp_path: Path) -> None:
    trainer = evaluating(tmp_path, dataloader_num_workers=1, dataloader_persistent_workers=True)
    before = psutil.Process().children()
    for _ in range(2):
        trainer.evaluate({"de": tiny.task(4, 1), "sw": tiny.task(4, 2)})
    assert {*psutil.Process().children()} <= {*before}


def test_similar_lengths_share_a_batch(tmp_path: Path) -> None:
    def padded(**changes: Any) -> int:
        trainer = evaluating(tmp_path, **changes)
        shapes: list[int] = []
        trainer.model.register_forward_pre_hook(
            lambda module, args, kwargs: shapes.append(kwargs["input_ids"].numel()), with_kwargs=True
        )
        trainer.predict(tiny.task(30, 1))
        return sum(shapes)

    words = sum(map(len, tiny.task(30, 1)["input_ids"]))
    assert padded() < 1.1 * words < padded(train_sampling_strategy="random")


@pytest.mark.parametrize("strategy", ["group_by_length", "random"])
def test_metrics_see_the_data_in_its_order(tmp_path: Path, strategy: str) -> None:
    """With labels and predictions alone, or with the dataset."""
    dataset = tiny.task(30, 1)
    seen: list[Any] = []

    def of_labels(prediction: EvalPrediction) -> dict[str, float]:
        seen.append(prediction)
        return {"accuracy": np.float64((prediction.predictions == prediction.label_ids).mean())}

    def of_dataset(prediction: EvalPrediction, predicted: datasets.Dataset) -> dict[str, float]:
        assert predicted is dataset
        lengths = [len(row) for row in predicted["labels"]]
        assert lengths == (prediction.label_ids != -100).sum(axis=1).tolist()
        return {"mean_length": np.mean(lengths)}

    hooks = {"compute_metrics": of_labels, "preprocess_logits_for_metrics": predicted_labels}
    trainer = evaluating(tmp_path, {**hooks, "compute_dataset_metrics": of_dataset}, train_sampling_strategy=strategy)
    metrics = trainer.evaluate({"de": dataset})
    assert [row[row != -100].tolist() for row in seen[0].label_ids] == dataset["labels"][:]
    assert metrics["eval_de_mean_length"] == metrics["eval_mean_length"] == np.mean([*map(len, dataset["labels"])])
    assert type(metrics["eval_de_accuracy"]) is float


def test_a_dataset_without_labels_has_metrics_of_its_own(tmp_path: Path) -> None:
    dataset = tiny.task(5, 1).remove_columns("labels")
    trainer = evaluating(tmp_path, {"compute_dataset_metrics": lambda prediction, predicted: {"rows": len(predicted)}})
    trainer.data_collator = lambda rows: tiny.tokenizer().pad(rows, return_tensors="pt")
    assert trainer.evaluate(dataset)["eval_rows"] == 5


def test_what_is_evaluated_can_be_kept(tmp_path: Path) -> None:
    tasks, kept = tiny.tasks(), {}
    trainer = evaluating(tmp_path)
    trainer.evaluate(tasks, on_prediction=lambda task, prediction: kept.update({task: prediction.predictions.shape}))
    assert {task: shape[0] for task, shape in kept.items()} == {task: len(dataset) for task, dataset in tasks.items()}


def test_logits_are_not_kept_where_only_the_loss_is_wanted(tmp_path: Path) -> None:
    trainer, kept = evaluating(tmp_path), []
    stock_step = trainer.prediction_step
    trainer.prediction_step = lambda *args, **kwargs: (step := stock_step(*args, **kwargs), kept.append(step[1]))[0]
    assert trainer.evaluate(tiny.tasks())["eval_loss"] > 0
    assert kept and not any(isinstance(logits, torch.Tensor) for logits in kept)
    assert not trainer.args.prediction_loss_only


def test_windows_of_an_example_count_once(tmp_path: Path) -> None:
    """N_t and epochs count examples; every window is trained on."""
    windows = tiny.task(12, 1).add_column("overflow_to_sample_mapping", [i // 3 for i in range(12)])
    trainer = tiny.trainer(
        tmp_path, train={"de": windows, "en": tiny.task(4, 2)}, method="mtl", tasks_per_step=1, max_steps=-1,
        num_train_epochs=6, per_device_train_batch_size=2,
    )  # fmt: skip
    assert trainer.tasks.sizes == {"de": 4, "en": 4}
    assert trainer.task_probabilities == {"de": 0.5, "en": 0.5}
    tiny.train(trainer)
    assert trainer.state.global_step == 6 * (4 + 4) / 2
    sampler = trainer.get_train_dataloader().batch_sampler
    rows = set()
    for epoch in range(6):
        sampler.set_epoch(epoch)
        rows |= {row for batch in sampler for task, row, _ in batch if task == "de"}
    assert rows == set(range(12))


def test_a_task_is_evaluated_by_its_name_as_in_the_stock_trainer(tmp_path: Path) -> None:
    trainer = evaluating(tmp_path, {"eval_dataset": tiny.tasks()})
    by_name, given = trainer.evaluate("de"), trainer.evaluate(tiny.tasks()["de"])
    assert by_name["eval_loss"] == given["eval_loss"] and by_name.keys() == given.keys()
    with pytest.raises(InputError, match=r"^There is no task 'fr' to evaluate\. Known: de, en, sw\.$"):
        trainer.evaluate("fr")
    trainer.eval_dataset = tiny.task(4, 1)
    with pytest.raises(InputError, match=r"^There is no task 'de' .* is no dict\.$"):
        trainer.evaluate("de")


@pytest.mark.parametrize(
    ("value", "reported"),
    [
        ("text", "text"),
        (None, None),
        (True, True),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (torch.tensor([1.5, 2.0]), [1.5, 2.0]),
        ([torch.tensor([1.5])], [1.5]),
        ({"de": np.float64(0.5), "per_tag": [np.int64(1)]}, {"de": 0.5, "per_tag": [1]}),
    ],
    ids=str,
)
def test_a_metric_that_is_no_number_is_reported_without_a_mean(tmp_path: Path, value: Any, reported: Any) -> None:
    """In logs, files, on the screen; a checkpoint can be saved after it."""
    trainer = evaluating(
        tmp_path,
        {"compute_metrics": lambda prediction: {"odd": value, "f1": 0.5}, "eval_dataset": tiny.tasks()},
        eval_strategy="steps", eval_steps=2, max_steps=2, save_strategy="steps", save_steps=2, disable_tqdm=False,
    )  # fmt: skip
    trainer.train()
    metrics = trainer.evaluate()
    assert metrics["eval_de_odd"] == metrics["eval_sw_odd"] == reported and metrics["eval_f1"] == 0.5
    assert "eval_odd" not in metrics and "eval_avg_odd" not in metrics
    trainer.save_metrics("eval", metrics)
    trainer.save_state()
    assert TrainerState.load_from_json(str(tmp_path / "trainer_state.json")).log_history[-1]["eval_de_odd"] == reported


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "^scores returned None; it must return a dict of metrics by their names"),
        (0.5, "^scores returned 0.5; it must return a dict"),
        ({1: 0.5}, "^scores returned {1: 0.5}; it must return a dict"),
        ({"f1": {1, 2}}, "^scores returned a set for 'f1', which no file of results can hold"),
    ],
)
@pytest.mark.parametrize("strategy", ["group_by_length", "random"])
@pytest.mark.parametrize("hook", ["compute_metrics", "compute_dataset_metrics"])
def test_what_is_no_metric_is_refused(tmp_path: Path, returned: Any, message: str, strategy: str, hook: str) -> None:
    def scores(*args: Any) -> Any:
        return returned

    trainer = evaluating(tmp_path, {hook: scores}, train_sampling_strategy=strategy)
    with pytest.raises(InputError, match=message):
        trainer.evaluate(tiny.tasks())


def test_metrics_by_batches_are_the_stock_trainers(tmp_path: Path) -> None:
    """With `batch_eval_metrics` only the last call has a result."""
    results = []

    def batches(prediction: EvalPrediction, compute_result: bool) -> Any:
        results.append(compute_result)
        return {"batches": len(results)} if compute_result else None

    trainer = evaluating(tmp_path, {"compute_metrics": batches}, batch_eval_metrics=True)
    assert trainer.evaluate(tiny.task(10, 1))["eval_batches"] == 3
    assert results == [False, False, True]


def test_metrics_of_batches_that_are_not_put_together(tmp_path: Path) -> None:
    """With `eval_do_concat_batches` off they see a list of batches, in the data's order."""
    dataset, seen = tiny.task(10, 1), []
    trainer = evaluating(
        tmp_path, {"compute_metrics": lambda prediction: seen.append(prediction) or {}}, eval_do_concat_batches=False
    )
    output = trainer.predict(dataset)
    assert [len(batch) for batch in output.predictions] == [4, 4, 2]
    rows = [row[row != -100].tolist() for batch in seen[0].label_ids for row in batch]
    assert rows == dataset["labels"][:]


def test_outputs_without_a_row_for_each_example_are_those_of_the_stock_trainer(tmp_path: Path) -> None:
    """Labels of another name: the stock trainer takes the loss for an output."""
    dataset = tiny.task(10, 1)
    settings = {"label_names": ["others"], "per_device_eval_batch_size": 4, "use_cpu": True}
    ours = evaluating(tmp_path, **settings)
    stock = Trainer(model=tiny.model(), args=TrainingArguments(tmp_path, **settings), data_collator=ours.data_collator)
    for mine, theirs in zip(ours.predict(dataset).predictions, stock.predict(dataset).predictions, strict=True):
        assert np.array_equal(mine, theirs)


@pytest.mark.parametrize("given", [tiny.tasks(), "de", None], ids=["dict", "name", "nothing"])
def test_predictions_are_of_one_dataset(tmp_path: Path, given: Any) -> None:
    with pytest.raises(InputError, match="Predictions are made for one dataset"):
        evaluating(tmp_path, {"eval_dataset": tiny.tasks()}).predict(given)


class WithoutLength(torch.utils.data.Dataset):
    def __getitem__(self, row: int) -> Any:
        return tiny.task(4, 1)[row]


class Streamed(torch.utils.data.IterableDataset):
    """As some give a length to a stream."""

    def __iter__(self) -> Any:
        return iter(tiny.task(10, 1))

    def __len__(self) -> int:
        return 10


def test_streams_are_evaluated_as_in_the_stock_trainer(tmp_path: Path) -> None:
    dataset = tiny.task(10, 1)
    trainer = evaluating(tmp_path, {"compute_metrics": lambda prediction: {"rows": len(prediction.predictions)}})
    for stream in (Streamed(), dataset.to_iterable_dataset(), [dict(row) for row in dataset]):
        metrics = trainer.evaluate({"de": stream})
        assert metrics["eval_de_rows"] == 10
        assert metrics["eval_de_loss"] == pytest.approx(mean_loss(dataset), rel=1e-5)


@pytest.mark.parametrize("given", [WithoutLength(), iter([1]), 3], ids=["no length", "iterator", "number"])
def test_what_is_no_dataset_is_refused(tmp_path: Path, given: Any) -> None:
    with pytest.raises(InputError, match=f"^A {type(given).__name__} cannot be evaluated"):
        evaluating(tmp_path).evaluate({"de": given})


@pytest.mark.parametrize("name", [0, None, "", ("de", 1), "avg"])
@pytest.mark.parametrize("argument", ["train_dataset", "eval_dataset"])
def test_names_of_tasks_are_texts(tmp_path: Path, name: Any, argument: str) -> None:
    tasks = {name: tiny.task(4, 1)}
    message = "^A task cannot be called 'avg'" if name == "avg" else f"^{argument} has a task {name!r}; the name"
    init = {"train": tasks} if argument == "train_dataset" else {"init": {"eval_dataset": tasks}}
    with pytest.raises(InputError, match=re.escape(message[1:])):
        tiny.trainer(tmp_path, method="mtl", **init)
    with pytest.raises(InputError, match="eval_dataset must be a dict with one dataset for each task"):
        evaluating(tmp_path).evaluate({})


class NamesNoInputs(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = tiny.model()
        self.config = self.inner.config

    def forward(self, **kwargs: torch.Tensor) -> Any:
        return self.inner(**kwargs)


@pytest.mark.parametrize("as_rows", [list, lambda dataset: dataset], ids=["rows", "dataset"])
def test_a_model_whose_forward_names_no_inputs(tmp_path: Path, as_rows: Any) -> None:
    """The stock trainer would remove them all; without that, it trains and is evaluated as the model within."""
    tasks = {"de": as_rows(tiny.task(8, 1))}
    refused = tiny.trainer(tmp_path, tasks, NamesNoInputs(), method="mtl", max_steps=2)
    for use in (refused.train, lambda: refused.evaluate(tasks)):
        with pytest.raises(InputError, match="remove_unused_columns=False"):
            use()
    ends = []
    for model in (NamesNoInputs(), tiny.model()):
        trainer = tiny.trainer(
            tmp_path, tasks, model, method="mtl", max_steps=2, remove_unused_columns=False, label_names=["labels"]
        )
        ends.append((tiny.train(trainer), trainer.evaluate(tasks)))
    (ours, metrics), (inner, expected) = ends
    tiny.assert_equal(tiny.weights(ours.model.inner), tiny.weights(inner.model))
    assert metrics["eval_loss"] == expected["eval_loss"]


@pytest.mark.parametrize(("metric", "grows"), [("f1", True), ("loss", False)])
@pytest.mark.parametrize("schedule", ["reduce_lr_on_plateau", "greedy"])
def test_a_schedule_that_follows_a_metric_knows_whether_it_is_to_grow(
    tmp_path: Path, metric: str, grows: bool, schedule: str
) -> None:
    """The learning rate stays while the metric gets better, and falls while it gets worse."""
    for is_better in (True, False):
        scores = iter(np.arange(1.0, 20.0) if is_better == grows else np.arange(20.0, 1.0, -1.0))
        trainer = evaluating(
            tmp_path,
            {"compute_metrics": lambda prediction, scores=scores: {metric: next(scores)},
             "eval_dataset": tiny.task(4, 1)},
            lr_scheduler_type=schedule, metric_for_best_model=metric, eval_strategy="steps", eval_steps=1,
            lr_scheduler_kwargs={"patience": 0, "factor": 0.5, "min_lr": 0.0}, logging_steps=1, max_steps=6,
        )  # fmt: skip
        trainer.train()
        rates = [entry["learning_rate"] for entry in trainer.state.log_history if "learning_rate" in entry]
        assert (rates[-1] < rates[0]) != is_better


def test_a_schedule_against_its_metric_is_refused(tmp_path: Path) -> None:
    settings = {"lr_scheduler_type": "reduce_lr_on_plateau", "eval_strategy": "steps", "metric_for_best_model": "f1"}
    init = {"eval_dataset": tiny.task(4, 1)}
    trainer = evaluating(tmp_path, init, lr_scheduler_kwargs={"mode": "min"}, **settings)
    with pytest.raises(InputError, match="has mode min, but --metric_for_best_model f1 is to be large"):
        trainer.train()
    evaluating(tmp_path, init, lr_scheduler_kwargs={"mode": "max"}, **settings).create_optimizer_and_scheduler(1)


@pytest.mark.parametrize("changes", [{}, {"lr_scheduler_type": "reduce_lr_on_plateau"}, {"eval_on_start": True}])
@pytest.mark.parametrize("value", ["text", None])
def test_a_best_model_is_selected_by_a_number_that_is_there(tmp_path: Path, changes: Any, value: Any) -> None:
    metrics = {} if value is None else {"odd": value}
    trainer = evaluating(
        tmp_path, {"compute_metrics": lambda prediction: metrics, "eval_dataset": {"de": tiny.task(4, 1)}},
        metric_for_best_model="de_odd", eval_strategy="steps", eval_steps=1, **changes,
    )  # fmt: skip
    with pytest.raises(InputError, match="--metric_for_best_model de_odd is n"):
        trainer.train()
    assert trainer.state.global_step == (0 if changes.get("eval_on_start") else 1)
