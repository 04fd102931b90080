"""Words and tags to features and back: alignment, labels, columns, metrics."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import seqeval.metrics
import torch
from datasets import Dataset, Features, List, Value
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score
from transformers import (
    AutoModelForTokenClassification,
    AutoTokenizer,
    BertConfig,
    BertModel,
    EvalPrediction,
    PreTrainedTokenizerBase,
    RobertaConfig,
    RobertaForTokenClassification,
)
from transformers.trainer_utils import PredictionOutput

from hf_seqreptile import InputError
from hf_seqreptile.models.class_head import label_names
from hf_seqreptile.models.loading import ModelArguments, load_model
from hf_seqreptile.problems.token_classification import (
    TokenClassification,
    TokenClassificationArguments,
    predicted_labels,
)
from tests.problems.tagging import IGNORED, TAGS, WORDS, class_labels, data, prediction, problem


def encode(
    tokenizer: PreTrainedTokenizerBase, dataset: Dataset, split: str = "validation", **options: Any
) -> dict[str, list]:
    return problem(data((WORDS, TAGS)), **options).encode({"sw": dataset}, tokenizer, split)["sw"].to_dict()


@pytest.mark.parametrize(
    ("options", "tags"),
    [
        # "Odhi ##ambo" and "alit ##embelea" are two subwords, and so is "Nair ##obi".
        ({}, ["B-PER", "I-PER", None, "O", None, "B-LOC", None, "O"]),
        ({"label_all_tokens": True}, ["B-PER", "I-PER", "I-PER", "O", "O", "B-LOC", "I-LOC", "O"]),
        ({"max_seq_length": 5}, ["B-PER", "I-PER", None]),
        ({"max_seq_length": 12, "pad_to_max_length": True}, ["B-PER", "I-PER", None, "O", None, "B-LOC", None, "O"]),
    ],
    ids=str,
)
def test_words_and_subwords(tokenizer: PreTrainedTokenizerBase, options: dict[str, Any], tags: list[Any]) -> None:
    features = encode(tokenizer, data((WORDS, TAGS)), split="train", **options)
    assert features.keys() >= {"input_ids", "attention_mask", "labels"}
    labels = problem().label2id
    expected = [IGNORED, *(IGNORED if tag is None else labels[tag] for tag in tags), IGNORED]
    padding = 12 - len(expected) if "pad_to_max_length" in options else 0
    assert features["labels"] == [expected + padding * [IGNORED]]
    assert features["attention_mask"] == [[1] * len(expected) + [0] * padding]
    assert " ".join(WORDS).startswith(tokenizer.decode(features["input_ids"][0], skip_special_tokens=True))


def test_words_are_scored_whatever_subwords_are_trained_on(tokenizer: PreTrainedTokenizerBase) -> None:
    for split in ("validation", "test"):
        words, all_subwords = (
            encode(tokenizer, data((WORDS, TAGS)), split=split, label_all_tokens=every) for every in (False, True)
        )
        assert words["labels"] == all_subwords["labels"]


def test_sentences_without_anything_to_tag_are_left_out_of_training_alone(tokenizer: PreTrainedTokenizerBase) -> None:
    rows = data((["\u200b"], ["O"]), (WORDS, TAGS), ([], []))
    assert len(encode(tokenizer, rows, split="train")["labels"]) == 1
    assert [len(row) for row in encode(tokenizer, rows)["labels"]] == [2, 10, 2]


def test_what_is_longer_than_the_model_takes_is_cut(
    tokenizer: PreTrainedTokenizerBase, caplog: pytest.LogCaptureFixture
) -> None:
    long = data((20 * WORDS, 20 * TAGS))
    assert len(encode(tokenizer, long)["input_ids"][0]) == 64
    with caplog.at_level(logging.WARNING):
        assert len(encode(tokenizer, long, max_seq_length=100)["input_ids"][0]) == 64
    assert "--max_seq_length 100 is more than the model takes; 64 is used." in caplog.text


def test_a_tokenizer_without_a_limit_gets_the_models(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """RoBERTa's first position stands for padding, and so has one fewer for words than it has embeddings."""
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8,
             "vocab_size": len(tokenizer), "max_position_embeddings": 20}  # fmt: skip
    limitless = AutoTokenizer.from_pretrained(tokenizer.name_or_path, model_max_length=10**30)
    for name, model in (
        ("bert", BertModel(BertConfig(**sizes))),
        ("roberta", RobertaForTokenClassification(RobertaConfig(**sizes, pad_token_id=1))),
    ):
        model.save_pretrained(tmp_path / name)
        limitless.save_pretrained(tmp_path / name)
        arguments = ModelArguments(model_name_or_path=str(tmp_path / name))
        loaded, its_tokenizer = load_model(AutoModelForTokenClassification, arguments, ["O", "B-PER"], list)
        assert its_tokenizer.model_max_length == {"bert": 20, "roberta": 18}[name]
        features = problem().encode({"sw": data((9 * WORDS, 9 * TAGS))}, its_tokenizer, "test")["sw"]
        loaded(input_ids=torch.tensor(features["input_ids"]))


