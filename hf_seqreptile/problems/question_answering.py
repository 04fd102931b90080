"""Extractive question answering: the answer is a piece of the context."""

import logging
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from transformers import AutoModelForQuestionAnswering, BatchEncoding, EvalPrediction, PreTrainedTokenizerBase
from transformers.trainer_utils import PredictionOutput

from ..data.arguments import DataArguments
from ..errors import InputError
from ..json_text import encode_text
from ..metrics import MLQAMetric, SquadMetric, SquadV2Metric
from ..metrics.example_sums import ExampleSums, of_means
from ..scores import Metric
from .answer_checks import QuestionRows, check_columns
from .answer_features import (
    ANSWERS,
    EVALUATION_COLUMNS,
    TRAINING_COLUMNS,
    evaluation_features,
    feature_schema,
    training_features,
)
from .answer_loss import answer_loss
from .answer_predictions import AnswerPredictions, predict_answers
from .answer_spans import Floats
from .context_windows import Windows
from .problem import Problem, Splits, Tasks

logger = logging.getLogger(__name__)

TEXTS = ("question", "context")


@dataclass
class QuestionAnsweringArguments(DataArguments):
    """Data arguments of `run_qa.py`; a size or option that makes no sense is an InputError."""

    problem: ClassVar[str] = "qa"
    id_names_task: ClassVar[bool] = True

    max_seq_length: int = field(
        default=384, metadata={"help": "Tokens of question and context; longer contexts are cut into several windows."}
    )
    pad_to_max_length: bool = field(
        default=False, metadata={"help": "Pad everything to the maximum, not to the longest of its batch."}
    )
    doc_stride: int = field(default=128, metadata={"help": "Tokens that two windows of a context share."})
    n_best_size: int = field(default=20, metadata={"help": "Candidates to report for each question."})
    max_answer_length: int = field(default=30, metadata={"help": "Tokens that an answer may have."})
    version_2_with_negative: bool = field(default=False, metadata={"help": "Questions may have no answer."})
    null_score_diff_threshold: float = field(
        default=0.0,
        metadata={"help": "No answer is given if its score is more than this above that of the best answer."},
    )
    misplaced_answers: str = field(
        default="refuse",
        metadata={
            "help": "What to do with training questions of which an answer is not where answer_start says: `refuse` "
            "them, or `drop` them. Evaluation goes by the answers' texts alone.",
            "choices": ["refuse", "drop"],
        },
    )
    answer_normalization: str | None = field(
        default=None,
        metadata={
            "help": "Whose rules tell whether answers are equal: `squad`'s, or `mlqa`'s, which go by the task's "
            "language. Default: mlqa for the Hub's mlqa and xquad, else squad.",
            "choices": ["squad", "mlqa"],
        },
    )

    @property
    def columns_read(self) -> frozenset[str]:
        """As in the parent."""
        return frozenset({"id", *TEXTS, "answers", self.task_column or "id"})

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, minimum in (("max_seq_length", 1), ("doc_stride", 0), ("n_best_size", 1), ("max_answer_length", 1)):
            if getattr(self, name) < minimum:
                raise InputError(f"--{name} {getattr(self, name)} must be at least {minimum}.")
        if self.misplaced_answers not in ("refuse", "drop"):
            raise InputError(f"--misplaced_answers {self.misplaced_answers} is neither refuse nor drop.")
        if self.answer_normalization not in (None, "squad", "mlqa"):
            raise InputError(f"--answer_normalization {self.answer_normalization} is neither squad nor mlqa.")
        if self.answer_normalization == "mlqa" and self.version_2_with_negative:
            raise InputError(
                "--answer_normalization mlqa has no scores for --version_2_with_negative. Drop one of them."
            )


