"""Questions and contexts to features, and logits back to answers: windows, characters, scores, files, bad input."""

import itertools
import json
import logging
import math
import re
import string
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForQuestionAnswering,
    EvalPrediction,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
)
from transformers.trainer_utils import PredictionOutput

from hf_seqreptile import InputError
from hf_seqreptile.metrics import MLQAMetric, SquadMetric, SquadV2Metric
from hf_seqreptile.models.offline_encoder import build_offline_encoder
from hf_seqreptile.problems.answer_features import training_features
from hf_seqreptile.problems.context_windows import Windows, check_tokenizers
from hf_seqreptile.problems.question_answering import QuestionAnswering, QuestionAnsweringArguments

DATA = Path(__file__).parents[3] / "shared" / "data"
SPECIAL = ["[PAD]", "[CLS]", "[SEP]"]
QUESTION = " Where is it?"
TEXTS = {
    "arabic": ("ولد الشاعر في مدينة القاهرة سنة ١٩٢٠.", "القاهرة"),
    "hindi": ("उनका जन्म काशी में हुआ। वे हिन्दी के कवि थे।", "हिन्दी"),
    "combining": ("Le cafe\u0301 se trouve a\u0300 Orle\u0301ans.", "Orle\u0301ans"),
    "emoji": ("The flag 🇰🇪 and the family 👩‍👩‍👧 are here 😀.", "👩‍👩‍👧"),
    "chinese": ("故宫位于北京市中心,建成于1420年。", "北京市中心"),
    "swahili": ("Juma Odhiambo alitembelea Nairobi jana.", "Nairobi"),
}