def test_a_model_keeps_its_own_labels_where_it_has_those_of_the_data(tmp_path: Path, model_folder: str) -> None:
    """Else it gets those of the data, or, where it will not be trained, is taken as it is."""
    own = ["O", "I-PER", "B-PER", "B-LOC", "I-LOC"]
    model, tokenizer = load_model(
        AutoModelForTokenClassification, ModelArguments(model_name_or_path=model_folder), own, list
    )
    assert label_names(model.config) == own
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    arguments = ModelArguments(model_name_or_path=str(tmp_path), ignore_mismatched_sizes=True)
    other = ["O", "B-TIME", "I-TIME"]
    for labels, will_train, expected in (
        (["O", "B-LOC", "I-LOC"], True, own),
        (other, True, other),
        (other, False, own),
    ):
        model, _ = load_model(AutoModelForTokenClassification, arguments, labels, list, will_train)
        assert label_names(model.config) == expected
        assert model.num_labels == len(expected)
    with pytest.raises(InputError, match="add --ignore_mismatched_sizes to start with a new head"):
        load_model(AutoModelForTokenClassification, ModelArguments(str(tmp_path)), other, list)


def test_class_labels_are_known_by_name(tokenizer: PreTrainedTokenizerBase) -> None:
    """Each task may number them in its own way; -1 is what `datasets` writes for a tag that was left out."""
    numbered = Dataset.from_dict(
        {"tokens": [["Mary", "Bonn"]], "ner_tags": [[2, 1]]}, features=class_labels("O", "B-LOC", "B-PER", "I-PER")
    )
    named = problem({"de": numbered, "sw": data((WORDS, TAGS))})
    assert named.labels == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    features = named.encode({"de": numbered}, tokenizer, "train")["de"]
    assert features["labels"][0] == [IGNORED, 3, 1, IGNORED]
    hidden = Dataset.from_dict(
        {"tokens": [["Mary"]], "ner_tags": [[-1]]}, features=class_labels("O", "B-LOC", "B-PER", "I-PER")
    )
    with pytest.raises(InputError, match=r"row 1 \(Mary\): unknown label '-1'"):
        named.encode({"de": hidden}, tokenizer, "test")