class QuestionAnswering(Problem):
    """Turns questions and contexts into features, and predictions back into answers.

    The raw columns are `question`, `context`, `answers` with the lists `text` and `answer_start` (characters) or one
    of each, and `id`; without it, an example goes by its row number, from 1.

    Args:
        tasks: raw datasets by split and task.
        args: sizes and options.

    Raises:
        InputError: a column that is missing or holds something else.
    """

    arguments = QuestionAnsweringArguments
    auto_model = AutoModelForQuestionAnswering
    pipeline_tag = "question-answering"
    metric = Metric("f1", perfect=100)
    has_evaluation_loss = False
    without_effect: Mapping[str, str] = {"label_smoothing_factor": "the loss of starts and ends smooths no labels"}

    def __init__(
        self,
        tasks: Splits,
        args: QuestionAnsweringArguments,
        args_of_tasks: Mapping[str, QuestionAnsweringArguments] | None = None,
    ) -> None:
        super().__init__(tasks, args, args_of_tasks)
        self._last: tuple[Any, AnswerPredictions] | None = None
        for split, of_split in tasks.items():
            for task, dataset in of_split.items():
                check_columns(dataset, task, split)

    def text_columns(self, task: str, dataset: Dataset) -> tuple[str, ...]:
        """`question` and `context`."""
        return TEXTS

    def encode(self, tasks: Tasks, tokenizer: PreTrainedTokenizerBase, split: str) -> dict[str, Dataset]:
        """Features of each task; a context that is too long gives several, which overlap by `doc_stride` tokens.

        All have `input_ids`, `attention_mask`, `token_type_ids` where the tokenizer gives them, and
        `overflow_to_sample_mapping`, the row of their example. For training there are also `start_positions` and
        `end_positions`, the first and last token of the first answer; both are CLS where it is not in the window. The
        other splits have what [`predict_answers`] and the metrics need: `offset_starts` and `offset_ends`, each
        token's characters in the context (-1 outside it), `null_position`, `task`, `id`, `context` and `answers`.

        Raises:
            InputError: an empty value, in training an answer that is not in its place, or a question that is too long;
                names task, split, row and id.
        """
        windows = self._windows(tokenizer)
        # The tokenizer's first call with new settings changes its state, and with it the cache's key.
        windows.encode([""], [""])
        encoded = {}
        misplaced, unanswered = {}, {}
        for task, whole in tasks.items():
            dataset = whole
            rows = QuestionRows.of(dataset, task, split, self.args.version_2_with_negative)
            if number := rows.unanswered(dataset):
                unanswered[task] = number
                self.count(split, task, "unanswered_questions", number)
            if split != "train" or self.args.misplaced_answers == "drop":
                misplaced[task] = rows.misplaced(dataset)
            if split == "train" and misplaced.get(task):
                dataset, rows = _without(dataset, misplaced[task], rows)
            columns = TRAINING_COLUMNS if split == "train" else EVALUATION_COLUMNS
            if rows.have_answers and split != "train":
                columns = columns | {"answers": ANSWERS}
            schema = feature_schema(tokenizer, columns)
            encoded[task] = self.map_rows(
                dataset,
                _encode_rows,
                desc=f"Tokenizing {task} ({split})",
                batch_size=200,
                fn_kwargs={
                    "make": training_features if split == "train" else evaluation_features,
                    "check": rows,
                    "windows": windows,
                    "schema": schema.arrow_schema,
                },
                features=schema,
            )
        every = sum(map(len, tasks.values()))
        _warn_of_misplaced(misplaced, split, every)
        _warn_of_unanswered(unanswered, split, every)
        return encoded

    def collator(self, tokenizer: PreTrainedTokenizerBase) -> Callable[[list[Any]], Any]:
        """Pads features to the longest of a batch, on the right, so that tokens keep their places."""
        return partial(_padded_batch, tokenizer)

    def scoring(self) -> dict[str, Callable]:
        """The trainer's `compute_dataset_metrics`, its loss, and what leaves the model's other outputs out."""
        return {
            "compute_batch_loss": answer_loss,
            "compute_dataset_metrics": self.compute_metrics,
            "preprocess_logits_for_metrics": start_and_end_logits,
        }

    def predict_answers(self, predictions: tuple[Floats, Floats], dataset: Dataset) -> AnswerPredictions:
        """The answers that logits mean; see [`predict_answers`]."""
        if self._last is None or self._last[0] is not predictions:
            answers = predict_answers(
                predictions,
                dataset,
                may_be_impossible=self.args.version_2_with_negative,
                null_threshold=self.args.null_score_diff_threshold,
                n_best=self.args.n_best_size,
                max_answer_length=self.args.max_answer_length,
            )
            # Metrics and files need the same answers, one after the other.
            self._last = (predictions, answers)
        return self._last[1]

    @property
    def metric_names(self) -> Collection[str]:
        """As in the parent."""
        return SquadV2Metric.score_names if self.args.version_2_with_negative else {"exact_match", "f1"}

    def compute_metrics(self, prediction: EvalPrediction, dataset: Dataset) -> dict[str, float]:
        """The official script's scores of one task in percent; none where its answers are not known.

        `exact_match` and `f1`; with `version_2_with_negative`, all those of [`SquadV2Metric`], whose best thresholds
        are values of `null_score_diff_threshold`.

        Args:
            prediction: its `predictions` are the logits of starts and ends, each (features, length).
            dataset: the features of one task, row by row as the logits.
        """
        if "answers" not in dataset.column_names:
            return {}
        answers = self.predict_answers(prediction.predictions, dataset)  # type: ignore[arg-type]
        references = _references(answers, dataset)
        if answers.nulls is not None:
            odds, threshold = answers.null_odds.tolist(), self.args.null_score_diff_threshold
            none_answered = min(0.0, math.nextafter(min(odds), -math.inf))
            return SquadV2Metric().score(answers.best_texts, references, odds, threshold, none_answered)
        # Of some questions of the test split the answers may be unknown.
        texts, references = _known(answers.texts, references)
        return self._metric(_task_of(dataset)).score(texts, references)

    def example_sums(self, prediction: PredictionOutput, features: Dataset) -> ExampleSums | None:
        """As in the parent, of F1 and of exact match; a question is an example."""
        name = self.metric.name
        if "answers" not in features.column_names or name not in ("f1", "exact", "exact_match"):
            return None
        answers = self.predict_answers(prediction.predictions, features)  # type: ignore[arg-type]
        metric = SquadV2Metric() if answers.nulls is not None else self._metric(_task_of(features))
        texts, references = answers.texts, _references(answers, features)
        if answers.nulls is None:
            texts, references = _known(texts, references)
        scores = metric.of_questions(texts, references)
        return of_means([f1 if name == "f1" else exact for exact, f1 in scores], name)

    def write_predictions(
        self, folder: Path, stage: str, suffix: str, prediction: PredictionOutput, features: Dataset
    ) -> None:
        """Write one task's answers by id, as JSON named and filled as by Hugging Face's script.

        `{stage}_predictions{suffix}.json` has the text of each answer, `{stage}_nbest_predictions{suffix}.json` the
        candidates with their logits and probability, and with `version_2_with_negative`
        `{stage}_null_odds{suffix}.json` by how much the score of "no answer" is above the best one.
        """
        answers = self.predict_answers(prediction.predictions, features)  # type: ignore[arg-type]
        contents: dict[str, Iterable[str]] = {
            "predictions": map(encode_text, answers.texts),
            "nbest_predictions": answers.candidates_as_json(),
        }
        if answers.nulls is not None:
            contents["null_odds"] = map(encode_text, answers.null_odds.tolist())
        for name, values in contents.items():
            # A question a line: to indent takes the encoder in Python, which is several times as slow.
            lines = (f"{encode_text(question)}: {value}" for question, value in zip(answers.ids, values, strict=True))
            text = "{\n" + ",\n".join(lines) + "\n}\n"
            (folder / f"{stage}_{name}{suffix}.json").write_text(text, encoding="utf-8")

    def _windows(self, tokenizer: PreTrainedTokenizerBase) -> Windows:
        special = tokenizer.num_special_tokens_to_add(pair=True)
        length = self.max_length(tokenizer, special, "question and context", "window", least=2)
        if self.args.doc_stride >= length - special:
            mend = "Lower it, or raise --max_seq_length."
            if length == tokenizer.model_max_length:
                mend = "Lower it: the model takes no more tokens."
            raise InputError(
                f"--doc_stride {self.args.doc_stride} must be smaller than the room for a context: a feature has "
                f"{length} tokens, and {special} of them are the model's own. {mend}"
            )
        return Windows(tokenizer, length, self.args.doc_stride, "max_length" if self.args.pad_to_max_length else False)

    def _metric(self, task: str) -> SquadMetric:
        name = (self.args.eval_dataset or self.args.dataset_name or "").lower()
        rules = self.args.answer_normalization or ("mlqa" if name.endswith(("mlqa", "xquad")) else "squad")
        return MLQAMetric(task) if rules == "mlqa" else SquadMetric()


