"""Labels with other names, their union, and types that a model does not know."""

import logging
from typing import Any

import numpy as np
import pytest
import seqeval.metrics
from datasets import Dataset
from transformers import EvalPrediction, PreTrainedTokenizerBase

from hf_seqreptile import InputError
from hf_seqreptile.data.tags import in_scheme
from hf_seqreptile.problems.sequence_classification import SequenceClassification, SequenceClassificationArguments
from hf_seqreptile.problems.text_classification import TextClassification, TextClassificationArguments
from hf_seqreptile.problems.token_classification import TokenClassification, TokenClassificationArguments
from tests.problems.tagging import data

DATE = data((["Mary", "came", "today"], ["B-PER", "O", "B-DATE"]))
MISC = data((["John", "likes", "Irish", "Stew"], ["B-PER", "O", "B-MISC", "I-MISC"]))


def tags(
    train: dict[str, Dataset], evaluated: dict[str, Dataset] | None = None, **options: Any
) -> TokenClassification:
    tasks = {"train": train} | ({"validation": evaluated} if evaluated else {})
    return TokenClassification(tasks, TokenClassificationArguments(**options))


@pytest.mark.parametrize(
    ("written", "schemes", "renamed", "expected"),
    [
        ("B-PER I-PER O B-MISC", ("iob2", "iob2"), {"MISC": "O", "PER": "person"}, "B-person I-person O O"),
        # Entities that touch stay apart, whatever the scheme.
        ("I-PER I-ORG", ("iob1", "iob2"), {"ORG": "PER"}, "B-PER B-PER"),
        ("PER ORG O", ("io", "iob2"), {"ORG": "PER"}, "B-PER B-PER O"),
        ("B-PER L-PER U-ORG", ("bilou", "bilou"), {"ORG": "PER"}, "B-PER L-PER U-PER"),
        ("B-PER I-PER B-MISC", ("iob2", "io"), {"MISC": "O"}, "PER PER O"),
        ("NOUN SYM O", ("none", "none"), {"SYM": "X", "O": "X"}, "NOUN X X"),
        ("PER O", ("io", "io"), {"O": "PER"}, "PER O"),
    ],
)
def test_types_have_other_names(
    written: str, schemes: tuple[str, str], renamed: dict[str, str], expected: str
) -> None:
    assert in_scheme(written.split(), *schemes, renamed) == expected.split()


def test_a_map_of_all_tasks_and_of_one() -> None:
    of = tags({"de": DATE, "en": MISC}, label_map={"MISC": "O", "DATE": "O"})
    assert of.labels == ["O", "B-PER", "I-PER"]
    assert "Labels are mapped: MISC=O (words: en 2); DATE=O (words: de 1)." in of.notes
    assert tags({"de": DATE, "en": MISC}, label_map=["en:MISC=DATE", "PER=person"]).labels == [
        "O", "B-DATE", "I-DATE", "B-person", "I-person",
    ]  # fmt: skip
    # It mends what is odd, or spelled in two ways.
    odd = data((["a", "b", "c"], ["B-PER", "_", "B-Per"]))
    assert tags({"de": odd}, label_map=["_=O", "Per=PER"]).labels == ["O", "B-PER", "I-PER"]


def test_the_union_of_types_is_learnt_where_it_is_asked_for() -> None:
    with pytest.raises(InputError, match=r"task 'en' has \['MISC'\], which task 'de' lacks.*--unite_labels, or"):
        tags({"de": DATE, "en": MISC})
    of = tags({"de": DATE, "en": MISC}, unite_labels=True)
    assert of.labels == ["O", "B-DATE", "I-DATE", "B-MISC", "I-MISC", "B-PER", "I-PER"]
    assert "Labels are united: de has no MISC; en has no DATE." in of.notes
    # Without training, labels are the model's.
    without = TokenClassification({"validation": {"de": DATE, "en": MISC}}, TokenClassificationArguments())
    assert {"B-DATE", "B-MISC"} <= {*without.labels}


@pytest.mark.parametrize(
    ("label_map", "message"),
    [
        ("MSIC=O", "--label_map MSIC=O: no task has the label 'MSIC'. Did you mean MISC?"),
        ("B-MISC=O", "--label_map B-MISC=O: no task has the label 'B-MISC'. Map the type, without a prefix: MISC."),
        ("de:MISC=O", "--label_map de:MISC=O: task 'de' has no label 'MISC'. Known: DATE, PER."),
        ("MISC", "--label_map MISC: write old=new, such as MISC=O, or task:old=new."),
        ("MISC=", "--label_map MISC=: write old=new"),
        ("MISC=o", "--label_map MISC=o: name a type without a prefix, or O for outside."),
        ("MISC=B-DATE", "--label_map MISC=B-DATE: name a type without a prefix"),
        (["MISC=O", "MISC=X"], "--label_map gives 'MISC' two names, O and X. Leave one of them out."),
    ],
    ids=str,
)
def test_names_that_no_label_has_are_refused(label_map: Any, message: str) -> None:
    with pytest.raises(InputError) as error:
        tags({"de": DATE, "en": MISC}, label_map=label_map)
    assert str(error.value).startswith(message)


