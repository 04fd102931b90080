"""What a dataset changes at random follows from the draw alone."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch.utils.data import DataLoader

from hf_seqreptile.training.drawn_examples import DrawnExamples
from tests import tiny

SEED = 3


def noisy(rows):
    """Each row with a random number of each kind."""
    size = range(len(rows["input_ids"]))
    return {
        "input_ids": rows["input_ids"],
        "drawn": [(random.random(), float(np.random.rand()), float(torch.rand(()))) for _ in size],
    }


def examples(of: dict | None = None, seed: int = SEED) -> DrawnExamples:
    return DrawnExamples(of or {task: tiny.task(9, 1).with_transform(noisy) for task in "ab"}, 18, seed)


def drawn(of: DrawnExamples, *draws: tuple[str, int, int]) -> list:
    return [example["drawn"] for _, example in of.__getitems__(draws)]


def test_each_draw_has_random_numbers_of_its_own() -> None:
    """Another draw of a row, another row, task or seed: all others; the same draw: the same, whatever is beside it."""
    one = drawn(examples(), ("a", 0, 0))[0]
    others = [
        *drawn(examples(), ("a", 0, 9), ("a", 1, 1)),
        *drawn(examples(), ("b", 0, 0)),
        *drawn(examples(seed=4), ("a", 0, 0)),
    ]
    numbers = [number for each in (one, *others) for number in each]
    assert len(set(numbers)) == len(numbers)
    assert drawn(examples(), ("a", 5, 7), ("a", 0, 0))[1] == one


def test_reading_leaves_the_random_numbers_as_they_were() -> None:
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    drawn(examples(), ("a", 0, 0))
    assert random.getstate() == before[0] and np.random.get_state()[1].tolist() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])


def test_workers_read_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = [[("a", row, 2 * batch + i) for i, row in enumerate((batch, 8 - batch))] for batch in range(4)]
    alone, shared = (
        [[example["drawn"] for _, example in batch] for batch in DataLoader(
            examples(), batch_sampler=draws, collate_fn=list, num_workers=workers
        )]
        for workers in (0, 2)
    )  # fmt: skip
    assert alone == shared


def test_rows_that_are_always_the_same_are_read_at_once() -> None:
    """As the stock trainer reads them, without a change of random numbers."""
    reads = []

    class Watched(Dataset):
        def __getitems__(self, rows):
            reads.append(rows)
            return super().__getitems__(rows)

    watched = Watched(tiny.task(9, 1).data)
    assert len(examples({"a": watched}).__getitems__([("a", 4, 0), ("a", 2, 1)])) == 2
    assert reads == [[4, 2]]


@pytest.mark.parametrize("steps", [2, 5])
def test_a_run_that_is_continued_sees_the_same(tmp_path: Path, steps: int) -> None:
    """Law 4 with random examples, within and after the first pass over a task."""

    def masked(rows):
        """Words that are replaced at random."""
        ids = [[4 if random.random() < 0.3 else word for word in row] for row in rows["input_ids"]]
        return {"input_ids": ids, "attention_mask": rows["attention_mask"], "labels": rows["labels"], "other": ids}

    tasks = {"de": tiny.task(12, 1).with_transform(masked), "sw": tiny.task(9, 3).with_transform(masked)}
    settings = {"max_steps": 8, "save_strategy": "steps", "save_steps": steps, "save_total_limit": None}
    whole = tiny.train(tiny.trainer(tmp_path, tasks, **settings))
    continued = tiny.trainer(tmp_path, tasks, **settings)
    tiny.train(continued, resume_from_checkpoint=str(tmp_path / f"checkpoint-{steps}"))
    tiny.assert_equal(tiny.weights(whole.model), tiny.weights(continued.model))
    plain = tiny.train(tiny.trainer(tmp_path, {"de": tiny.task(12, 1), "sw": tiny.task(9, 3)}, max_steps=8))
    assert tiny.largest_difference(tiny.weights(whole.model), tiny.weights(plain.model)) > 0


def test_a_dataset_with_a_transform_is_evaluated(tmp_path: Path) -> None:
    """It may read columns that the model does not take, and give others; the stock trainer would take them away."""

    def renamed(rows):
        return {"input_ids": rows["words"], "labels": rows["tags"], "more": rows["words"]}

    plain = tiny.task(9, 1)
    rows = plain.rename_columns({"input_ids": "words", "labels": "tags"}).with_transform(renamed)
    trainer = tiny.trainer(tmp_path)
    found, wanted = trainer.evaluate({"de": rows}), trainer.evaluate({"de": plain})
    assert found["eval_de_loss"] == pytest.approx(wanted["eval_de_loss"], rel=1e-5)


def test_columns_that_the_model_does_not_take_are_not_read(tmp_path: Path) -> None:
    """As in the stock trainer, where no batch pays for them; the run ends the same."""
    tasks = {name: task.add_column("words", ["w"] * len(task)) for name, task in tiny.tasks().items()}
    trainer = tiny.trainer(tmp_path, tasks)
    read = trainer.get_train_dataloader().dataset.__getitems__([("de", 4, 0)])
    assert {*read[0][1]} == {"input_ids", "attention_mask", "labels"}
    tiny.assert_equal(tiny.weights(tiny.train(trainer).model), tiny.weights(tiny.train(tiny.trainer(tmp_path)).model))
