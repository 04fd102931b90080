"""What belongs to each task: its head, collator, metrics and loss; and runs of several heads that are continued."""

from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoTokenizer, EvalPrediction

from hf_seqreptile import InputError
from hf_seqreptile.models.multi_head import MultiHeadModel
from tests import heads, tiny

EVERY_TASK = {"per_device_eval_batch_size": 4, "method": "mtl"}


def share_of_first(prediction: EvalPrediction) -> dict[str, float]:
    return {"first": float((prediction.predictions.argmax(-1) == 0).mean())}


def starts_and_ends(prediction: EvalPrediction) -> dict[str, float]:
    starts, ends = prediction.label_ids
    assert len(prediction.predictions) == 2
    return {"starts": float((starts == 1).mean()), "ends": float((ends >= 1).mean())}


def evaluated() -> dict[str, Any]:
    return {"de": tiny.task(9, 5), "en": heads.topics(7, 6), "ko": heads.answers(6, 7)}


# What is missing is said.


@pytest.mark.parametrize(
    ("init", "message"),
    [
        ({"task_heads": {"en": "topics", "sw": "tags"}}, "Task 'de' has no head: the model has tags, topics."),
        (
            {"task_heads": heads.TASK_HEADS | {"sw": "x"}},
            "Task 'sw' has no head: the model has tags, topics. Name it in",
        ),
        ({"eval_dataset": {"yo": tiny.task(3, 1)}}, "Task 'yo' has no head"),
        (
            {"processing_class": {"tags": tiny.tokenizer()}},
            "entries for tags, but the model's heads are tags, to",
        ),
        *(
            ({name: {"de": None, "en": None}}, f"{name} is a dict by task without an entry for 'sw': it has de, en.")
            for name in ("compute_metrics", "preprocess_logits_for_metrics", "compute_dataset_metrics")
        ),
        (
            {"data_collator": heads.collators(["de", "en"])},
            "data_collator is a dict by task without an entry",
        ),
        (
            {"compute_batch_loss": {"de": None, "en": None}},
            "compute_batch_loss is a dict by task without an",
        ),
    ],
    ids=str,
)
def test_what_a_task_lacks_is_said_when_the_trainer_is_made(tmp_path, init, message):
    with pytest.raises(InputError) as refusal:
        heads.trainer(tmp_path, method="mtl", init=init)
    assert message in str(refusal.value)


def test_a_dict_of_tokenizers_is_for_several_heads(tmp_path):
    with pytest.raises(InputError, match=r"processing_class is a dict by head, .* heads are one, without a name"):
        heads.trainer(
            tmp_path, {"de": tiny.task(3, 1)}, tiny.model(), init={"processing_class": {"a": tiny.tokenizer()}}
        )


def test_data_without_a_task_is_refused(tmp_path):
    trainer = heads.trainer(tmp_path, **EVERY_TASK)
    for ask in (trainer.predict, trainer.evaluate):
        with pytest.raises(InputError, match=r"several heads \(tags, topics\): say which task the data is of"):
            ask(tiny.task(3, 1))
    with pytest.raises(InputError, match="Task 'yo' has no head"):
        trainer.evaluate({"yo": tiny.task(3, 1)})
    with pytest.raises(InputError, match="Task 'yo' has no head"):
        trainer.predict(tiny.task(3, 1), task="yo")


def test_heads_called_as_their_tasks_need_not_be_named(tmp_path):
    model = heads.model(kinds={"en": heads.TEXTS, "topics": heads.TEXTS})
    trainer = heads.trainer(tmp_path, heads.tasks("en"), model, method="mtl", init={"task_heads": None})
    assert trainer.head_of("en") == "en"


# Each task is served with its own.


def test_every_task_has_its_losses_and_metrics(tmp_path):
    """Also a head of questions, whose labels are called otherwise."""
    metrics = {"de": share_of_first, "en": share_of_first, "ko": starts_and_ends, "sw": None}
    init = {"eval_dataset": evaluated(), "compute_metrics": metrics}
    trainer = heads.trainer(tmp_path, heads.tasks(), method="mtl", tasks_per_step=3, init=init)
    trainer.train()
    logged = {name for entry in trainer.state.log_history for name in entry}
    assert {"loss/de", "loss/en", "loss/sw", "loss/ko"} <= logged
    scores = trainer.evaluate()
    assert {"eval_de_first", "eval_en_first", "eval_ko_starts", "eval_ko_ends"} <= scores.keys()
    losses = [scores[f"eval_{task}_loss"] for task in ("de", "en", "ko")]
    assert scores["eval_loss"] == scores["eval_avg_loss"] == pytest.approx(np.mean(losses))
    # A metric of one name is averaged where every task has it.
    assert "eval_first" not in scores and "eval_starts" not in scores