def _padded_batch(tokenizer: PreTrainedTokenizerBase, features: list[dict[str, Any]]) -> BatchEncoding:
    # With --remove_unused_columns False the trainer leaves the columns in that scores need.
    inputs = {*tokenizer.model_input_names, *TRAINING_COLUMNS}
    rows = [{name: value for name, value in row.items() if name in inputs} for row in features]
    return tokenizer.pad(rows, padding_side="right", return_tensors="pt", verbose=False)


def start_and_end_logits(logits: Any, labels: Any) -> tuple[Any, Any]:
    """The first two outputs of a model; others, as hidden states, are large and of no use here."""
    return logits[0], logits[1]


def _without(dataset: Dataset, misplaced: Sequence[int], rows: QuestionRows) -> tuple[Dataset, QuestionRows]:
    """The questions whose answers are in their places, and what must hold for these."""
    kept = sorted({*range(len(dataset))}.difference(misplaced))
    if not kept:
        raise InputError(
            f"Task {rows.task!r}, train split: no question has its answer where answer_start says, and "
            f"--misplaced_answers drop leaves none. Mend answer_start, which counts characters from 0."
        )
    return dataset.select(kept), replace(rows, numbers=kept)


def _warn_of_unanswered(unanswered: Mapping[str, int], split: str, every: int) -> None:
    if of_tasks := [f"{task} {number:,}" for task, number in unanswered.items()]:
        logger.warning(
            "%s: %s of %s questions have no answer; they are predicted, but not scored: %s. If it means that they "
            "have none, add --version_2_with_negative.", split, f"{sum(unanswered.values()):,}", f"{every:,}",
            ", ".join(of_tasks),
        )  # fmt: skip