def test_without_training_data_the_labels_are_those_of_all_other_splits() -> None:
    tasks = {"validation": {"sw": data((["a"], ["B-PER"]))}, "test": {"sw": data((["a"], ["B-LOC"]))}}
    own = TokenClassification(tasks, TokenClassificationArguments()).labels
    assert own == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.map(lambda row: {"tokens": "a b"}), "Column 'tokens' of task 'sw' holds Value"),
        (lambda d: d.map(lambda row: {"ner_tags": "O O"}), "Column 'ner_tags' of task 'sw' holds Value"),
        (lambda d: d.map(lambda row: {"ner_tags": [1, 2]}), "Column 'ner_tags' of task 'sw' holds List"),
        (lambda d: d.map(lambda row: {"ner_tags": ["O"]}), r"row 1 \(Juma .*: 5 words but 1 tags"),
        (lambda d: d.map(lambda row: {"ner_tags": None}, features=d.features), "row 1: an empty value"),
        (lambda d: d.map(lambda row: {"tokens": [*WORDS[:4], None]}), "row 1: an empty value"),
        (lambda d: d.map(lambda row: {"ner_tags": [*TAGS[:4], "B-X"]}), "unknown label 'B-X'; the model knows O, "),
    ],
)
def test_data_that_does_not_fit_is_refused_in_every_split(
    tokenizer: PreTrainedTokenizerBase, change: Callable[[Dataset], Dataset], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        problem().encode({"sw": change(data((WORDS, TAGS)))}, tokenizer, "test")


def test_the_test_split_alone_may_have_no_tags(tokenizer: PreTrainedTokenizerBase) -> None:
    """Its places are those of the words' first subwords."""
    words = data((WORDS, TAGS), (["jana"], ["O"])).remove_columns("ner_tags")
    features = problem().encode({"sw": words}, tokenizer, "test")["sw"].with_format(None)
    assert {*features.column_names} == {*tokenizer.model_input_names, "tag_places"}
    assert features["tag_places"][:] == [[1, 2, 4, 6, 8], [1]]
    for split in ("train", "validation"):
        with pytest.raises(InputError, match=r"The data of task 'sw' has the columns \['tokens'\]"):
            problem().encode({"sw": words}, tokenizer, split)
    alone = TokenClassification({"test": {"sw": words}}, TokenClassificationArguments())
    assert not alone.labels and not alone.notes


ROWS: list[list[tuple[str | None, str]]] = [
    [(None, "B-LOC"), ("B-PER", "B-PER"), (None, "O"), ("I-PER", "I-PER"), ("O", "O"), ("B-LOC", "B-PER")],
    [("O", "O"), ("B-LOC", "B-LOC")],
]


def test_metrics_are_seqevals() -> None:
    """Two of three entities are right, and one is of the wrong type."""
    its_problem = problem()
    metrics = its_problem.compute_metrics(prediction(its_problem, ROWS))
    assert metrics == pytest.approx({"precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3, "accuracy": 5 / 6})
    true = [[t for t, _ in row if t] for row in ROWS]
    found = [[p for t, p in row if t] for row in ROWS]
    assert metrics["f1"] == pytest.approx(seqeval.metrics.f1_score(true, found))


def test_metrics_of_each_type() -> None:
    its_problem = problem(return_entity_level_metrics=True)
    metrics = its_problem.compute_metrics(prediction(its_problem, ROWS))
    assert metrics["LOC_precision"] == 1 and metrics["LOC_recall"] == 0.5 and metrics["LOC_number"] == 2
    assert metrics["PER_f1"] == pytest.approx(2 / 3) and metrics["PER_number"] == 1
    assert metrics["f1"] == pytest.approx(2 / 3)


def test_runs_of_equal_tags_are_scored_as_entities() -> None:
    its_problem = problem(data((WORDS, ["PER", "ORG", "O", "LOC", "O"])), return_entity_level_metrics=True)
    rows: list[list[tuple[str | None, str]]] = [[("ORG", "O"), ("ORG", "O"), ("O", "O"), ("PER", "PER")]]
    metrics = its_problem.compute_metrics(prediction(its_problem, rows))
    assert metrics == pytest.approx(
        {"precision": 1, "recall": 1 / 2, "f1": 2 / 3, "accuracy": 1 / 2}
        | {f"ORG_{name}": 0 for name in ("precision", "recall", "f1")} | {"ORG_number": 1}
        | {f"PER_{name}": 1 for name in ("precision", "recall", "f1", "number")}
    )  # fmt: skip
    # Half of an entity is none, and its types are not cut.
    rows = [[("ORG", "O"), ("ORG", "ORG"), ("PER", "ORG")]]
    metrics = its_problem.compute_metrics(prediction(its_problem, rows))
    assert (metrics["f1"], metrics["accuracy"]) == (0, pytest.approx(1 / 3))


def test_tags_without_a_scheme_are_scored_word_by_word() -> None:
    """CCONJ is not SCONJ, though they end alike."""
    tags = ["NOUN", "CCONJ", "SCONJ", "VERB", "ADV"]
    its_problem = problem(data((WORDS, tags)), return_entity_level_metrics=True)
    true = ["CCONJ", "CCONJ", "NOUN", "NOUN", "VERB", "NOUN"]
    found = ["SCONJ", "CCONJ", "NOUN", "NOUN", "NOUN", "VERB"]
    rows: list[list[tuple[str | None, str]]] = [list(zip(true[:4], found[:4], strict=True))]
    rows.append(list(zip(true[4:], found[4:], strict=True)))
    metrics = its_problem.compute_metrics(prediction(its_problem, rows))
    assert metrics["accuracy"] == pytest.approx(accuracy_score(true, found)) == 1 / 2
    assert metrics["macro_f1"] == pytest.approx(f1_score(true, found, average="macro", zero_division=0))
    assert metrics["NOUN_f1"] == pytest.approx(2 / 3) and metrics["NOUN_number"] == 3
    assert metrics["SCONJ_precision"] == metrics["SCONJ_recall"] == metrics["SCONJ_number"] == 0
    assert "f1" not in metrics and "ADV_f1" not in metrics


def test_a_model_of_another_scheme_keeps_it(tokenizer: PreTrainedTokenizerBase) -> None:
    """One that has learnt IOB2, on data without prefixes, and one of BILOU."""
    plain = data((WORDS, ["PER", "PER", "O", "LOC", "O"]))
    its_problem = TokenClassification({"test": {"sw": plain}}, TokenClassificationArguments())
    its_problem.use_labels(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"])
    labels = np.array(its_problem.encode({"sw": plain}, tokenizer, "test")["sw"]["labels"][:])
    rows = [[its_problem.labels[label] for label in row if label != IGNORED] for row in labels]
    assert rows == [["B-PER", "I-PER", "O", "B-LOC", "O"]]
    assert its_problem.compute_metrics(EvalPrediction(predictions=labels, label_ids=labels))["f1"] == 1

    bilou = ["O", *(f"{position}-{name}" for position in "BILU" for name in ("PER", "LOC"))]
    its_problem = problem()
    its_problem.use_labels(bilou)
    labels = np.array(its_problem.encode({"sw": data((WORDS, TAGS))}, tokenizer, "test")["sw"]["labels"][:])
    rows = [[its_problem.labels[label] for label in row if label != IGNORED] for row in labels]
    assert rows == [["B-PER", "L-PER", "O", "U-LOC", "O"]]
    predicted: list[list[tuple[str | None, str]]] = [
        [("B-PER", "B-PER"), ("L-PER", "L-PER"), ("U-PER", "U-PER"), ("U-LOC", "U-LOC"), ("U-LOC", "U-PER")]
    ]
    metrics = its_problem.compute_metrics(prediction(its_problem, predicted))
    assert metrics["f1"] == pytest.approx(3 / 4) and metrics["accuracy"] == pytest.approx(4 / 5)
    # Half of the scheme is none.
    its_problem = problem()
    its_problem.use_labels([*its_problem.labels, "U-PER"])
    assert its_problem.scheme == "iob2"
    with pytest.raises(InputError, match="--label_all_tokens does not go with a model whose labels are BILOU"):
        problem(label_all_tokens=True).use_labels(bilou)


@pytest.mark.parametrize(
    ("tags", "model", "beside"),
    [
        (TAGS, ["O", "B-PER", "I-PER", "B-LOC"], ["I-LOC"]),
        (TAGS, ["O", "I-PER", "I-LOC", "B-LOC"], ["B-PER"]),
        (TAGS, ["O", "B-PER", "I-PER"], []),
        (TAGS, ["O", "B-PER", "I-PER", "L-PER"], ["U-PER"]),
        (["PER", "PER", "O", "LOC", "O"], ["O", "B-PER"], ["I-PER"]),
        (TAGS, ["O", "PER", "LOC"], []),
        (["PROPN", "PROPN", "VERB", "PROPN", "ADV"], ["PROPN", "VERB"], []),
    ],
)
def test_a_model_that_is_only_evaluated_is_given_labels_of_types_that_it_knows(
    tags: list[str], model: list[str], beside: list[str]
) -> None:
    assert problem(data((WORDS, tags))).labels_beside(model) == beside


def test_entities_that_touch_are_one_to_a_model_without_prefixes(
    tokenizer: PreTrainedTokenizerBase, caplog: pytest.LogCaptureFixture
) -> None:
    its_problem = problem(data((WORDS, ["B-PER", "B-PER", "O", "B-LOC", "I-LOC"])))
    with caplog.at_level(logging.WARNING):
        its_problem.use_labels(["O", "PER", "LOC"])
    assert "have no prefixes: entities of one type that touch count as one." in caplog.text
    rows: list[list[tuple[str | None, str]]] = [[("PER", "PER"), ("PER", "PER"), ("O", "LOC"), ("LOC", "LOC")]]
    metrics = its_problem.compute_metrics(prediction(its_problem, rows))
    assert metrics["f1"] == 1 / 2 and metrics["accuracy"] == 3 / 4


def test_a_word_that_the_model_sees_nothing_of_has_no_part_of_speech(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase, caplog: pytest.LogCaptureFixture
) -> None:
    rows = data((WORDS, ["PROPN", "PROPN", "VERB", "PROPN", "ADV"]))
    its_problem = problem(rows, max_seq_length=5)
    with caplog.at_level(logging.WARNING):
        features = its_problem.encode({"sw": rows}, tokenizer, "test")["sw"]
    assert "1 of 1; words behind the cut, which are not scored: 3." in caplog.text
    labels = np.array(features["labels"][:])
    its_problem.write_predictions(tmp_path, "predict", "", PredictionOutput(labels, labels, None), features)
    assert (tmp_path / "predictions.txt").read_text(encoding="utf-8") == "PROPN PROPN _ _ _\n"


@pytest.mark.filterwarnings("error")
def test_without_any_entity_the_scores_are_0() -> None:
    its_problem = problem()
    metrics = its_problem.compute_metrics(prediction(its_problem, [[("O", "O"), ("O", "O")]]))
    assert metrics == {"precision": 0, "recall": 0, "f1": 0, "accuracy": 1}


def test_predictions_are_written_a_line_a_sentence(tmp_path: Path) -> None:
    its_problem = problem()
    output = prediction(its_problem, [*ROWS, [(None, "O")]])
    places = Dataset.from_dict({"tag_places": [[0, 1, 2, 3], [0, 1], []]})
    its_problem.write_predictions(
        tmp_path, "predict", "_sw", PredictionOutput(output.predictions, output.label_ids, None), places
    )
    lines = (tmp_path / "predictions_sw.txt").read_text(encoding="utf-8").split("\n")
    assert lines == ["B-PER I-PER O B-PER", "O B-LOC", "", ""]


PIECES = st.sampled_from([*WORDS, "\u200b", "\u200d"])
SENTENCES = st.lists(st.lists(st.tuples(PIECES, st.sampled_from(TAGS)), max_size=12), min_size=1, max_size=4)


@settings(max_examples=40, deadline=None)
@given(sentences=SENTENCES, length=st.integers(3, 20), every=st.booleans(), side=st.sampled_from(["left", "right"]))
def test_a_line_has_a_tag_for_each_word(
    model_folder: str,
    tmp_path_factory: pytest.TempPathFactory,
    sentences: list[list[tuple[str, str]]],
    length: int,
    every: bool,
    side: str,
) -> None:
    """That of its first subword; O for words behind the cut, and for those without a subword."""
    tokenizer = AutoTokenizer.from_pretrained(model_folder, padding_side=side)
    rows = data(*(([word for word, _ in row], [tag for _, tag in row]) for row in sentences))
    if not any(sentences):
        rows = rows.cast(Features({name: List(Value("string")) for name in rows.column_names}))
    its_problem = problem(max_seq_length=length, label_all_tokens=every)
    features = its_problem.encode({"sw": rows}, tokenizer, "test")["sw"]
    batch = its_problem.collator(tokenizer)([dict(row) for row in features])
    rng = np.random.default_rng(0)
    predicted = rng.integers(len(its_problem.labels), size=batch["labels"].shape)
    folder = tmp_path_factory.mktemp("predictions")
    its_problem.write_predictions(
        folder, "predict", "", PredictionOutput(predicted, batch["labels"].numpy(), None), features
    )
    lines = (folder / "predictions.txt").read_text(encoding="utf-8").splitlines()

    expected = []
    for row, ids, mask in zip(sentences, predicted.tolist(), batch["attention_mask"].tolist(), strict=True):
        # Without the padding and [CLS], in the order of the words' pieces.
        found = [its_problem.labels[i] for i, is_token in zip(ids, mask, strict=True) if is_token][1:-1]
        tags = []
        for word, _ in row:
            pieces = len(tokenizer.tokenize(word))
            tags.append(found[0] if pieces and found else "O")
            found = found[pieces:]
        expected.append(" ".join(tags))
    assert lines == expected


def test_one_warning_tells_what_is_cut_also_from_the_cache(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase, caplog: pytest.LogCaptureFixture
) -> None:
    """The second sentence loses two entities, the third three: of another one, the first word is seen."""
    invisible = (["jana", "\u200b"], ["O", "B-PER"])
    data((WORDS, TAGS), (2 * WORDS, 2 * TAGS), (3 * WORDS[:4], 3 * TAGS[:4]), invisible).save_to_disk(tmp_path)
    rows = datasets.load_from_disk(str(tmp_path))
    fingerprints = set()
    for split, verb in (("train", "trained on"), ("test", "scored"), ("test", "scored")):
        caplog.clear()
        its_problem = problem(max_seq_length=10)
        with caplog.at_level(logging.WARNING):
            encoded = its_problem.encode({"sw": rows, "de": rows.select([0])}, tokenizer, split)
        assert [record.getMessage() for record in caplog.records] == [
            f"{split}: sentences longer than 10 tokens (--max_seq_length), which are cut: 2 of 5; entities behind the "
            f"cut, which are not {verb}: 5."
        ]
        fingerprints.add(encoded["sw"].cache_files[0]["filename"])
        if split == "train":
            assert encoded["sw"].column_names == ["input_ids", "token_type_ids", "attention_mask", "labels"]
    assert len(fingerprints) == 2  # the third is the second's
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        problem(max_seq_length=64).encode({"sw": rows}, tokenizer, "test")
    assert not caplog.records
    tokenizer.model_max_length, own = 10, tokenizer.model_max_length
    with caplog.at_level(logging.WARNING):
        problem().encode({"sw": rows}, tokenizer, "test")
    tokenizer.model_max_length = own
    assert "longer than 10 tokens (all that the model takes)" in caplog.text


def test_tags_behind_the_cut_are_not_scored(tokenizer: PreTrainedTokenizerBase) -> None:
    """Whoever predicts what is seen of the sentence has all of it right."""
    its_problem = problem(max_seq_length=5)
    labels = np.array(its_problem.encode({"sw": data((WORDS, TAGS))}, tokenizer, "test")["sw"]["labels"][:])
    metrics = its_problem.compute_metrics(EvalPrediction(predictions=labels, label_ids=labels))
    assert metrics == {"precision": 1, "recall": 1, "f1": 1, "accuracy": 1}


def test_unknown_tags_in_training_are_to_be_mended(tokenizer: PreTrainedTokenizerBase) -> None:
    rows = data((["Juma"], ["B-X"]))
    with pytest.raises(InputError, match=r"the model knows O, .*I-PER\. Mend the row\.$"):
        problem().encode({"sw": rows}, tokenizer, "train")
    with pytest.raises(InputError, match=r"Mend the row, or train on examples with that label\.$"):
        problem().encode({"sw": rows}, tokenizer, "test")


def test_predicted_labels_of_logits() -> None:
    logits = torch.tensor([[[0.0, 2.0, 1.0], [3.0, 0.0, 1.0]]])
    for output in (logits, (logits, "hidden states")):
        assert predicted_labels(output, torch.zeros(1, 2)).tolist() == [[1, 0]]
