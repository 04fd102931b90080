"""`pipeline("question-answering")`, which transformers 4 had and transformers 5 dropped."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import GeneratorType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset
from transformers import AutoModelForQuestionAnswering, BatchEncoding, PreTrainedTokenizerBase, pipelines
from transformers.models.auto.modeling_auto import MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES
from transformers.pipelines import base

from ..data.text import shown
from ..errors import InputError
from ..problems.answer_spans import Floats, Integers, Spans, best_spans, null_spans
from ..problems.context_windows import OUTSIDE, Windows

TASK = "question-answering"

# What a tokenizer takes as a word may hold spaces, or be a sentence in Thai, Lao, Burmese, Khmer, kana or Han.
_NOT_A_WORD = re.compile(r"\S\s+\S|[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")

# As `Any`: transformers types a chunk pipeline's methods as those of a pipeline without chunks.
ChunkPipeline: Any = base.ChunkPipeline


def register_pipeline() -> None:
    """Make `transformers.pipeline("question-answering", ...)` build ours, unless transformers has one of its own."""
    registry = pipelines.PIPELINE_REGISTRY
    if TASK in registry.get_supported_tasks():
        return
    registry.register_pipeline(TASK, QuestionAnsweringPipeline, pt_model=AutoModelForQuestionAnswering, type="text")
    registry.supported_tasks[TASK]["default"] = _NoDefault()
    # With this attribute `save_pretrained` would put our code into the folder, for `trust_remote_code` to run.
    del QuestionAnsweringPipeline._registered_impl
    # What stands here is refused before the registry is asked.
    getattr(pipelines, "REMOVED_TASKS", {}).pop(TASK, None)


class _NoDefault(dict[str, Any]):
    """Stands where transformers looks for the model to take where none is named."""

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: str) -> Any:
        raise InputError(f'pipeline("{TASK}") has no model of its own. Name one: model="out", a folder of run_qa.py.')


@dataclass(frozen=True)
class Window:
    """What finds the answers in the logits of a window.

    Args:
        context: the whole context.
        offsets: first character and the one after the last of what each token stands for, (length, 2); -1 outside the
            context.
        null_position: the token whose logits stand for "no answer".
    """

    context: str
    offsets: Integers
    null_position: int


class QuestionAnsweringPipeline(ChunkPipeline):
    """Finds the answers to questions in their contexts, with any `AutoModelForQuestionAnswering`.

    `pipeline("question-answering", model=folder)` builds one once `hf_seqreptile` is imported. Call it with
    `question=` and `context=`, each a string or a list of strings; with a dict `{"question", "context"}`; or with a
    list, a dataset or a generator of such dicts, which may also be called `data=`; or, as in transformers 4, with a
    question and a context, or several dicts, one after the other. One question gives one result, a list gives a list,
    anything else an iterator. A result is a dict, or a list of dicts, best first, where `top_k` is above 1:

    - `answer`: literally `context[start:end]`, without whitespace at its ends; empty for "no answer";
    - `start`, `end`: the answer's first character and the one after its last; both 0 for "no answer";
    - `score`: the probability that the answer starts where it does, times the probability that it ends where it does.
      These are softmaxes of the start and the end logits over the tokens of the context and CLS (the first token
      where there is no CLS, as in training), in all windows of the context together, so that windows compare.
      (transformers 4 took each window's apart; where the context fits into one window, both are the same.)

    A context without any visible character has no answer: one of score 0.

    Settings of the constructor or of a call:
        top_k: answers a question (`topk` in older code), no two with the same `start` and `end`. Default: 1.
        max_answer_len: tokens of an answer. Default: 15.
        handle_impossible_answer: let "no answer" compete, with its lowest score in any window. Default: no.
        max_seq_len: tokens of a window, question included, if the model takes so many. Default: 384.
        doc_stride: tokens that neighbouring windows of a long context share. Default: 128, or half of what a window
            has room for.
        max_question_len: tokens after which a question is cut. Default: 64.
        align_to_words: widen answers to whole words, as the tokenizer splits text into words before subwords; not in
            scripts that are written without spaces. Default: yes.
        batch_size: windows that go through the model at once. Default: 1.

    Raises:
        InputError: a slow tokenizer, a setting out of its range, or a question or context that is missing or empty.
    """

    default_input_names = "question,context"
    _load_tokenizer = True
    _load_processor = False
    _load_image_processor = False
    _load_feature_extractor = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if self.tokenizer is None or not self.tokenizer.is_fast:
            raise InputError(
                f"The {TASK} pipeline needs a fast tokenizer, which knows the characters of each token, but got "
                f"{type(self.tokenizer).__name__}. Pass tokenizer=AutoTokenizer.from_pretrained(...) of a model that "
                f"has a tokenizer.json."
            )
        self.check_model_type(MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES)
        for architecture in self.model.config.architectures or ():
            if architecture.endswith(_OTHER_HEADS):
                raise InputError(
                    f"The {TASK} pipeline needs a model that answers questions, but "
                    f"{self.model.name_or_path or 'this'} is a {architecture}, whose answers "
                    f"would be random. Give a model that run_qa.py trained."
                )

    def __call__(
        self,
        inputs: Any = None,
        *more: Any,
        data: Any = None,
        question: str | list[str] | None = None,
        context: str | list[str] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Answer one or several questions; see the class for what goes in and comes out."""
        if (topk := kwargs.pop("topk", None)) is not None and kwargs.setdefault("top_k", topk) != topk:
            raise InputError("top_k and topk mean the same. Leave one of them out.")
        if data is not None:
            if inputs is not None:
                raise InputError("Give the examples once: data= is another name for them.")
            inputs = data
        if more:
            # As in transformers 4: a question and its context, or several examples.
            is_pair = len(more) == 1 and isinstance(inputs, str)
            inputs = {"question": inputs, "context": more[0]} if is_pair else [inputs, *more]
        if inputs is None:
            inputs = _pair(question, context)
        elif question is not None or context is not None:
            raise InputError("Give either examples or question= and context=, not both.")
        if isinstance(inputs, tuple):
            inputs = list(inputs)
        if inputs == []:
            return []
        if not isinstance(inputs, Mapping | list | Dataset | GeneratorType):
            # The base class takes what it does not know, such as a `datasets.Dataset`, for one example.
            inputs = (example for example in inputs)
        return super().__call__(inputs, **kwargs)

    def _sanitize_parameters(self, **settings: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        for name, lowest in _LOWEST.items():
            if (value := settings.get(name)) is not None and not (isinstance(value, int) and value >= lowest):
                raise InputError(f"{name}={value!r}: give a whole number of at least {lowest}.")
        given = {name: value for name, value in settings.items() if value is not None}
        if unknown := sorted(given.keys() - {*_PREPROCESSING, *_POSTPROCESSING}):
            raise TypeError(f"The {TASK} pipeline has no setting {', '.join(unknown)}.")
        preprocess, postprocess = (
            {name: given[name] for name in names if name in given} for names in (_PREPROCESSING, _POSTPROCESSING)
        )
        return preprocess, {}, postprocess

    def preprocess(
        self,
        example: Mapping[str, str],
        max_seq_len: int = 384,
        doc_stride: int | None = None,
        max_question_len: int = 64,
        align_to_words: bool = True,
    ) -> Iterator[dict[str, Any]]:
        """The windows of one example: the model's inputs, (1, length) each, and the `Window`."""
        question, context = (_text(example, name) for name in ("question", "context"))
        question = _cut(question, max_question_len, self.tokenizer)
        windows = _windows(self.tokenizer, question, max_seq_len, doc_stride)
        encoding = windows.encode([question], [context])
        count = len(encoding["input_ids"])
        offsets = windows.offsets(encoding, [context])
        if align_to_words:
            offsets = _widened(offsets, encoding, context)
        names = [name for name in self.tokenizer.model_input_names if name in encoding]
        for i, (ids, own) in enumerate(zip(encoding["input_ids"], offsets, strict=True)):
            inputs = {name: torch.tensor([encoding[name][i]]) for name in names}
            yield {**inputs, "window": Window(context, own, windows.null_position(ids)), "is_last": i == count - 1}

    def _forward(self, model_inputs: dict[str, Any]) -> dict[str, Any]:
        rest = {name: model_inputs.pop(name) for name in ("window", "is_last")}
        output = self.model(**model_inputs, return_dict=True)
        # The base class reads the batch's size off the first value.
        return {"start_logits": output.start_logits, "end_logits": output.end_logits, **rest}

    def postprocess(
        self,
        outputs: list[dict[str, Any]],
        top_k: int = 1,
        max_answer_len: int = 15,
        handle_impossible_answer: bool = False,
    ) -> dict[str, Any] | list[dict[str, Any]]:
        """The answers of one example, from all of its windows."""
        windows = [output["window"] for output in outputs]
        start_logits, end_logits = (
            _stacked([self._unpadded(output[name], output["window"]) for output in outputs], -np.inf)
            for name in ("start_logits", "end_logits")
        )
        starts, ends = (_stacked([window.offsets[:, side] for window in windows], OUTSIDE) for side in (0, 1))
        nulls = np.array([window.null_position for window in windows])
        examples = np.zeros(len(windows), dtype=np.int64)
        # All starts pair with all ends; times top_k because several pairs become one answer when widened to words.
        n_best = starts.shape[1] * top_k
        spans = best_spans(start_logits, end_logits, starts, ends, examples, n_best, max_answer_len)
        found = [spans.take(np.arange(min(top_k, len(spans.starts))))]
        if handle_impossible_answer:
            found.append(null_spans(start_logits, end_logits, nulls, examples))

        counted = starts >= 0
        counted[np.arange(len(windows)), nulls] = True
        total = sum(np.logaddexp.reduce(logits[counted]) for logits in (start_logits, end_logits))
        answers = [answer for each in found for answer in _answers(each, total, windows[0].context)]
        answers.sort(key=lambda answer: -answer["score"])
        answers = answers[:top_k] or [{"score": 0.0, "start": 0, "end": 0, "answer": ""}]
        return answers[0] if top_k == 1 else answers

    def _unpadded(self, logits: torch.Tensor, window: Window) -> Floats:
        """The logits of a window's own tokens, (length,), from (1, length of the longest window in its batch)."""
        length = len(window.offsets)
        own = logits[0, :length] if self.tokenizer.padding_side == "right" else logits[0, -length:]
        return own.float().numpy()


_OTHER_HEADS = ("ForSequenceClassification", "ForTokenClassification", "ForMultipleChoice")
_LOWEST = {"top_k": 1, "max_answer_len": 1, "max_seq_len": 1, "doc_stride": 0, "max_question_len": 1}
_PREPROCESSING = ("max_seq_len", "doc_stride", "max_question_len", "align_to_words")
_POSTPROCESSING = ("top_k", "max_answer_len", "handle_impossible_answer")


def _pair(question: str | list[str] | None, context: str | list[str] | None) -> Any:
    """One example, or a list of them; a single string goes with each of the other's list."""
    if question is None or context is None:
        raise InputError(f"Missing {'question' if question is None else 'context'}: give question= and context=.")
    for name, value in (("question", question), ("context", context)):
        if not isinstance(value, str | list):
            raise InputError(f"{name}={shown(value)}: give a text, or a list of texts.")
    if isinstance(question, str):
        if isinstance(context, str):
            return {"question": question, "context": context}
        question = [question] * len(context)
    if isinstance(context, str):
        context = [context] * len(question)
    if len(question) != len(context):
        raise InputError(
            f"{len(question)} questions but {len(context)} contexts: give as many of both, or one string of either."
        )
    return [{"question": q, "context": c} for q, c in zip(question, context, strict=True)]


def _text(example: Mapping[str, str], name: str) -> str:
    text = example.get(name) if isinstance(example, Mapping) else None
    if not isinstance(text, str) or not text:
        found = f" ({shown(text)})" if text else ""
        raise InputError(
            f"An example's {name!r} is missing or empty, or no text{found}. Give a dict with a question and a context."
        )
    return text


def _cut(question: str, max_length: int, tokenizer: PreTrainedTokenizerBase) -> str:
    """The first `max_length` tokens of a question."""
    settings: dict[str, Any] = {"truncation": True, "max_length": max_length, "return_offsets_mapping": True}
    kept = tokenizer(question, add_special_tokens=False, **settings)["offset_mapping"]
    return question[: kept[-1][1]] if kept else question


def _windows(tokenizer: PreTrainedTokenizerBase, question: str, max_seq_len: int, doc_stride: int | None) -> Windows:
    max_seq_len = min(max_seq_len, tokenizer.model_max_length)
    windows = Windows(tokenizer, max_seq_len, stride=0)
    (room,) = windows.rooms([question])
    if room < 1:
        raise InputError(
            f"max_seq_len={max_seq_len} leaves no room for a context beside the {windows.lengths([question])[0]} "
            f"tokens of the question {question[:80]!r}. Give a higher max_seq_len (the model takes "
            f"{tokenizer.model_max_length}) or a lower max_question_len."
        )
    if doc_stride is None:
        doc_stride = min(128, room // 2)
    if doc_stride >= room:
        raise InputError(
            f"doc_stride={doc_stride} is not below the {room} tokens of context that max_seq_len={max_seq_len} "
            f"leaves room for, so that windows would not advance. Give a lower doc_stride."
        )
    return replace(windows, stride=doc_stride)


def _widened(offsets: list[Integers], encoding: BatchEncoding, context: str) -> list[Integers]:
    """Each token's word in place of the token, from all windows of a context, since two may share a word."""
    starts, ends = np.concatenate(offsets).T
    words = np.array([-1 if word is None else word for i in range(len(offsets)) for word in encoding.word_ids(i)])
    known = (words >= 0) & (starts != OUTSIDE)
    # The last place is that of -1.
    firsts, lasts = np.full(words.max() + 2, len(context)), np.zeros(words.max() + 2, dtype=np.int64)
    np.minimum.at(firsts, words[known], starts[known])
    np.maximum.at(lasts, words[known], ends[known])
    whole = np.array([_NOT_A_WORD.search(context, *place) is None for place in zip(firsts, lasts, strict=True)])
    widen = known & whole[words]
    wide = np.where(widen[:, None], np.stack([firsts[words], lasts[words]], axis=1), np.concatenate(offsets))
    return np.split(wide, np.cumsum([len(own) for own in offsets])[:-1])


def _stacked(rows: list[NDArray], fill: float) -> NDArray:
    """Rows of unequal length as one array, (rows, longest)."""
    stacked = np.full((len(rows), max(map(len, rows))), fill, dtype=rows[0].dtype)
    for i, row in enumerate(rows):
        stacked[i, : len(row)] = row
    return stacked


def _answers(spans: Spans, total: float, context: str) -> Iterator[dict[str, Any]]:
    """Spans as the pipeline's user sees them; `total` is the sum of the logarithms of both softmaxes' denominators."""
    for start, end, score in zip(spans.starts.tolist(), spans.ends.tolist(), spans.scores.tolist(), strict=True):
        yield {"score": float(np.exp(score - total)), "start": start, "end": end, "answer": context[start:end]}