def test_losses_are_those_of_the_heads(tmp_path):
    data = evaluated()
    # In one batch each, since the softmax over answers runs over padding too.
    trainer = heads.trainer(tmp_path, heads.tasks(), method="mtl", per_device_eval_batch_size=16)
    scores = trainer.evaluate(data)
    for task, dataset in data.items():
        batch = heads.collators()[task](list(dataset))
        with torch.no_grad():
            expected = trainer.model.eval()(head=heads.TASK_HEADS[task], **batch).loss.item()
        assert scores[f"eval_{task}_loss"] == pytest.approx(expected, rel=1e-5)
        predicted = trainer.predict(dataset, task=task)
        assert predicted.metrics["test_loss"] == pytest.approx(expected, rel=1e-5)
        assert len(predicted.label_ids if task != "ko" else predicted.label_ids[0]) == len(dataset)


def test_each_head_is_given_the_columns_that_its_forward_takes(tmp_path):
    """And no others: labels of tokens are none of a head of questions."""
    train = heads.tasks()
    train["de"] = train["de"].add_column("start_positions", [1] * 23).add_column("note", ["x"] * 23)
    train["ko"] = train["ko"].add_column("labels", [[0]] * 11).add_column("note", ["x"] * 11)
    init = {"data_collator": heads.collators(), "eval_dataset": {"ko": train["ko"]}}
    trainer = heads.trainer(tmp_path, train, **EVERY_TASK, init=init)
    seen = {batch["task"]: set(batch) - {"task", "labels_in_batch"} for batch in trainer.get_train_dataloader()}
    common = {"input_ids", "attention_mask", "head"}
    assert seen["de"] == seen["sw"] == seen["en"] == common | {"labels"}
    assert seen["ko"] == common | {"start_positions", "end_positions"}
    trainer.train()
    assert trainer.evaluate()["eval_ko_loss"] > 0


def test_a_loss_of_ones_own_is_the_tasks(tmp_path):
    """`None` is the model's own."""
    calls = []

    def mine(outputs: Any, inputs: Any) -> torch.Tensor:
        calls.append(inputs["head"])
        return nn.functional.cross_entropy(outputs.logits, inputs["labels"]) * 3

    losses = {"de": None, "en": mine, "sw": None}
    init = {"eval_dataset": evaluated() | {"sw": tiny.task(3, 3)}, "compute_batch_loss": losses}
    del init["eval_dataset"]["ko"]
    trainer = heads.trainer(tmp_path, **EVERY_TASK, init=init)
    plain = heads.trainer(tmp_path, **EVERY_TASK, init={"eval_dataset": init["eval_dataset"]})
    scores, expected = trainer.evaluate(), plain.evaluate()
    assert set(calls) == {"topics"}
    assert scores["eval_en_loss"] == pytest.approx(3 * expected["eval_en_loss"])
    assert scores["eval_de_loss"] == pytest.approx(expected["eval_de_loss"])
    with pytest.raises(InputError, match="--label_smoothing_factor has no effect on a loss of one's own"):
        heads.trainer(tmp_path, **EVERY_TASK, label_smoothing_factor=0.1, init=init)
    none = {"compute_batch_loss": dict.fromkeys(losses)}
    smoothed = heads.trainer(tmp_path, **EVERY_TASK, label_smoothing_factor=0.1, init=none)
    smoothed.train()
    assert smoothed.state.global_step == 12


def test_predictions_are_in_the_order_of_the_data(tmp_path):
    """Similar lengths are computed together."""
    trainer = heads.trainer(tmp_path, heads.tasks(), **EVERY_TASK)
    for task, dataset in evaluated().items():
        whole = trainer.predict(dataset, task=task).predictions
        whole = whole[0] if task == "ko" else whole
        for row in (0, len(dataset) - 1):
            alone = trainer.predict(dataset.select([row]), task=task).predictions
            alone = (alone[0] if task == "ko" else alone)[0]
            assert np.abs(whole[row][: len(alone)] - alone).max() < 1e-5


# Saved, selected, continued.


@pytest.mark.parametrize("is_dict", [True, False])
def test_what_is_saved_is_a_folder_a_head(tmp_path, is_dict):
    """Each with a tokenizer of its own, or the one that there is; the encoder has that of the first."""
    other = tiny.tokenizer()
    other.model_max_length = 17
    init = {"processing_class": {"tags": tiny.tokenizer(), "topics": other} if is_dict else other}
    trainer = heads.trainer(tmp_path, init=init)
    trainer.train()
    trainer.save_model()
    assert {"tags", "topics", "encoder", "heads.json"} <= {path.name for path in tmp_path.iterdir()}
    assert not (tmp_path / "model.safetensors").exists()
    saved = MultiHeadModel.from_pretrained(tmp_path)
    tiny.assert_equal(tiny.weights(saved), tiny.weights(trainer.model))
    lengths = [
        AutoTokenizer.from_pretrained(tmp_path / name).model_max_length for name in ("tags", "topics", "encoder")
    ]
    assert lengths == ([64, 17, 64] if is_dict else [17, 17, 17])


