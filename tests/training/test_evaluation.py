"""Evaluation: predictions in the data's order, metrics from labels or from the dataset, each task's and their mean."""

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from transformers import EvalPrediction, Trainer, TrainingArguments

from hf_seqreptile.problems.labels import predicted_labels
from tests import tiny


def evaluating(folder: Path, init: dict[str, Any] | None = None, **changes: Any) -> Any:
    return tiny.trainer(folder, method="mtl", per_device_eval_batch_size=4, init=init, **changes)


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
        rows |= {row for batch in sampler for task, row in batch if task == "de"}
    assert rows == set(range(12))
