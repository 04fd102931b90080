"""`pipeline("question-answering")`: answers are literal parts of their context, whatever its length and script."""

import copy
import json
import math
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForQuestionAnswering, PreTrainedTokenizerFast, pipeline, pipelines
from transformers.modeling_outputs import QuestionAnsweringModelOutput

from hf_seqreptile import InputError
from hf_seqreptile.pipelines.question_answering import QuestionAnsweringPipeline, register_pipeline

register_pipeline()

CONTEXTS = {
    "Arabic": "وُلِدَ نجيب محفوظ في القاهرة عام ١٩١١، وحصل على جائزة نوبل.",
    "Hindi": "दिल्ली भारत की राजधानी है। यह यमुना नदी के किनारे बसी है।",
    "emoji": "The 👩‍🔬 won 🏆🏆 in  Zürich\u2009(2019)\n and e\u0301te\u0301 🇨🇭!",
    "Chinese": "北京是中华人民共和国的首都,位于华北平原。",
    "space": "  Paris   is big. ",
}
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
CHARACTERS = sorted({c for text in CONTEXTS.values() for c in unicodedata.normalize("NFD", text).lower() + text})


def _finished(tokens: Tokenizer) -> PreTrainedTokenizerFast:
    tokens.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokens, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        model_max_length=96,
    )  # fmt: skip


def bert_like() -> PreTrainedTokenizerFast:
    """A character a token, without accents: tokens are not what stands in the text."""
    vocabulary = [*SPECIAL, *CHARACTERS, *(f"##{c}" for c in CHARACTERS)]
    tokens = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokens.normalizer = normalizers.BertNormalizer()
    tokens.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return _finished(tokens)


def xlmr_like() -> PreTrainedTokenizerFast:
    """A character a token, and spaces that belong to the word behind them."""
    pieces = [(piece, -1.0) for piece in dict.fromkeys([*SPECIAL, "▁", *CHARACTERS])]
    tokens = Tokenizer(models.Unigram(pieces, unk_id=1))
    tokens.pre_tokenizer = pre_tokenizers.Metaspace()
    return _finished(tokens)


def byte_level() -> PreTrainedTokenizerFast:
    """A byte a token: several tokens for a character."""
    pieces = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokens = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, []))
    tokens.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return _finished(tokens)


class ScoresByToken(BertForQuestionAnswering):
    """Each token id has its own logits wherever it stands, so that a test knows which span is best."""

    def set(self, starts: dict[int, float], ends: dict[int, float]) -> None:
        self.by_id = torch.zeros(2, self.config.vocab_size)
        for row, logits in enumerate((starts, ends)):
            for token, logit in logits.items():
                self.by_id[row, token] = logit

    def forward(self, input_ids: torch.Tensor, **_: Any) -> QuestionAnsweringModelOutput:
        start, end = self.by_id[:, input_ids]
        return QuestionAnsweringModelOutput(start_logits=start, end_logits=end)


def build(tokenizer: PreTrainedTokenizerFast, kind: type = BertForQuestionAnswering) -> QuestionAnsweringPipeline:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=96, initializer_range=0.5,
    )  # fmt: skip
    return load(model=kind(config).eval(), tokenizer=tokenizer)


def load(**of_model: Any) -> QuestionAnsweringPipeline:
    return pipeline("question-answering", device=-1, **of_model)  # type: ignore[call-overload]


TOKENIZERS = {"bert": bert_like(), "xlmr": xlmr_like(), "bytes": byte_level()}
PIPELINES = {name: build(tokenizer) for name, tokenizer in TOKENIZERS.items()}
TIGHT: dict[str, Any] = {"max_seq_len": 32, "doc_stride": 8, "max_question_len": 8}


@pytest.fixture(params=PIPELINES)
def answer(request: pytest.FixtureRequest) -> QuestionAnsweringPipeline:
    return PIPELINES[request.param]


