"""A draw's loss, and each task's log, where labels are missing, runs are interrupted and epochs are cut short."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import DataCollatorForTokenClassification, Trainer, TrainerCallback, TrainingArguments

from hf_seqreptile import InputError
from tests import tiny

PLAIN = {"method": "mtl", "tasks_per_step": 1, "max_steps": 6, "dropout": 0.0, "train_sampling_strategy": "random"}


def without_labels(task: Dataset, rows: range) -> Dataset:
    """The task, in some of whose rows no token has a label."""
    labels = [[-100] * len(r["labels"]) if i in rows else r["labels"] for i, r in enumerate(task)]
    return task.remove_columns("labels").add_column("labels", labels)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_a_micro_batch_without_labels_adds_nothing(tmp_path: Path) -> None:
    """Micro-batches of one example: those without labels change nothing but the draw's share."""
    task = without_labels(tiny.task(48, 1), range(0, 48, 3))
    ends = []
    for number, (batch, accumulation) in enumerate(((8, 1), (1, 8))):
        trainer = tiny.trainer(
            tmp_path / str(number), {"de": task}, per_device_train_batch_size=batch,
            gradient_accumulation_steps=accumulation, **PLAIN,
        )  # fmt: skip
        ends.append(tiny.weights(tiny.train(trainer).model))
    assert tiny.largest_difference(*ends) < 1e-5