def _warn_of_misplaced(misplaced: Mapping[str, Sequence[int]], split: str, every: int) -> None:
    if of_tasks := [f"{task} {len(rows):,}" for task, rows in misplaced.items() if rows]:
        logger.warning(
            "%s: %s of %s questions have an answer that is not where answer_start says; they are %s: %s.", split,
            f"{sum(map(len, misplaced.values())):,}", f"{every:,}",
            "left out" if split == "train" else "scored by its text", ", ".join(of_tasks),
        )  # fmt: skip


def _encode_rows(
    rows: dict[str, list], indices: list[int], make: Callable, check: QuestionRows, windows: Windows, schema: pa.Schema
) -> pa.Table:
    # A table is written as it is; of lists, `datasets` would look at each value first.
    return pa.table(make(check.prepare(rows, indices, windows), indices, windows), schema=schema)


def _references(answers: AnswerPredictions, dataset: Dataset) -> list[list[str]]:
    """The true answers of each question."""
    true = pc.struct_field(dataset.with_format("arrow", columns=["answers"])[:]["answers"], "text")
    return [true[row].as_py() for row in answers.rows.tolist()]


def _known(texts: list[str], references: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """Predictions and true answers of the questions that have some."""
    known = [row for row, answers in enumerate(references) if answers]
    return [texts[row] for row in known], [references[row] for row in known]


def _task_of(dataset: Dataset) -> str:
    return dataset.with_format("arrow", columns=["task"])[:1]["task"][0].as_py()