@pytest.fixture(scope="module")
def by_token() -> QuestionAnsweringPipeline:
    return build(TOKENIZERS["bert"], ScoresByToken)


def assert_literal(result: dict[str, Any], context: str) -> None:
    assert result["answer"] == context[result["start"] : result["end"]]
    assert result["answer"] == result["answer"].strip()
    assert 0 <= result["score"] <= 1


@pytest.mark.parametrize("script", CONTEXTS)
def test_answers_are_literal_parts_of_the_context(answer: QuestionAnsweringPipeline, script: str) -> None:
    context = CONTEXTS[script]
    results = answer(question="who?", context=context, top_k=30, **TIGHT)
    assert len({(result["start"], result["end"]) for result in results}) == len(results) > 5
    for result in results:
        assert_literal(result, context)
        assert result["answer"]
    assert sorted(results, key=lambda result: -result["score"]) == results


@settings(max_examples=20)
@given(question=st.text(min_size=1, max_size=20), context=st.text(min_size=1, max_size=60))
def test_any_text_has_an_answer_and_a_literal_one(question: str, context: str) -> None:
    for answer in PIPELINES.values():
        assert_literal(answer(question=question, context=context, **TIGHT), context)


def reference(
    answer: QuestionAnsweringPipeline,
    question: str,
    context: str,
    max_answer_len: int,
    impossible: bool,
    **windows: int,
) -> list[dict[str, Any]]:
    """All answers, best first: all pairs of tokens, one after the other, and softmaxes over all windows."""
    encoded = answer.tokenizer(
        question, context, truncation="only_second", return_overflowing_tokens=True, return_offsets_mapping=True,
        **windows,
    )  # fmt: skip
    pairs: dict[tuple[int, int], float] = {}
    nulls, start_weights, end_weights = [], 0.0, 0.0
    for w, ids in enumerate(encoded["input_ids"]):
        inputs = {name: torch.tensor([encoded[name][w]]) for name in answer.tokenizer.model_input_names}
        output = answer.model(**inputs)
        start, end = output.start_logits[0].tolist(), output.end_logits[0].tolist()
        inside = [i for i, sequence in enumerate(encoded.sequence_ids(w)) if sequence == 1]
        start_weights += sum(math.exp(start[i]) for i in [0, *inside])
        end_weights += sum(math.exp(end[i]) for i in [0, *inside])
        nulls.append(math.exp(start[0] + end[0]))
        offsets = [visible(context, *encoded["offset_mapping"][w][i]) for i in range(len(ids))]
        for i in inside:
            for j in inside:
                place = offsets[i][0], offsets[j][1]
                if i <= j < i + max_answer_len and place[0] < place[1]:
                    pairs[place] = max(pairs.get(place, 0.0), math.exp(start[i] + end[j]))
    if impossible:
        pairs[0, 0] = min(nulls)
    ranked = sorted(pairs.items(), key=lambda item: -item[1])
    return [
        {"score": weight / start_weights / end_weights, "start": a, "end": b, "answer": context[a:b]}
        for (a, b), weight in ranked
    ]


def visible(context: str, start: int, end: int) -> tuple[int, int]:
    """The place without whitespace before it and behind it."""
    while start < len(context) and context[start].isspace():
        start += 1
    while end > 0 and context[end - 1].isspace():
        end -= 1
    return start, end