@pytest.mark.parametrize("method", ["mtl", "pcgrad", "gradvac", "gradnorm", "swep", "seq_reptile", "torchjd:MGDA"])
def test_a_draw_without_labels_adds_nothing_and_is_told_once(
    tmp_path: Path, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    tasks = {"de": tiny.task(60, 1), "en": without_labels(tiny.task(60, 2), range(60))}
    trainer = tiny.trainer(tmp_path, tasks, method=method, max_steps=8, logging_steps=2, tasks_per_step=2)
    with caplog.at_level(logging.WARNING, logger="hf_seqreptile"):
        tiny.train(trainer)
    assert all(p.isfinite().all() for p in trainer.model.parameters())
    told = [text for text in warnings_of(caplog) if "has a label" in text]
    assert len(told) == 1 and told[0].startswith("No example of ")
    logged = [entry["loss/en"] for entry in trainer.state.log_history if "loss/en" in entry]
    assert logged and not any(logged)


def test_labels_are_smoothed_as_in_the_stock_trainer_or_it_is_refused(tmp_path: Path) -> None:
    ends = [
        tiny.weights(tiny.train(tiny.trainer(tmp_path, label_smoothing_factor=s, **PLAIN)).model) for s in (0.0, 0.3)
    ]
    assert tiny.largest_difference(*ends) > 1e-3
    own = {"compute_batch_loss": lambda outputs, inputs: outputs.loss}
    with pytest.raises(InputError, match="--label_smoothing_factor has no effect on a loss of one's own"):
        tiny.trainer(tmp_path, init=own, label_smoothing_factor=0.1, **PLAIN)


class Interrupt(TrainerCallback):
    """Ends training as Ctrl-C does, before anything was logged."""

    def __init__(self) -> None:
        self.is_on = True

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.is_on and state.global_step == 2:
            raise KeyboardInterrupt


def test_a_run_after_an_interrupted_one_logs_its_own_losses_alone(tmp_path: Path) -> None:
    changes = {"method": "mtl", "max_steps": 4, "logging_steps": 4, "learning_rate": 1e-9}
    trainer = tiny.trainer(tmp_path, dropout=0.0, **changes)
    trainer.add_callback(interrupt := Interrupt())
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    interrupt.is_on = False
    trainer.train()
    alone = tiny.train(tiny.trainer(tmp_path, dropout=0.0, **changes))
    for name in ("loss/de", "loss/en", "loss/sw", "draws/de"):
        assert trainer.state.log_history[0][name] == pytest.approx(alone.state.log_history[0][name], abs=1e-5)


class CutEpochs(TrainerCallback):
    """Ends every epoch after three steps."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_epoch_stop = state.global_step % 3 == 0


@pytest.mark.parametrize("method", ["mtl", "seq_reptile", "reptile"])
def test_draws_are_counted_where_a_callback_ends_epochs(tmp_path: Path, method: str) -> None:
    changes: dict[str, Any] = {"inner_steps": 2} if method != "mtl" else {"tasks_per_step": 2}
    trainer = tiny.trainer(
        tmp_path, method=method, max_steps=-1, num_train_epochs=4, logging_steps=12, save_strategy="no", **changes
    )
    trainer.add_callback(CutEpochs())
    drawn: list[str] = []
    end_draw = trainer.end_draw

    def noting(task: str, is_last_of_step: bool) -> None:
        drawn.append(task)
        end_draw(task, is_last_of_step)

    trainer.end_draw = noting  # type: ignore[method-assign]
    trainer.train()
    assert trainer.draw_counts == {task: drawn.count(task) for task in ("de", "en", "sw")}
    assert trainer.state.log_history[0]["draws/de"] == drawn.count("de")
    if method == "reptile":
        assert drawn == ["de", "de", "en", "en", "sw", "sw"] * 2


def test_a_run_whose_epochs_were_cut_short_is_not_continued_elsewhere(tmp_path: Path) -> None:
    changes = {"method": "mtl", "tasks_per_step": 1, "max_steps": 60, "save_strategy": "steps", "save_steps": 4}
    trainer = tiny.trainer(tmp_path, **changes | {"max_steps": 60})
    trainer.add_callback(CutEpochs())

    class Stop(TrainerCallback):
        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            control.should_training_stop = True

    trainer.add_callback(Stop())
    trainer.train()
    with pytest.raises(InputError, match="ended an epoch before its last step, as a callback may"):
        tiny.trainer(tmp_path, **changes).train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))


READS = ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__")
"""What asks a tensor for its numbers, and so waits for the accelerator that it is on."""


def reads_of_each_step(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What asked for numbers in each optimizer step of a training."""
    read: list[str] = []
    steps: list[list[str]] = []

    class Marks(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            read.clear()

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            steps.append(list(read))

    trainer.add_callback(Marks())
    with monkeypatch.context() as patch:
        for name in READS:
            original = getattr(torch.Tensor, name)

            def counting(self: Any, *args: Any, _name: str = name, _original: Any = original, **kw: Any) -> Any:
                read.append(_name)
                return _original(self, *args, **kw)

            patch.setattr(torch.Tensor, name, counting)
        trainer.train()
    return steps


@pytest.mark.parametrize(
    ("method", "changes"), [("mtl", {"tasks_per_step": 2}), ("seq_reptile", {"inner_steps": 3, "tasks_per_step": 2})]
)
def test_a_step_waits_for_no_number_that_the_stock_trainer_does_not_wait_for(
    tmp_path: Path, method: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the filter of losses that are not finite nothing is read between two logs but by the model itself."""
    same = {"max_steps": 7, "logging_steps": 100, "logging_nan_inf_filter": False}
    ours = reads_of_each_step(tiny.trainer(tmp_path, method=method, **same, **changes), monkeypatch)
    args = TrainingArguments(
        output_dir=str(tmp_path), gradient_accumulation_steps=2, report_to="none", save_strategy="no", use_cpu=True,
        per_device_train_batch_size=4, disable_tqdm=True, **same,
    )  # fmt: skip
    collator = DataCollatorForTokenClassification(tiny.tokenizer())
    stock = reads_of_each_step(Trainer(tiny.model(), args, collator, tiny.task(60, 1)), monkeypatch)
    assert ours == stock and len(ours) == 7


def test_a_loss_that_is_not_finite_is_found_at_the_log_without_the_filter(tmp_path: Path) -> None:
    trainer = tiny.trainer(
        tmp_path, learning_rate=1e30, logging_steps=5, logging_nan_inf_filter=False, max_grad_norm=0.0
    )
    with pytest.raises(InputError, match=r"The loss of task '(de|en|sw)' is (nan|inf)"):
        trainer.train()