def make_tokenizer(merges: Sequence[tuple[str, str]] = (), **options: Any) -> PreTrainedTokenizerFast:
    """One token for each byte of UTF-8, so that it knows all texts and many characters are several tokens."""
    alphabet = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet()), *map("".join, merges)]
    tokenizer = Tokenizer(models.BPE({piece: i for i, piece in enumerate(alphabet)}, list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    pair = "[CLS] $A [SEP] $B:1 [SEP]:1"
    ids = [(piece, alphabet.index(piece)) for piece in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", pair, ids)
    names = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=512, **names, **options)


TOKENIZER = make_tokenizer()


def row(context: str, *answers: str, question: str = QUESTION, name: str = "q") -> dict[str, Any]:
    places = [context.index(answer) for answer in answers]
    return {
        "id": name,
        "question": question,
        "context": context,
        "answers": {"text": list(answers), "answer_start": places},
    }


def data(*rows: dict[str, Any]) -> Dataset:
    schema = {"text": datasets.List(datasets.Value("string")), "answer_start": datasets.List(datasets.Value("int32"))}
    types = {name: schema if name == "answers" else datasets.Value("string") for name in rows[0]}
    return Dataset.from_list(list(rows), features=datasets.Features(types))


def problem(dataset: Dataset, **options: Any) -> QuestionAnswering:
    return QuestionAnswering({"validation": {"sw": dataset}}, QuestionAnsweringArguments(**options))


def encode(
    dataset: Dataset, split: str = "validation", tokenizer: PreTrainedTokenizerBase = TOKENIZER, **options: Any
) -> Dataset:
    return problem(dataset, **options).encode({"sw": dataset}, tokenizer, split)["sw"]


def small(**options: Any) -> dict[str, Any]:
    return {"max_seq_length": 48, "doc_stride": 24, "max_answer_length": 60} | options


def logits_for(features: Dataset, training: Dataset, extra: int = 7) -> tuple[NDArray, NDArray]:
    """What a model that knows the answers gives, padded as by the trainer."""
    length = max(map(len, features["input_ids"])) + extra
    logits = np.full((2, len(features), length), -100, dtype=np.float32)
    for i, feature in enumerate(training):
        logits[:, i, : len(feature["input_ids"])] = 0
        for side, name in enumerate(("start_positions", "end_positions")):
            logits[side, i, feature[name]] = 9
    return logits[0], logits[1]


def oracle(dataset: Dataset, **options: Any) -> tuple[QuestionAnswering, Dataset, tuple[NDArray, NDArray]]:
    features = encode(dataset, **options)
    return problem(dataset, **options), features, logits_for(features, encode(dataset, "train", **options))


def evaluation(logits: Any) -> EvalPrediction:
    return EvalPrediction(predictions=logits, label_ids=None)  # type: ignore[arg-type]


@pytest.mark.parametrize("script", TEXTS)
@pytest.mark.parametrize("length", [48, 384])
def test_the_right_logits_give_the_answer_to_the_character(script: str, length: int) -> None:
    context, answer = TEXTS[script]
    of_problem, features, logits = oracle(data(row(context, answer)), **small(max_seq_length=length))
    assert len(features) > 1 or length == 384
    answers = of_problem.predict_answers(logits, features)
    assert answers.texts == [answer]
    assert of_problem.compute_metrics(evaluation(logits), features) == {"exact_match": 100.0, "f1": 100.0}
    assert all(candidate["text"] in context for candidate in answers.candidates()[0])


@settings(max_examples=80)
@given(
    context=st.text("ab  \n\té語😀\u0301", min_size=1, max_size=60).filter(str.strip),
    places=st.tuples(st.integers(0, 59), st.integers(1, 20)),
    stride=st.integers(0, 5),
)
def test_every_window_that_holds_the_answer_points_at_it(context: str, places: tuple[int, int], stride: int) -> None:
    start = places[0] % len(context)
    answer = context[start : start + places[1]]
    windows = Windows(TOKENIZER, 26, stride)
    rows: dict[str, list] = {
        "question": ["?"],
        "context": [context],
        "answers": [{"text": [answer], "answer_start": [start]}],
    }
    features = training_features(rows, [5], windows)
    inside = start + len(answer) - len(answer.lstrip()), start + len(answer.rstrip())
    encoding = windows.encode(["?"], [context])
    assert len(features["input_ids"]) == len(encoding["input_ids"])
    for i, (first, last) in enumerate(zip(features["start_positions"], features["end_positions"], strict=True)):
        pairs = zip(encoding["offset_mapping"][i], encoding.sequence_ids(i), strict=True)
        tokens = {token: span for token, (span, sequence) in enumerate(pairs) if sequence == 1}
        characters = {character for span in tokens.values() for character in range(*span)}
        touched = [token for token, span in tokens.items() if span[0] < inside[1] and span[1] > inside[0]]
        holds = inside[0] < inside[1] and characters >= set(range(*inside))
        assert (first, last) == ((touched[0], touched[-1]) if holds else (0, 0))
    assert features["overflow_to_sample_mapping"] == [5] * len(features["input_ids"])


@settings(max_examples=40)
@given(context=st.text("ab  \n\té語", min_size=1, max_size=60), side=st.sampled_from(["right", "left"]))
def test_offsets_are_those_of_a_tokens_text_without_white_space(context: str, side: str) -> None:
    tokenizer = make_tokenizer([("Ġ", "a"), ("b", "Ġ"), ("Ġ", "Ġ")], padding_side=side)
    windows = Windows(tokenizer, 26, 5)
    encoding = windows.encode(["b a"], [context])
    numbers = range(len(encoding["input_ids"]))
    for window, offsets in zip(numbers, windows.offsets(encoding, [context]), strict=True):
        tokens = zip(encoding.sequence_ids(window), encoding["offset_mapping"][window], offsets.tolist(), strict=True)
        for part, (first, last), (start, end) in tokens:
            text = context[first:last].strip()
            if part != (side == "right"):
                assert start == end == -1
            elif text:
                assert first <= start < end <= last and context[start:end] == text
            else:
                assert start >= end


def test_answers_have_no_white_space_at_their_ends() -> None:
    context = "  in   Paris \n ok "
    of_problem = problem(data(row(context, "Paris")), n_best_size=400)
    features = encode(data(row(context, "Paris")))
    logits = np.random.default_rng(2).normal(size=(2, 1, len(features["input_ids"][0])))
    candidates = of_problem.predict_answers((logits[0], logits[1]), features).candidates()[0]
    characters = [place for place, character in enumerate(context) if character.strip()]
    pieces = [context[start : end + 1] for start in characters for end in characters if start <= end]
    assert sorted(candidate["text"] for candidate in candidates) == sorted(pieces)


def test_windows_cover_the_context_and_overlap_by_the_stride() -> None:
    context = string.ascii_letters * 3
    features = encode(data(row(context, "abc")), **small())
    room = 48 - 3 - len(QUESTION.lstrip())
    spans = [[s for s in starts if s >= 0] for starts in features["offset_starts"]]
    assert [len(span) for span in spans[:-1]] == [room] * (len(spans) - 1)
    for before, after in itertools.pairwise(spans):
        assert before[-24:] == after[:24]
    assert sorted({place for span in spans for place in span}) == list(range(len(context)))
    assert str(TOKENIZER.decode(features["input_ids"][0])).startswith("[CLS]Where is it?[SEP]abcdef")


def test_examples_are_counted_not_windows() -> None:
    rows = data(*(row(string.ascii_letters * n, "abc", name=str(n)) for n in (1, 3, 1)))
    mapping = encode(rows, "train", **small())["overflow_to_sample_mapping"]
    assert sorted(set(mapping)) == [0, 1, 2] and mapping.count(1) > mapping.count(0)


def test_padding_to_the_maximum_and_to_the_longest_of_a_batch() -> None:
    rows = data(row("short", "short", name="1"), row("a longer context", "longer", name="2"))
    assert len(set(map(len, encode(rows, "train", **small())["input_ids"]))) == 2
    padded = encode(rows, "train", **small(pad_to_max_length=True))
    assert set(map(len, padded["input_ids"])) == {48}
    features = encode(rows, "train", **small()).remove_columns("overflow_to_sample_mapping")
    for side in ("left", "right"):
        batch = problem(rows).collator(make_tokenizer(padding_side=side))(list(features))
        assert batch["attention_mask"].sum(1).tolist() == list(map(len, features["input_ids"]))
        assert batch["attention_mask"][:, 0].tolist() == [1, 1]
        assert batch["end_positions"].tolist() == list(features["end_positions"])


@pytest.mark.parametrize("padding", [False, True])
def test_a_tokenizer_that_pads_on_the_left_sees_the_context_first(padding: bool) -> None:
    context, answer = TEXTS["swahili"]
    tokenizer = make_tokenizer(padding_side="left")
    options: dict[str, Any] = small(pad_to_max_length=padding)
    rows = data(row(context, answer))
    features = encode(rows, tokenizer=tokenizer, **options)
    assert str(tokenizer.decode(features["input_ids"][0], skip_special_tokens=True)).startswith("Juma")
    logits = logits_for(features, encode(rows, "train", tokenizer=tokenizer, **options))
    assert problem(rows, **options).predict_answers(logits, features).texts == [answer]
    cls = [ids.index(TOKENIZER.cls_token_id) for ids in features["input_ids"]]
    assert features["null_position"] == cls and (not padding or cls[-1] > 0)


def test_only_the_first_answer_is_learnt_and_all_are_scored() -> None:
    context = "Juma and Anna met Mary."
    rows = data(row(context, "Anna", "Mary"))
    feature = encode(rows, "train")[0]
    piece = feature["input_ids"][feature["start_positions"] : feature["end_positions"] + 1]
    assert TOKENIZER.decode(piece) == "Anna"
    of_problem, features, _ = oracle(rows)
    logits = logits_for(features, encode(data(row(context, "Mary")), "train"))
    assert of_problem.compute_metrics(evaluation(logits), features)["exact_match"] == 100.0


def many() -> Dataset:
    texts = [*TEXTS.values(), ("Kisumu lies at the lake. " * 6, "lake")]
    return data(*(row(context, answer, name=f"id {i}") for i, (context, answer) in enumerate(texts)))


@pytest.mark.parametrize("version_2", [False, True])
def test_shuffled_features_give_the_same_answers(version_2: bool, tmp_path: Path) -> None:
    options = small(version_2_with_negative=version_2, n_best_size=5)
    features = encode(many(), **options)
    random = np.random.default_rng(1)
    logits = random.integers(-4, 5, (2, len(features), 60)).astype(np.float32)
    order = random.permutation(len(features))
    results = []
    for rows, name in ((np.arange(len(features)), "a"), (order, "b")):
        folder = tmp_path / name
        folder.mkdir()
        of_problem, dataset = problem(many(), **options), features.select(rows)
        own = (logits[0][rows], logits[1][rows])
        prediction = PredictionOutput(own, None, {})  # type: ignore[arg-type]
        of_problem.write_predictions(folder, "eval", "_sw", prediction, dataset)
        files = {path.name: path.read_text("utf-8") for path in sorted(folder.iterdir())}
        results.append((of_problem.compute_metrics(evaluation(own), dataset), files))
    assert results[0] == results[1]


def test_however_a_dataset_lies_in_memory_its_answers_are_the_same() -> None:
    """A table of its own, several tables one after the other, a piece of a table."""
    options = small()
    features = encode(many(), **options)
    random, own = np.random.default_rng(3), range(3, len(features))
    logits = random.normal(size=(2, len(features), 60)).astype(np.float32)[:, own]
    parts = [features.select(range(i, min(i + 4, len(features)))) for i in range(3, len(features), 4)]
    flat = Dataset.from_list(features.to_list()[3:], features=features.features)
    results = []
    for dataset in (flat, datasets.concatenate_datasets(parts), features.select(own)):
        of_problem = problem(many(), **options)
        answers = of_problem.predict_answers((logits[0], logits[1]), dataset)
        metrics = of_problem.compute_metrics(evaluation((logits[0], logits[1])), dataset)
        results.append((answers.ids, answers.contexts, answers.texts, answers.candidates(), metrics))
    assert results == results[:1] * 3


@pytest.mark.parametrize("options", [{}, {"answer_normalization": "mlqa"}, {"version_2_with_negative": True}])
def test_scores_are_those_of_the_metric_on_the_written_files(options: dict[str, Any], tmp_path: Path) -> None:
    options = small(**options)
    of_problem, features = problem(many(), **options), encode(many(), **options)
    right = np.stack(logits_for(features, encode(many(), "train", **options)))
    # So much noise that some answers are right, some begin or end elsewhere, and some are wrong.
    logits = right + np.random.default_rng(4).normal(scale=3, size=right.shape).astype(np.float32)
    of_problem.write_predictions(tmp_path, "eval", "", PredictionOutput(logits, None, {}), features)  # type: ignore[arg-type]
    files = {path.stem: json.loads(path.read_text("utf-8")) for path in tmp_path.iterdir()}
    predictions = [{"id": name, "prediction_text": text} for name, text in files["eval_predictions"].items()]
    metric: Any = MLQAMetric("sw") if "answer_normalization" in options else SquadMetric()
    if "version_2_with_negative" in options:
        metric = SquadV2Metric()
        for prediction in predictions:
            candidates = files["eval_nbest_predictions"][prediction["id"]]
            prediction["prediction_text"] = next(each["text"] for each in candidates if each["text"])
            prediction["no_answer_probability"] = files["eval_null_odds"][prediction["id"]]
    references = [{"id": r["id"], "answers": r["answers"]} for r in many()]
    settings = {"no_answer_threshold": 0.0} if "version_2_with_negative" in options else {}
    expected = metric.compute(predictions=predictions, references=references, **settings)
    assert of_problem.compute_metrics(evaluation(logits), features) == pytest.approx(expected)
    assert 0 < expected["f1"] < 100


def test_logits_of_padding_have_no_say() -> None:
    of_problem, features, logits = oracle(many(), **small())
    lengths = np.array(list(map(len, features["input_ids"])))
    for side in logits:
        side[np.arange(side.shape[1]) >= lengths[:, None]] = 1000
    assert of_problem.compute_metrics(evaluation(logits), features)["exact_match"] == 100.0


def test_files_are_those_of_hugging_face(tmp_path: Path) -> None:
    of_problem, features, logits = oracle(many(), **small(n_best_size=4))
    prediction = PredictionOutput(logits, None, {})  # type: ignore[arg-type]
    of_problem.write_predictions(tmp_path, "predict", "", prediction, features)
    assert {path.name for path in tmp_path.iterdir()} == {"predict_predictions.json", "predict_nbest_predictions.json"}
    text = (tmp_path / "predict_predictions.json").read_text("utf-8")
    assert json.loads(text) == {r["id"]: r["answers"]["text"][0] for r in many()}
    assert "القاهرة" in text and "👩‍👩‍👧" in text
    best = json.loads((tmp_path / "predict_nbest_predictions.json").read_text("utf-8"))
    for candidates in best.values():
        assert len(candidates) == 4
        scores = [each["start_logit"] + each["end_logit"] for each in candidates]
        weights = [math.exp(score) for score in scores]
        assert [each["probability"] for each in candidates] == pytest.approx([w / sum(weights) for w in weights])
        assert scores == sorted(scores, reverse=True)


class TestImpossible:
    """`version_2_with_negative`."""

    rows = data(row("Juma lives in Kisumu.", "Kisumu", name="yes"), row("Nothing is said here.", name="no"))

    def test_right_logits(self) -> None:
        of_problem, features, logits = oracle(self.rows, version_2_with_negative=True)
        answers = of_problem.predict_answers(logits, features)
        assert answers.texts == ["Kisumu", ""]
        assert answers.null_odds.tolist() == [-18.0, 18.0]
        metrics = of_problem.compute_metrics(evaluation(logits), features)
        expected = {"exact": 100.0, "f1": 100.0, "total": 2, "HasAns_f1": 100.0, "NoAns_f1": 100.0, "best_f1": 100.0}
        assert metrics.items() >= expected.items()

    def scored(self, span_scores: Sequence[float], null_scores: Sequence[float], **options: Any) -> dict[str, float]:
        """Of questions whose best span is the right answer, where there is one, at these scores of span and null.

        Every other question has no answer.
        """
        rows = [row("Juma lives in Kisumu.", *["Kisumu"] * (i % 2 == 0), name=str(i)) for i in range(len(span_scores))]
        of_problem, features, logits = oracle(data(*rows), version_2_with_negative=True, **options)
        place = [*features["input_ids"][0]].index(TOKENIZER.sep_token_id) + 1 + len("Juma lives in ")
        for side, position in ((0, place), (1, place + len("Kisumu") - 1)):
            logits[side][:, position] = np.array(span_scores) / 2
            logits[side][:, 0] = np.array(null_scores) / 2
        return of_problem.compute_metrics(evaluation(logits), features)

    def test_thresholds_are_searched_over_the_best_answers(self) -> None:
        """Ten answerable questions with odds of 2 and ten unanswerable ones with 6: 2 is right for all."""
        spans, nulls = [10.0] * 20, [12.0, 16.0] * 10
        metrics = self.scored(spans, nulls)
        assert (metrics["exact"], metrics["HasAns_exact"], metrics["NoAns_exact"]) == (50, 0, 100)
        for name in ("exact", "f1"):
            assert (metrics[f"best_{name}"], metrics[f"best_{name}_thresh"]) == (100, 2)
        assert self.scored(spans, nulls, null_score_diff_threshold=2.0)["exact"] == 100

    @settings(max_examples=40, deadline=None)
    @given(odds=st.lists(st.integers(-40, 40), min_size=2, max_size=8, unique=True))
    def test_the_best_threshold_gives_the_best_score(self, odds: list[int]) -> None:
        nulls = [10.0 + each / 4 for each in odds]
        metrics = self.scored([10.0] * len(odds), nulls)
        again = self.scored([10.0] * len(odds), nulls, null_score_diff_threshold=metrics["best_f1_thresh"])
        assert again["f1"] == pytest.approx(metrics["best_f1"])
        assert again["best_f1"] == metrics["best_f1"] >= metrics["f1"]

    @pytest.mark.parametrize(("threshold", "answered"), [(17.9, False), (18.0, True)])
    def test_threshold(self, threshold: float, answered: bool) -> None:
        options = {"version_2_with_negative": True, "null_score_diff_threshold": threshold}
        of_problem, features, logits = oracle(self.rows, **options)
        assert bool(of_problem.predict_answers(logits, features).texts[1]) == answered

    def test_one_window_with_the_answer_is_enough(self) -> None:
        rows = data(row("Kisumu lies at the lake. " * 6, "Kisumu"))
        of_problem, features, logits = oracle(rows, **small(version_2_with_negative=True))
        assert len(features) > 3
        # In all windows but the first, "no answer" scores twice as much as the answer does there.
        logits[0][1:, 0] = logits[1][1:, 0] = 12
        assert of_problem.predict_answers(logits, features).texts == ["Kisumu"]

    @pytest.mark.parametrize("n_best", [1, 3])
    def test_no_answer_is_always_a_candidate(self, n_best: int, tmp_path: Path) -> None:
        of_problem, features, logits = oracle(self.rows, version_2_with_negative=True, n_best_size=n_best)
        prediction = PredictionOutput(logits, None, {})  # type: ignore[arg-type]
        of_problem.write_predictions(tmp_path, "eval", "_sw", prediction, features)
        best = json.loads((tmp_path / "eval_nbest_predictions_sw.json").read_text("utf-8"))
        for candidates in best.values():
            assert [candidate["text"] for candidate in candidates].count("") == 1
            assert sum(candidate["probability"] for candidate in candidates) == pytest.approx(1)
        assert best["no"][0]["text"] == "" and best["yes"][0]["text"] == "Kisumu"
        odds = json.loads((tmp_path / "eval_null_odds_sw.json").read_text("utf-8"))
        assert odds == {"yes": -18.0, "no": 18.0}

    def test_training_points_at_cls(self) -> None:
        features = encode(self.rows, "train", version_2_with_negative=True)
        assert features[1]["start_positions"] == features[1]["end_positions"] == 0 < features[0]["start_positions"]


def test_a_context_without_tokens_has_an_empty_answer() -> None:
    """Some tokenizers drop whole characters, as zero-width ones."""
    of_problem, features, logits = oracle(many(), **small())
    gone = features.map(lambda _: {"offset_starts": [-1], "offset_ends": [-1]})
    answers = of_problem.predict_answers(logits, gone)
    assert answers.texts == [""] * 7
    assert answers.candidates()[0] == [{"text": "", "start_logit": 0.0, "end_logit": 0.0, "probability": 1.0}]


def test_without_known_answers_there_are_predictions_but_no_metrics() -> None:
    rows = data(*({**r, "answers": {"text": [], "answer_start": []}} for r in many()))
    for unknown in (rows, rows.remove_columns("answers")):
        of_problem, features = problem(unknown), encode(unknown, "test")
        logits = logits_for(features, encode(many(), "train"))
        assert of_problem.predict_answers(logits, features).texts == [r["answers"]["text"][0] for r in many()]
        assert of_problem.compute_metrics(evaluation(logits), features) == {}


@pytest.mark.parametrize("none", [{"text": [], "answer_start": []}, None], ids=str)
def test_questions_of_the_test_split_without_an_answer_are_predicted_and_not_scored(
    none: Any, caplog: pytest.LogCaptureFixture
) -> None:
    rows = data(*({**r, "answers": none if i % 2 else r["answers"]} for i, r in enumerate(many())))
    of_problem = problem(rows)
    with caplog.at_level(logging.WARNING):
        features = of_problem.encode({"sw": rows}, TOKENIZER, "test")["sw"]
    assert "test: 3 of 7 questions have no answer; they are predicted, but not scored: sw 3." in caplog.text
    logits = logits_for(features, encode(many(), "train"))
    assert len(of_problem.predict_answers(logits, features).texts) == 7
    assert of_problem.compute_metrics(evaluation(logits), features) == {"exact_match": 100.0, "f1": 100.0}
    with pytest.raises(InputError, match=r"no answer|an empty value"):
        of_problem.encode({"sw": rows}, TOKENIZER, "validation")


def test_without_ids_row_numbers_are_used() -> None:
    assert encode(many().remove_columns("id"))["id"] == [str(i + 1) for i in range(len(many()))]
    numbers = many().remove_columns("id").add_column("id", list(range(10, 10 + len(many()))))
    assert encode(numbers)["id"][0] == "10"


@pytest.mark.parametrize(
    ("options", "exact"),
    [({}, 0.0), ({"answer_normalization": "mlqa"}, 100.0), ({"dataset_name": "facebook/MLQA"}, 100.0),
     ({"dataset_name": "google/xquad", "answer_normalization": "squad"}, 0.0)],
)  # fmt: skip
def test_normalisation_goes_by_the_language_of_the_task(options: dict[str, Any], exact: float) -> None:
    context = "Sie wohnt in der Stadt."
    of_problem = problem(data(row(context, "der Stadt")), **options)
    features = of_problem.encode({"de": data(row(context, "der Stadt"))}, TOKENIZER, "validation")["de"]
    logits = logits_for(features, encode(data(row(context, "Stadt")), "train"))
    assert of_problem.compute_metrics(evaluation(logits), features)["exact_match"] == exact


def test_all_texts_are_found() -> None:
    tasks = {"train": {"a": data(row("one", "one"))}, "test": {"b": data(row("two", "two", question="what?"))}}
    found = QuestionAnswering(tasks, QuestionAnsweringArguments()).texts(tasks)
    assert found == {"one", "two", "what?", QUESTION}


def test_more_tokens_than_the_model_takes(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        features = encode(data(row("ab " * 400, "ab")), max_seq_length=600)
    assert max(map(len, features["input_ids"])) == 512
    assert "--max_seq_length 600 is more than the model takes; 512 is used." in caplog.text


def test_a_model_in_the_trainer(tmp_path: Path) -> None:
    """Batches of unequal length through the stock trainer give what each feature gives by itself."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    model = BertForQuestionAnswering(BertConfig(vocab_size=len(TOKENIZER), max_position_embeddings=64, **sizes)).eval()
    of_problem, features = problem(many(), **small()), encode(many(), **small())
    scoring = of_problem.scoring()
    args = TrainingArguments(str(tmp_path), per_device_eval_batch_size=3, report_to="none", disable_tqdm=True,
                             use_cpu=True)  # fmt: skip
    preprocess = scoring["preprocess_logits_for_metrics"]
    trainer = Trainer(
        model, args, data_collator=of_problem.collator(TOKENIZER), preprocess_logits_for_metrics=preprocess
    )
    logits: Any = trainer.predict(features).predictions
    assert logits[0].shape[1] > min(map(len, features["input_ids"]))
    alone = np.full((2, len(features), 48), -100, dtype=np.float32)
    with torch.no_grad():
        for i, ids in enumerate(features["input_ids"]):
            output = model(input_ids=torch.tensor([ids]))
            alone[0, i, : len(ids)], alone[1, i, : len(ids)] = output.start_logits[0], output.end_logits[0]
    answers = [of_problem.predict_answers(each, features).candidates() for each in (logits, (alone[0], alone[1]))]
    texts = [[[candidate["text"] for candidate in own] for own in each] for each in answers]
    assert texts[0] == texts[1]
    assert scoring["compute_dataset_metrics"](evaluation(logits), features).keys() == {"exact_match", "f1"}


def shifted(r: dict[str, Any]) -> dict[str, Any]:
    return r | {"answers": {"text": ["Kisumu"], "answer_start": [13]}}


KISUMU = "Juma lives in Kisumu."


@pytest.mark.parametrize(
    "answers",
    [
        {"text": "Kisumu", "answer_start": 14},
        {"text": "Kisumu", "answer_start": "14"},
        {"text": "Kisumu", "answer_start": 14.0},
        {"text": ["Kisumu"], "answer_start": ["14"]},
        {"text": ["Kisumu"], "answer_start": [14.0]},
        {"text": ["Kisumu"], "answer_start": ["14.0"]},
        [{"text": "Kisumu", "answer_start": 14}],
    ],
    ids=str,
)
@pytest.mark.parametrize("split", ["train", "validation"])
def test_answers_of_other_types_mean_the_same(answers: Any, split: str) -> None:
    same = Dataset.from_list([{"id": "q", "question": QUESTION, "context": KISUMU, "answers": answers}])
    assert encode(same, split).to_dict() == encode(data(row(KISUMU, "Kisumu")), split).to_dict()


@pytest.mark.parametrize("none", [("", None), (None, None), ("", -1), (None, -1)], ids=str)
def test_one_text_that_is_empty_is_no_answer(none: tuple[Any, Any]) -> None:
    rows = [
        {"id": name, "question": QUESTION, "context": KISUMU, "answers": {"text": text, "answer_start": start}}
        for name, text, start in (("yes", "Kisumu", 14), ("no", *none))
    ]
    expected = data(row(KISUMU, "Kisumu", name="yes"), row(KISUMU, name="no"))
    for split in ("train", "validation"):
        found, wanted = (
            encode(each, split, version_2_with_negative=True) for each in (Dataset.from_list(rows), expected)
        )
        assert found.to_dict() == wanted.to_dict()
    with pytest.raises(InputError, match=r"row 2 \(id no\): no answer\. Where questions may have none"):
        encode(Dataset.from_list(rows), "train")


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"text": "Kisumu", "answer_start": "here"}, "`{'text': 'Kisumu', 'answer_start': 'here'}` is no answer"),
        ({"text": "Kisumu", "answer_start": 14.5}, "is no answer. Write"),
        ({"text": "Kisumu", "answer_start": True}, "is no answer. Write"),
        ({"text": 7, "answer_start": 14}, "is no answer. Write"),
        ({"text": ["Kisumu"], "answer_start": 14}, "is no answer. Write"),
        ({"text": "Kisumu", "answer_start": None}, r"an empty value (null) in the column `answers`"),
        ({"text": None, "answer_start": 14}, r"an empty value (null) in the column `answers`"),
        ({"text": "Kisumu", "answer_start": 15}, "does not start at character 15"),
    ],
    ids=str,
)
def test_what_is_no_answer_is_named(answers: Any, message: str) -> None:
    rows = Dataset.from_list([{"id": "q", "question": QUESTION, "context": KISUMU, "answers": answers}])
    with pytest.raises(InputError, match=re.escape(message)) as error:
        encode(rows, "train")
    assert str(error.value).startswith("Task 'sw', train split, row 1 (id q): ")


@pytest.mark.parametrize(
    ("length", "options", "mend"),
    [
        (600, {}, "leaves 0 of --max_seq_length 384 to the context, and the model takes no longer ones. Shorten the"),
        (400, {}, "leaves 0 of --max_seq_length 384 to the context. Raise --max_seq_length or shorten the question"),
        (360, {}, "leaves 21 of --max_seq_length 384 to the context, and --doc_stride 128 must be smaller. Lower"),
        (360, {}, "Lower --doc_stride, raise --max_seq_length or shorten the question"),
        (480, {"max_seq_length": 512}, "--doc_stride 128 must be smaller. Lower --doc_stride or shorten the question"),
        (600, {"max_seq_length": 512, "doc_stride": 0}, "and the model takes no longer ones. Shorten the question"),
    ],
)
def test_the_mend_for_a_long_question_can_help(length: int, options: dict[str, Any], mend: str) -> None:
    rows = data(row("because " * 80, "because", question="w" * length))
    with pytest.raises(InputError, match=re.escape(mend)):
        encode(rows, **options)


BAD_ROWS: list[tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = [
    (lambda r: r | {"question": None}, r"row 2 \(id bad\): an empty value \(null\) in the column `question`"),
    (lambda r: r | {"answers": {"text": [None], "answer_start": [0]}}, r"row 2 .* in the column `answers`"),
    (lambda r: r | {"context": "  "}, r"row 2 .*the context is empty"),
    (lambda r: r | {"answers": {"text": [" "], "answer_start": [4]}}, "an answer without text"),
    (lambda r: r | {"answers": {"text": [], "answer_start": []}}, "no answer. .*--version_2_with_negative"),
    (lambda r: row("because " * 20, "because", question="why " * 80, name="bad"),
     "leaves 61 of --max_seq_length 384 to the context, and --doc_stride 128 must be smaller"),
]  # fmt: skip
MISPLACED: list[tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = [
    (shifted, r"not start at character 13 .* where ' Kisum' stands\. It starts at character 14: mend answer_start"),
    (lambda r: r | {"answers": {"text": ["Bonn"], "answer_start": [0]}}, "nor is it anywhere else there"),
    (lambda r: r | {"answers": {"text": ["Kisumu"], "answer_start": [-7]}}, "does not start at character -7"),
    (lambda r: r | {"answers": {"text": ["Kisumu"], "answer_start": [None]}}, "an empty value .* `answers`"),
    (lambda r: r | {"answers": {"text": ["Juma"], "answer_start": [0, 3]}}, "1 answers, but 2 values of answer_start"),
]
"""For training; scores need texts alone."""


@pytest.mark.parametrize(
    ("split", "spoil", "message"),
    [
        *((split, *bad) for split in ("train", "validation") for bad in BAD_ROWS),
        *(("train", *bad) for bad in MISPLACED),
    ],
)
def test_bad_rows_are_named(split: str, spoil: Callable, message: str) -> None:
    good = row("Juma lives in Kisumu.", "Kisumu", name="good")
    with pytest.raises(InputError, match=f"Task 'sw', {split} split, row 2.*") as error:
        encode(data(good, spoil(good | {"id": "bad"})), split)
    assert error.match(message)


@pytest.mark.parametrize("spoil", [spoil for spoil, _ in MISPLACED])
def test_answers_that_are_misplaced_are_scored_or_left_out(
    spoil: Callable[[dict[str, Any]], dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    """The run says how many they are."""
    good = row("Juma lives in Kisumu.", "Kisumu", name="good")
    bad = spoil(good | {"id": "bad"})
    rows = data(bad, good)
    features = encode(rows, "validation")
    assert [answers["text"] for answers in features["answers"]] == [bad["answers"]["text"], ["Kisumu"]]
    assert (
        "validation: 1 of 2 questions have an answer that is not where answer_start says; they are scored by its "
        in (caplog.text)
    )
    kept = encode(rows, "train", misplaced_answers="drop")
    assert "train: 1 of 2 questions have an answer that is not where answer_start says; they are left out: sw 1." in (
        caplog.text
    )
    assert kept.to_dict() == encode(data(good), "train").to_dict()
    with pytest.raises(InputError, match=r"Task 'sw', train split: no question has its answer where"):
        encode(data(bad), "train", misplaced_answers="drop")
    with pytest.raises(InputError, match=r"row 3 \(id no\): the context is empty"):
        encode(data(bad, good, good | {"id": "no", "context": " ", "answers": {"text": [" "], "answer_start": [0]}}),
               "train", misplaced_answers="drop")  # fmt: skip


def test_scores_need_the_texts_of_answers_alone() -> None:
    texts = [{"id": "q", "question": QUESTION, "context": KISUMU, "answers": {"text": ["Kisumu", "Ulm"]}}]
    for split in ("validation", "test"):
        assert encode(Dataset.from_list(texts), split)["answers"][0]["text"] == ["Kisumu", "Ulm"]
    starts = [texts[0] | {"answers": {"text": "Kisumu", "answer_start": "here"}}]
    assert encode(Dataset.from_list(starts), "validation")["answers"][0]["text"] == ["Kisumu"]
    with pytest.raises(InputError, match="Task 'sw', train split: the column `answers` holds"):
        encode(Dataset.from_list(texts), "train")


def test_a_long_question_beside_a_short_context_is_fine() -> None:
    assert len(encode(data(row("Kisumu", "Kisumu", question="why " * 80)))) == 1


@pytest.mark.parametrize(
    ("dataset", "split", "message"),
    [
        (many().remove_columns("context"), "train", "Task 'sw', .* no column 'context'; it has id, question, answers"),
        (many().remove_columns("question").add_column("question", [1] * 7), "train", "'question' holds .*int64"),
        (many().remove_columns("answers").add_column("answers", ["a"] * 7), "train", "`answers` holds .*string"),
        (many().remove_columns("answers"), "validation", "no question has an answer"),
        (many().remove_columns("answers"), "train", "no question has an answer"),
        (datasets.concatenate_datasets([many(), many()]), "validation", "rows 1 and 8 have the same id, id 0"),
    ],
)
def test_bad_columns_are_named(dataset: Dataset, split: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        encode(dataset, split)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"doc_stride": -1}, "--doc_stride -1 must be at least 0"),
        ({"n_best_size": 0}, "--n_best_size 0 must be at least 1"),
        ({"answer_normalization": "bleu"}, "--answer_normalization bleu is neither squad nor mlqa"),
        ({"answer_normalization": "mlqa", "version_2_with_negative": True}, "no scores for --version_2_with_negative"),
        ({"max_seq_length": 131}, "--doc_stride 128 must be smaller .* 131 tokens, and 3 of them .*raise --max_seq"),
        ({"max_seq_length": 600, "doc_stride": 600}, r"512 tokens, .* Lower it: the model takes no more tokens\.$"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        encode(many(), **options)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[PreTrainedTokenizerBase, dict[str, Dataset]]:
    names = ["xquad/xquad.de", "tydiqa_goldp/korean_tydiqa_train", "tydiqa_goldp/arabic_tydiqa_dev"]
    if not DATA.is_dir():
        pytest.skip(f"{DATA} is absent: no real data to encode")
    tasks = {name: read_squad(DATA / f"{name}.json").select(range(150)) for name in names}
    texts = {text for dataset in tasks.values() for column in ("question", "context") for text in dataset[column]}
    return AutoTokenizer.from_pretrained(build_offline_encoder(texts, tmp_path_factory.mktemp("encoder"))), tasks


def read_squad(path: Path) -> Dataset:
    paragraphs = [p for article in json.loads(path.read_text("utf-8"))["data"] for p in article["paragraphs"]]
    rows = [(p["context"], q) for p in paragraphs for q in p["qas"]]
    return data(
        *(
            {
                "id": q["id"],
                "question": q["question"],
                "context": context,
                "answers": {name: [answer[name] for answer in q["answers"]] for name in ("text", "answer_start")},
            }
            for context, q in rows
        )
    )


def test_tokenizers_that_leave_out_windows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    check_tokenizers.cache_clear()
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.23.2")
    with pytest.raises(InputError, match=r"pip install -U 'tokenizers>=0.23.3'"):
        Windows(TOKENIZER, 26, 5)


def test_real_answers_survive(real: tuple[PreTrainedTokenizerBase, dict[str, Dataset]]) -> None:
    """Gold positions give back all of the answer, and no token more than it needs."""
    tokenizer, tasks = real
    found = {task: set() for task in tasks}  # type: ignore[var-annotated]
    for task, dataset in tasks.items():
        options: dict[str, Any] = {"max_seq_length": 192, "doc_stride": 64}
        training, features = (encode(dataset, split, tokenizer, **options) for split in ("train", "validation"))
        assert training["input_ids"] == features["input_ids"]
        for learnt, feature in zip(training, features, strict=True):
            first, last = learnt["start_positions"], learnt["end_positions"]
            if first == 0:
                continue
            starts, ends, answers = feature["offset_starts"], feature["offset_ends"], feature["answers"]
            text, place = answers["text"][0], answers["answer_start"][0]
            assert starts[first] <= place and place + len(text.rstrip()) <= ends[last]
            assert text.strip() in feature["context"][starts[first] : ends[last]]
            # A token less on either side would lose a character of the answer.
            assert ends[first] > place and starts[last] < place + len(text)
            found[task].add(learnt["overflow_to_sample_mapping"])
    assert {task: len(rows) for task, rows in found.items()} == dict.fromkeys(tasks, 150)


def test_real_answers_are_scored_as_right(real: tuple[PreTrainedTokenizerBase, dict[str, Dataset]]) -> None:
    """What is missing are answers that start or end within a token."""
    tokenizer, tasks = real
    dataset = tasks["xquad/xquad.de"]
    features, training = (encode(dataset, split, tokenizer) for split in ("validation", "train"))
    of_problem = problem(dataset, max_answer_length=100)
    assert of_problem.compute_metrics(evaluation(logits_for(features, training)), features)["exact_match"] >= 98