@pytest.mark.parametrize(
    ("script", "length", "stride"),
    [("Arabic", 96, 0), ("Hindi", 32, 8), ("emoji", 20, 5), ("Chinese", 20, 5), ("space", 20, 0)],
)
def test_several_answers_are_the_best_of_all_pairs(
    answer: QuestionAnsweringPipeline, script: str, length: int, stride: int
) -> None:
    context = CONTEXTS[script]
    expected = reference(answer, "who?", context, 5, impossible=True, max_length=length, stride=stride)
    results = answer(
        question="who?", context=context, top_k=12, max_answer_len=5, handle_impossible_answer=True,
        align_to_words=False, max_seq_len=length, doc_stride=stride,
    )  # fmt: skip
    assert [result["score"] for result in results] == pytest.approx(
        [each["score"] for each in expected[:12]], rel=1e-4
    )
    scores = {(each["start"], each["end"]): each["score"] for each in expected}
    for result in results:
        assert_literal(result, context)
        assert result["score"] == pytest.approx(scores[result["start"], result["end"]], rel=1e-4)
    best = answer(
        question="who?", context=context, max_answer_len=5, handle_impossible_answer=True, align_to_words=False,
        max_seq_len=length, doc_stride=stride,
    )  # fmt: skip
    assert best == results[0]


@pytest.mark.parametrize(("length", "stride"), [(20, 7), (33, 13), (90, 10)])
@pytest.mark.parametrize("words_before", range(0, 28, 4))
def test_the_strongest_span_wins_whatever_the_windows(
    by_token: QuestionAnsweringPipeline, words_before: int, length: int, stride: int
) -> None:
    # Neighbouring windows share at least as many tokens as the span has.
    ids = by_token.tokenizer.convert_tokens_to_ids
    by_token.model.set({ids("z"): 9.0}, {ids("##2"): 9.0})
    context = "on " * words_before + "Zürich2 in the years that came, won again"
    result = by_token(question="in?", context=context, max_seq_len=length, doc_stride=stride)
    assert result["answer"] == "Zürich2"


def test_a_window_that_is_sure_of_itself_does_not_beat_a_stronger_span(by_token: QuestionAnsweringPipeline) -> None:
    # In the last, short window nothing competes with its best token, but elsewhere a token scores higher.
    ids = by_token.tokenizer.convert_tokens_to_ids
    by_token.model.set({ids("w"): 4.0, ids("z"): 5.0}, {ids("w"): 4.0, ids("z"): 5.0})
    by_token.model.by_id[:, ids("y")] = 4.9
    context = "z y y y y y y y y y y y y w"
    result = by_token(question="o", context=context, max_seq_len=16, doc_stride=0, max_answer_len=1)
    assert result["answer"] == "z"


def test_no_answer_is_as_likely_as_the_window_that_believes_in_it_least(by_token: QuestionAnsweringPipeline) -> None:
    ids = by_token.tokenizer.convert_tokens_to_ids
    by_token.model.set({ids("[CLS]"): 8.0}, {ids("[CLS]"): 8.0})
    result = by_token(question="who?", context="in it", handle_impossible_answer=True)
    share = math.exp(8) / (math.exp(8) + 4)
    assert result == {"score": pytest.approx(share**2), "start": 0, "end": 0, "answer": ""}
    assert by_token(question="who?", context="in it")["answer"]
    listed = by_token(question="who?", context="in it", handle_impossible_answer=True, top_k=3)
    assert listed[0]["answer"] == ""
    assert sum(each["answer"] == "" for each in listed) == 1


def test_answers_are_widened_to_words_where_words_have_spaces(by_token: QuestionAnsweringPipeline) -> None:
    ids = by_token.tokenizer.convert_tokens_to_ids
    by_token.model.set({ids("##r"): 5.0}, {ids("##r"): 5.0})
    assert by_token(question="in?", context="won in Zürich (2)")["answer"] == "Zürich"
    assert by_token(question="in?", context="won in Zürich (2)", align_to_words=False)["answer"] == "r"


def test_a_sentence_without_spaces_is_no_word() -> None:
    answer = build(TOKENIZERS["xlmr"], ScoresByToken)
    answer.model.set(
        {answer.tokenizer.convert_tokens_to_ids("首"): 5.0}, {answer.tokenizer.convert_tokens_to_ids("都"): 5.0}
    )
    assert answer(question="?", context=CONTEXTS["Chinese"])["answer"] == "首都"