def predicted(of: TokenClassification, features: Dataset, found: list[str]) -> EvalPrediction:
    """Of the one sentence, as labels of the model."""
    true = np.array(features["labels"])
    ids = true.copy()
    ids[true >= 0] = [of.labels.index(tag) for tag in found]
    return EvalPrediction(ids, true)


def test_types_that_the_model_does_not_know_count_as_missed(
    tokenizer: PreTrainedTokenizerBase, caplog: pytest.LogCaptureFixture
) -> None:
    of = tags({"de": DATE}, {"en": MISC})
    with caplog.at_level(logging.WARNING):
        features = of.encode({"en": MISC}, tokenizer, "validation")["en"]
    assert caplog.messages == [
        "Task 'en' (validation): the model does not know these types, and all entities of them count as missed: MISC "
        "1. To leave them out: --label_map MISC=O"
    ]
    assert of.counts["validation"]["en"]["entities_of_unknown_types"] == 1
    found = ["B-PER", "O", "B-DATE", "O"]
    scores = of.compute_metrics(predicted(of, features, found), features)
    assert scores["f1"] == seqeval.metrics.f1_score([MISC["ner_tags"][0]], [found]) == 0.5
    assert scores["accuracy"] == 0.5
    # Data of a task that is trained on, and data of something else, are refused as ever.
    with pytest.raises(InputError, match="unknown label 'B-MISC'; the model knows O, B-DATE"):
        tags({"de": DATE}, {"de": MISC}).encode({"de": MISC}, tokenizer, "validation")
    other = data((["a"], ["B-X"]))
    with pytest.raises(InputError, match="unknown label 'B-X'; the model knows O, B-DATE"):
        tags({"de": DATE}, {"en": other}).encode({"en": other}, tokenizer, "validation")


@pytest.mark.parametrize("item", ["DATE=O", "en:DATE=O"])
def test_predictions_are_mapped_as_the_data_is(tokenizer: PreTrainedTokenizerBase, item: str) -> None:
    """A model that knows DATE, on a corpus without it."""
    of = TokenClassification(
        {"validation": {"en": MISC}}, TokenClassificationArguments(label_map=[item, "MISC=O", "PER=person"])
    )
    of.use_labels(["O", "B-DATE", "I-DATE", "B-PER", "I-PER"])
    features = of.encode({"en": MISC}, tokenizer, "validation")["en"]
    prediction = predicted(of, features, ["B-PER", "O", "B-DATE", "O"])
    assert of.compute_metrics(prediction, features)["f1"] == 1
    assert of.tags(prediction.predictions, prediction.label_ids, features)[0] == [["B-person", "O", "O", "O"]]
    with pytest.raises(InputError, match=r"no task has the label 'DAT'\. Did you mean DATE"):
        TokenClassification({"validation": {"en": MISC}}, TokenClassificationArguments(label_map="DAT=O")).use_labels(
            ["O", "B-DATE", "B-PER"]
        )


def rows(*labels: Any) -> Dataset:
    return Dataset.from_dict({"premise": ["a"] * len(labels), "hypothesis": ["b"] * len(labels), "label": [*labels]})


def test_classes_of_texts_are_mapped_and_united(tokenizer: PreTrainedTokenizerBase) -> None:
    tasks = {"train": {"de": rows("good", "bad"), "en": rows("good", "poor")}}
    mapped, _ = made(TextClassification, tasks, label_map="en:poor=bad")
    assert mapped.labels == ["bad", "good"]
    assert mapped.encode(tasks["train"], tokenizer, "train")["en"]["labels"][:] == [1, 0]
    united, _ = made(TextClassification, tasks, unite_labels=True)
    assert united.labels == ["bad", "good", "poor"]
    assert "Labels are united: de has no poor; en has no bad." in united.notes
    with pytest.raises(InputError, match=r"no task has the label 'por'\. Did you mean poor"):
        made(TextClassification, tasks, label_map="por=bad")
    pairs = {"train": {"de": rows(0, 1, 2), "en": rows("entailment", "not")}}
    of, notes = made(SequenceClassification, pairs, label_map=["neutral=not", "contradiction=not"])
    assert of.labels == ["entailment", "not"]
    assert of.encode(pairs["train"], tokenizer, "train")["de"]["labels"][:] == [0, 1, 1]
    assert "Labels are mapped: neutral=not (rows: de 1); contradiction=not (rows: de 1)." in notes


def made(kind: Any, tasks: dict[str, dict[str, Dataset]], **options: Any) -> tuple[Any, list[str]]:
    arguments = {
        TextClassification: TextClassificationArguments,
        SequenceClassification: SequenceClassificationArguments,
    }
    of = kind.made_of(tasks, arguments[kind](**options))
    return of, [*of.notes]
