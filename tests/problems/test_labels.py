"""Labels: which datasets tell those of a task."""

from collections.abc import Sequence

from datasets import Dataset

from hf_seqreptile.problems.labels import labels_by_task


def labels_of(task: str, dataset: Dataset) -> Sequence[str]:
    return dataset.unique("label")


def test_training_tasks_define_the_labels_and_without_any_all_splits_do() -> None:
    few, others = (Dataset.from_dict({"label": list(labels)}) for labels in ("ab", "bc"))
    splits = {"validation": {"de": few}, "test": {"de": others, "sw": few}}
    found = {task: set(labels) for task, labels in labels_by_task(splits, labels_of).items()}
    assert found == {"de": {"a", "b", "c"}, "sw": {"a", "b"}}
    assert labels_by_task({"train": {"en": few}, **splits}, labels_of) == {"en": ["a", "b"]}