def test_a_word_that_two_windows_share_is_whole(by_token: QuestionAnsweringPipeline) -> None:
    ids = by_token.tokenizer.convert_tokens_to_ids
    by_token.model.set({ids("z"): 5.0}, {ids("z"): 5.0})
    for length in range(9, 20):
        result = by_token(question="in", context="won in Zürich again", max_seq_len=length, doc_stride=0)
        assert result["answer"] == "Zürich"


@pytest.mark.parametrize("side", ["right", "left"])
def test_the_batch_size_changes_nothing(side: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = build(TOKENIZERS["bert"])
    monkeypatch.setattr(answer.tokenizer, "padding_side", side)
    # Padding on the left moves BERT's positions.
    torch.nn.init.zeros_(answer.model.bert.embeddings.position_embeddings.weight)
    examples = [{"question": "who?"[:n], "context": text} for n, text in enumerate(CONTEXTS.values(), 1)]
    settings: dict[str, Any] = {"top_k": 4, "handle_impossible_answer": True, **TIGHT}
    one, four = answer(examples, batch_size=1, **settings), answer(examples, batch_size=4, **settings)
    for first, second in zip(one, four, strict=True):
        assert [each["score"] for each in first] == pytest.approx([each["score"] for each in second], rel=1e-4)
        assert [each["answer"] for each in first] == [each["answer"] for each in second]


def test_inputs_of_every_kind_give_the_same_answers() -> None:
    answer, contexts = PIPELINES["bert"], list(CONTEXTS.values())[:3]
    examples = [{"question": "who?", "context": context} for context in contexts]
    single = [answer(example) for example in examples]
    assert answer(question="who?", context=contexts[0]) == single[0]
    assert answer(question="who?", context=contexts) == single
    assert answer(question=["who?"] * len(contexts), context=contexts) == single
    assert answer(examples) == answer(tuple(examples)) == single
    assert list(answer(example for example in examples)) == single
    assert list(answer(Dataset.from_list(examples))) == single
    assert answer(examples[:1]) == single[:1]
    assert answer(question=["who?", "in?"], context=contexts[0])[0] == single[0]
    assert answer([]) == []


def test_calls_as_in_transformers_4() -> None:
    answer, contexts = PIPELINES["bert"], list(CONTEXTS.values())[:2]
    examples = [{"question": "who?", "context": context} for context in contexts]
    single = [answer(example) for example in examples]
    assert answer("who?", contexts[0]) == answer(data=examples[0]) == single[0]
    assert answer(*examples) == answer(data=examples) == single
    assert answer("who?", contexts[0], topk=3) == answer("who?", contexts[0], top_k=3)
    with pytest.raises(InputError, match=r"'context' is missing or empty, or no text \(7\)"):
        answer("who?", 7)


def test_a_pipeline_without_a_model_is_refused() -> None:
    with pytest.raises(InputError, match=r'has no model of its own. Name one: model="out"'):
        pipeline("question-answering")


def test_a_model_of_another_kind_is_refused() -> None:
    """Its head for answers would be a new one."""
    model = copy.deepcopy(PIPELINES["bert"].model)
    model.config.architectures = ["BertForSequenceClassification"]
    with pytest.raises(InputError, match="is a BertForSequenceClassification, whose answers would be random"):
        QuestionAnsweringPipeline(model=model, tokenizer=TOKENIZERS["bert"])


def test_a_context_of_spaces_has_no_answer(answer: QuestionAnsweringPipeline) -> None:
    nothing = {"score": 0.0, "start": 0, "end": 0, "answer": ""}
    assert answer(question="who?", context="  \n ") == nothing
    assert answer(question="who?", context="  \n ", top_k=2) == [nothing]


def test_a_long_question_is_cut(by_token: QuestionAnsweringPipeline) -> None:
    by_token.model.set({}, {})
    long = by_token(question="in " * 90, context="won", max_question_len=3)
    assert long == by_token(question="in i", context="won")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"question": "who?"}, "Missing context"),
        ({"context": "it"}, "Missing question"),
        ({"question": "", "context": "it"}, "'question' is missing or empty"),
        ({"question": "who?", "context": 7}, "context=7: give a text, or a list of texts"),
        ({"question": "who?", "context": {"text": "it"}}, "context={'text': 'it'}: give a text"),
        ({"inputs": {"question": "who?", "context": ["it"]}}, r"'context' is .* no text \(\['it'\]\)"),
        ({"inputs": {"question": "a", "context": "b"}, "data": {"question": "a", "context": "b"}}, "data= is another"),
        ({"question": "a", "context": "b", "topk": 2, "top_k": 3}, "top_k and topk mean the same"),
        ({"question": "who?", "context": ""}, "'context' is missing or empty"),
        ({"inputs": [{"question": "who?"}]}, "'context' is missing or empty"),
        ({"inputs": ["who?"]}, "'question' is missing or empty"),
        ({"inputs": {"question": "a", "context": "b"}, "question": "who?"}, "not both"),
        ({"question": ["a", "b"], "context": ["c"]}, "2 questions but 1 contexts"),
        ({"question": "a", "context": "b", "top_k": 0}, "top_k=0"),
        ({"question": "a", "context": "b", "max_answer_len": 0}, "max_answer_len=0"),
        ({"question": "a", "context": "b", "max_seq_len": 20, "doc_stride": 18}, "doc_stride=18 .*would not advance"),
        ({"question": "hinein", "context": "b", "max_seq_len": 9}, "max_seq_len=9 leaves no room"),
    ],
)
def test_what_cannot_be_answered_is_refused(
    by_token: QuestionAnsweringPipeline, arguments: dict[str, Any], message: str
) -> None:
    by_token.model.set({}, {})
    with pytest.raises(InputError, match=message):
        by_token(**arguments)