@pytest.mark.parametrize("method", ["seq_reptile", "mtl"])
def test_the_best_model_is_that_of_the_best_average(tmp_path, method):
    scores = iter([0.1, 0.5, 0.9, 0.9, 0.5, 0.1])
    metrics = lambda prediction: {"score": next(scores)}  # noqa: E731
    data = {"de": tiny.task(4, 5), "en": heads.topics(4, 6)}
    trainer = heads.trainer(
        tmp_path, method=method, save_strategy="steps", save_steps=4, eval_strategy="steps", eval_steps=4,
        load_best_model_at_end=True, metric_for_best_model="avg_score", greater_is_better=True,
        init={"eval_dataset": data, "compute_metrics": {"de": metrics, "en": metrics, "sw": metrics}},
    )  # fmt: skip
    trainer.train()
    assert trainer.state.best_model_checkpoint.endswith("checkpoint-8")
    end = tiny.weights(trainer.model)
    best, last = (load_file(tmp_path / f"checkpoint-{step}" / "model.safetensors") for step in (8, 12))
    tiny.assert_equal({name: best[name] for name in end}, end)
    assert tiny.largest_difference(end, last) > 0


SAVING = {"save_strategy": "steps", "save_steps": 3, "max_steps": 8}


def trainer_with_dropout(folder, of_model=None, **changes):
    return heads.trainer(folder, of_model=of_model or heads.model(heads.config(0.1), heads.TWO), **SAVING | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"inner_steps": 4},
        {"method": "pcgrad", "tasks_per_step": 3},
        {"method": "gradnorm", "tasks_per_step": 3},
        {"method": "mtl", "tasks_per_step": 2, "gradient_accumulation_steps": 2, "per_device_train_batch_size": 2},
        pytest.param({"method": "reptile", "inner_steps": 1}, marks=pytest.mark.slow),
        pytest.param({"method": "recadam"}, marks=pytest.mark.slow),
        pytest.param({"method": "gradvac"}, marks=pytest.mark.slow),
        pytest.param({"method": "swep"}, marks=pytest.mark.slow),
        pytest.param({"method": "torchjd:MGDA"}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_continued_run_ends_bit_for_bit_where_the_uninterrupted_one_ends(tmp_path, changes):
    """Law 4; Sequential Reptile in the middle of a trajectory."""
    whole = tiny.train(trainer_with_dropout(tmp_path, **changes))
    checkpoint = tmp_path / "checkpoint-3"
    assert (checkpoint / "trajectory.safetensors").exists() == (changes.get("inner_steps") == 4)
    other = heads.model(heads.config(0.1), heads.TWO)
    if changes.get("method") != "recadam":
        # What the new process makes of the heads does not matter.
        nn.init.ones_(other.head("tags").classifier.weight)
    continued = tiny.train(trainer_with_dropout(tmp_path, other, **changes), resume_from_checkpoint=str(checkpoint))
    tiny.assert_equal(tiny.weights(continued.model), tiny.weights(whole.model))
    assert continued.draw_counts == whole.draw_counts
    assert continued.state.log_history[-2]["loss"] == whole.state.log_history[-2]["loss"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Of a run of three tasks on two heads."""
    folder = tmp_path_factory.mktemp("heads")
    trainer_with_dropout(folder, method="mtl", max_steps=3).train()
    return folder / "checkpoint-3"


def other_labels() -> MultiHeadModel:
    model = heads.model(kinds=heads.TWO)
    model.head("topics").config.id2label = {0: "food", 1: "sports", 2: "art"}
    return model


@pytest.mark.parametrize(
    ("of_model", "task_heads", "now"),
    [
        (lambda: heads.model(kinds={"tags": heads.TOKENS, "themes": heads.TEXTS}), {"en": "themes"}, "'themes'"),
        (lambda: heads.model(kinds=heads.TWO | {"more": heads.TEXTS}), {}, "'more'"),
        (other_labels, {}, "{0: 'food', 1: 'sports', 2: 'art'}"),
        (lambda: heads.model(kinds=heads.TWO | {"more": heads.TOKENS}), {"sw": "more"}, "'sw': 'more'"),
    ],
    ids=["a head's name", "a head more", "a head's labels", "a task's head"],
)
def test_a_run_of_other_heads_is_refused(tmp_path, checkpoint, of_model, task_heads, now):
    init = {"task_heads": heads.TASK_HEADS | task_heads}
    trainer = heads.trainer(tmp_path, of_model=of_model(), method="mtl", **SAVING | {"max_steps": 3}, init=init)
    with pytest.raises(InputError, match="belongs to another run:\n  heads: ") as refusal:
        trainer.train(resume_from_checkpoint=str(checkpoint))
    assert now in str(refusal.value).partition("in the checkpoint")[2]


def test_a_run_of_one_head_is_no_run_of_several(tmp_path, checkpoint):
    train = {"de": tiny.task(23, 1), "en": tiny.task(17, 2), "sw": tiny.task(9, 3)}
    one = tiny.trainer(tmp_path, train, method="mtl", max_steps=3)
    assert "heads" not in one.run_identity()
    with pytest.raises(InputError, match=r"heads: \{.*\} in the checkpoint, not set now"):
        one.train(resume_from_checkpoint=str(checkpoint))
