"""Which tasks of texts share a head."""

from typing import Any

import pytest
from datasets import Dataset

from hf_seqreptile import InputError
from hf_seqreptile.problems.text_classification import TextClassification, TextClassificationArguments


def tasks(**labels: list[Any] | None) -> dict[str, Dataset]:
    """Datasets with these labels; without a column of labels where they are `None`."""
    return {
        task: Dataset.from_dict({"text": ["x"] if own is None else ["x"] * len(own)} | ({"label": own} if own else {}))
        for task, own in labels.items()
    }


def heads(train: dict[str, Dataset], validation: dict[str, Dataset] | None = None, **options: Any) -> dict[str, str]:
    splits = {"train": train, **({"validation": validation} if validation else {})}
    return TextClassification.heads(splits, TextClassificationArguments(**options))


@pytest.mark.parametrize(
    ("train", "expected"),
    [
        (tasks(de=["no", "yes"], sw=["yes", "no"]), {"de": "de", "sw": "de"}),
        (tasks(sw=["yes"], de=["no", "yes"]), {"sw": "sw", "de": "sw"}),
        (tasks(mood=["bad", "good"], topic=["sport", "art"]), {"mood": "mood", "topic": "topic"}),
        (tasks(a=["no", "yes"], b=["yes", "maybe"]), {"a": "a", "b": "b"}),
        (tasks(a=["no", "yes"], b=["sport"], c=["yes"]), {"a": "a", "b": "b", "c": "a"}),
        (tasks(de=[0, 1], sw=["1", "0"]), {"de": "de", "sw": "de"}),
        (tasks(mood=[0, 1], stars=[0, 1, 2]), {"mood": "mood", "stars": "stars"}),
        (tasks(de=[0.5, 5.0], sw=["0.5", "5.0"]), {"de": "de", "sw": "sw"}),
        (tasks(mood=["bad", "good"], close=[0.5, 5.0]), {"mood": "mood", "close": "close"}),
    ],
    ids=str,
)
def test_training_tasks_share_a_head_where_their_labels_fit(
    train: dict[str, Dataset], expected: dict[str, str]
) -> None:
    found = heads(train)
    assert found == expected and list(found) == list(train)


@pytest.mark.parametrize(
    ("train", "validation", "expected"),
    [
        (tasks(de=["no", "yes"], topic=["art"]), tasks(de=["no"], tr=["yes"]), {"tr": "de"}),
        (tasks(de=["no", "yes"]), tasks(tr=None), {"tr": "de"}),
        (tasks(de=["no", "yes"], close=[1.5]), tasks(tr=[2.5]), {"tr": "close"}),
    ],
    ids=str,
)
def test_a_task_that_is_only_evaluated_has_the_head_of_its_labels(
    train: dict[str, Dataset], validation: dict[str, Dataset], expected: dict[str, str]
) -> None:
    found = heads(train, validation)
    assert {task: found[task] for task in expected} == expected


@pytest.mark.parametrize(
    ("validation", "which"),
    [
        (tasks(tr=["blue"]), "there are those of mood, topic, close, far"),
        (tasks(tr=None), "it may be that of mood or topic or close or far"),
        (tasks(tr=[0.25]), "it may be that of close or far"),
    ],
    ids=str,
)
def test_one_whose_head_cannot_be_told_is_refused(validation: dict[str, Dataset], which: str) -> None:
    train = tasks(mood=["bad", "good"], topic=["art", "sport"], close=[1.5], far=[2.5])
    with pytest.raises(InputError, match=f"Task 'tr' has no training data, and which head serves it .*: {which}"):
        heads(train, validation)


def test_each_task_of_glue_has_its_own() -> None:
    """Though two have the same labels; the mismatched genres have that of the matched."""
    names = ["entailment", "not_entailment"]
    train = tasks(qnli=names, rte=names, mnli=["entailment", "neutral"])
    found = heads(train, tasks(mnli=["neutral"], **{"mnli-mm": ["neutral"]}), task_names=["qnli", "rte", "mnli"])
    assert found == {"qnli": "qnli", "rte": "rte", "mnli": "mnli", "mnli-mm": "mnli"}


def test_columns_may_be_named_for_tasks_of_other_heads() -> None:
    train = tasks(mood=["bad", "good"], topic=["art", "sport"])
    named = TextClassificationArguments(text_column_names={"mood": "text"}, label_column_name={"topic": "label"})
    problem = TextClassification.made_of({"train": train}, named)
    assert problem.notes == [
        "mood: 2 classes: bad, good. Texts: text (mood).",
        "topic: 2 classes: art, sport. Texts: text (topic).",
    ]
    for wrong in ({"text_column_names": {"moon": "text"}}, {"label_column_name": {"moon": "label"}}):
        with pytest.raises(InputError, match=f"--{next(iter(wrong))}: unknown task 'moon'. Did you mean 'mood'"):
            TextClassification.made_of({"train": train}, TextClassificationArguments(**wrong))