def test_a_tokenizer_without_offsets_is_refused() -> None:
    slow = TOKENIZERS["bert"].__class__(tokenizer_object=TOKENIZERS["bert"].backend_tokenizer)
    slow.__class__ = type("SlowTokenizer", (PreTrainedTokenizerFast,), {"is_fast": False})
    with pytest.raises(InputError, match=r"fast tokenizer.*SlowTokenizer"):
        build(slow)


def test_without_cls_the_first_token_stands_for_no_answer() -> None:
    tokens = Tokenizer.from_str(TOKENIZERS["bert"].backend_tokenizer.to_str())
    tokens.post_processor = processors.TemplateProcessing(single="$A", pair="$A $B:1", special_tokens=[])
    answer = build(PreTrainedTokenizerFast(tokenizer_object=tokens, pad_token="[PAD]"), ScoresByToken)
    answer.model.set({answer.tokenizer.convert_tokens_to_ids("w"): 8.0}, {})
    result = answer(question="who?", context="in it", handle_impossible_answer=True)
    weight = math.exp(8)
    assert result == {"score": pytest.approx(weight / (weight + 4) / 5), "start": 0, "end": 0, "answer": ""}


def test_a_saved_folder_answers_the_same_and_holds_no_code(tmp_path: Path) -> None:
    answer = PIPELINES["bert"]
    answer.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.py"))
    assert "custom_pipelines" not in json.loads((tmp_path / "config.json").read_text())
    loaded = load(model=str(tmp_path))
    assert isinstance(loaded, QuestionAnsweringPipeline)
    example = {"question": "who?", "context": CONTEXTS["Arabic"]}
    assert loaded(example) == answer(example)


def test_a_pipeline_that_transformers_has_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"impl": object, "pt": ()}
    monkeypatch.setitem(pipelines.PIPELINE_REGISTRY.supported_tasks, "question-answering", own)
    register_pipeline()
    assert pipelines.PIPELINE_REGISTRY.supported_tasks["question-answering"] is own
