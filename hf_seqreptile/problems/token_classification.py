"""Words with one tag each: entities, scored as such, or parts of speech."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import (
    AutoModelForTokenClassification,
    DataCollatorForTokenClassification,
    EvalPrediction,
    PreTrainedTokenizerBase,
)
from transformers.trainer_utils import PredictionOutput

from ..data.tags import OUTSIDE, PREFIX_SCHEMES, entity_spans, position_and_type, rename, to_iob2
from ..errors import InputError
from ..metrics.example_sums import ExampleSums, of_entities, of_macro_f1, of_tag_accuracy
from ..metrics.tags import Tags, entity_scores, tag_accuracy, tag_scores
from ..models.word_tokens import takes_words
from ..scores import Metric
from .label_map import LabelMap, lacking_labels
from .labels import defining_splits, predicted_labels, same_but_for_case
from .problem import IS_CUT, Problem, Splits, Tasks
from .tag_arguments import TokenClassificationArguments, TokenClassificationModelArguments
from .tag_columns import TaggedWords, find_columns
from .tag_features import IGNORED, LOST, TAG_PLACES, TASK, TRUE_TAGS, encode_rows
from .tag_schemes import (
    TaskSchemes,
    common_labels,
    entity_types,
    labels_of_types,
    scheme_of_model,
    types_by_task,
)

logger = logging.getLogger(__name__)


class TokenClassification(Problem):
    """Turns raw tasks into features, and predictions back into tags.

    Whatever scheme the tags are written in, entities are learnt in IOB2, or by their types alone where the training
    data has no prefixes (`io`). Tags that make up no entities (`none`) are learnt as they are.

    Args:
        tasks: raw datasets by split and task. The training tasks define the labels; without any, all others do.
        args: column names and options.

    Raises:
        InputError: columns that are missing or cannot be told, odd tags, tags without names, label sets that do not
            fit together, or labels that differ in case or surrounding spaces alone.
    """

    arguments = TokenClassificationArguments
    model_arguments = TokenClassificationModelArguments
    auto_model = AutoModelForTokenClassification
    pipeline_tag = "token-classification"
    metric = Metric("f1")
    labels: Sequence[str]

    def __init__(
        self,
        tasks: Splits,
        args: TokenClassificationArguments,
        args_of_tasks: Mapping[str, TokenClassificationArguments] | None = None,
    ) -> None:
        super().__init__(tasks, args, args_of_tasks)
        self._padding_side = "right"
        self._trained = frozenset(tasks.get("train", ()))
        # In their order, in which they are told of.
        names = list(dict.fromkeys(task for of_split in tasks.values() for task in of_split))
        self._map = LabelMap.of_tasks(args, self.args_of_tasks, names)
        defining = [
            self._tagged(task, dataset, split)
            for split, of_split in defining_splits(tasks).items()
            for task, dataset in of_split.items()
            if self._columns(task, dataset, may_lack_tags=split == "test")[1] is not None
        ]
        for given in dict.fromkeys(tuple(words.number_names) for words in defining):
            self._check_names(given, [words for words in defining if tuple(words.number_names) == given])
        self._types_in_data = self._count_types(tasks) if self._map else {}
        if self._map and self._trained:
            self._map.check(self._types_in_data)
        found = TaskSchemes(defining)
        self.scheme = found.learnt
        """What the labels are in: `iob2`, `io`, `none`, or that of a model which has labels already."""
        if self.scheme == "none":
            self.metric = Metric("accuracy")
        # A test split may have no tags: the labels are then those of the model.
        # Without training the labels are the model's, and data may lack any of them.
        unite = args.unite_labels or not self._trained
        self.labels = common_labels(found.tags_by_task, self.scheme, unite) if defining else []
        self.notes = [found.described(args.label_by_default)] if defining else []
        if self._map:
            self.card_notes = [self._map.described(self._types_in_data, "words:")]
        if self._trained and args.unite_labels:
            lacking = lacking_labels(types_by_task(found.tags_by_task, self.scheme))
            self.card_notes = [*self.card_notes, *([lacking] if lacking else [])]
        self.notes += self.card_notes

    @property
    def metric_names(self) -> Collection[str]:
        """As in the parent."""
        if self.scheme == "none":
            overall, each = {"accuracy", "macro_f1"}, self.labels
        else:
            overall, each = {"precision", "recall", "f1", "accuracy"}, entity_types(self.labels, self.scheme)
        each = each if self.args.return_entity_level_metrics else ()
        return overall | {f"{name}_{score}" for name in each for score in ("precision", "recall", "f1", "number")}

    @staticmethod
    def _check_names(names: Sequence[str], defining: Sequence[TaggedWords]) -> None:
        if twice := [name for name in names if names.count(name) > 1]:
            raise InputError(f"--label_names: {twice[0]!r} occurs twice. Give each number a name of its own.")
        if names and not any(words.are_unnamed_numbers for words in defining):
            raise InputError("--label_names has no effect here: no task's tags are numbers without names. Remove it.")

    def _count_types(self, tasks: Splits) -> dict[str, dict[str, int]]:
        """How many words of all splits have a tag of each type, by task; 0 of one that has but a name."""
        counts: dict[str, dict[str, int]] = {}
        for split, of_split in tasks.items():
            for task, dataset in of_split.items():
                if self._columns(task, dataset, may_lack_tags=split == "test")[1] is not None:
                    words, own = self._tagged(task, dataset, split), counts.setdefault(task, {})
                    for name, number in [*dict.fromkeys(words.types, 0).items(), *words.count_words().items()]:
                        own[name] = own.get(name, 0) + number
        return counts

    @property
    def label2id(self) -> dict[str, int]:
        """The label ids, as the model's configuration wants them."""
        return {label: i for i, label in enumerate(self.labels)}

    def labels_beside(self, labels: Sequence[str]) -> list[str]:
        """Those of entity types of which the model has another one, such as `I-LOC` where it has `B-LOC`."""
        types = entity_types(self.labels, self.scheme)
        own = scheme_of_model(labels, types)
        if self.scheme == "none" or own not in PREFIX_SCHEMES:
            return []
        known = entity_types(labels, own)
        return [label for label in labels_of_types([t for t in types if t in known], own) if label not in labels]

    def text_columns(self, task: str, dataset: Dataset) -> tuple[str, ...]:
        """The column of words."""
        return self._columns(task, dataset, may_lack_tags=True)[:1]

    def encode(self, tasks: Tasks, tokenizer: PreTrainedTokenizerBase, split: str) -> dict[str, Dataset]:
        """Features of each task: `input_ids`, `attention_mask` and `labels` (-100 where no tag is predicted).

        Training sentences in which the tokenizer finds nothing to tag are left out. The other splits have `tag_places`
        too, from which a word's tag is read: its label's place among those of the sentence, -1 where it has none. The
        test split may have no tags, and has no `labels` then: places are those of all subwords. A
        warning tells how many sentences are cut, another which task has but one tag to learn.

        Raises:
            InputError: an odd or unknown tag, words and tags of unequal number, or an empty value; names task, split
                and row. Or a tokenizer that glues words together.
        """
        if not takes_words(tokenizer):
            raise InputError(
                "The tokenizer cuts words into other tokens than the sentence they make. Load it with load_model, or "
                "with add_prefix_space=True."
            )
        max_length = self.max_length(tokenizer, tokenizer.num_special_tokens_to_add(), "words", "sentence")
        # The tokenizer's first call with new settings changes its state, and with it the cache's key.
        tokenizer(["a"], truncation=True, max_length=max_length, padding=self._padding, is_split_into_words=True)
        is_train = split == "train"
        encoded = {}
        self._padding_side = tokenizer.padding_side
        untagged = []
        if split == "test":
            untagged = [task for task, dataset in tasks.items() if self._columns(task, dataset, True)[1] is None]
        for task, dataset in tasks.items():
            words = self._tagged(task, dataset, split)
            scheme = (task not in untagged and words.scheme) or self.scheme
            beside = set() if task in untagged else self._types_beside(task, words, scheme)
            encoded[task] = self.map_rows(
                dataset,
                encode_rows,
                desc=f"Tokenizing {task} ({split})",
                fn_kwargs={
                    "tokenizer": tokenizer,
                    "columns": (words.text, None if task in untagged else words.column),
                    "names": words.names if task not in untagged else None,
                    "schemes": (scheme, self.scheme),
                    "renamed": words.renamed,
                    "beside": sorted(beside),
                    "task": task if self._map.of_task and not is_train else None,
                    "label2id": self.label2id,
                    "where": words.where,
                    "max_length": max_length,
                    "padding": self._padding,
                    "all_subwords": is_train and self.args.label_all_tokens,
                    "for_training": is_train,
                },
            )
            if unknown := beside - self._predicted_types(task):
                self._tell_of_unknown(task, split, encoded[task], unknown)
            if is_train and len(learnt := words.learnt(scheme, self.scheme)) == 1:
                logger.warning("Task %r: all training tags are `%s`; it teaches nothing else.", task, learnt.pop())
        # A task of which no sentence is left has no columns.
        left = {task: dataset for task, dataset in encoded.items() if len(dataset)}
        what = "words" if self.scheme == "none" else "entities"
        of_tasks = {task: sum(dataset[LOST][:]) for task, dataset in left.items()}
        for task, number in of_tasks.items():
            self.count(split, task, f"{what}_behind_cut", number)
        lost = sum(of_tasks.values())
        lost_where = f"; {what} behind the cut, which are not {'trained on' if is_train else 'scored'}: {lost}"
        self.warn_of_cuts(left, split, max_length, tokenizer, "sentences", lost_where)
        for task, dataset in left.items():
            helpers = [IS_CUT, LOST, *([TAG_PLACES] if is_train else [])]
            hidden = (*helpers, TAG_PLACES, TRUE_TAGS, TASK)
            inputs = [name for name in dataset.column_names if name not in hidden]
            # The places are hidden: with --remove_unused_columns False the trainer would put them into batches.
            encoded[task] = dataset.remove_columns(helpers).with_format(columns=inputs)
        return encoded

    def _types_beside(self, task: str, words: TaggedWords, scheme: str) -> set[str]:
        """Types of a task that is evaluated only for which the model has no label, though it knows others of them.

        One that is trained on is to have all of its types there, and data without any known one is of something else.
        """
        if task in self._trained or not self.labels:
            return set()
        labels = {*entity_types(self.labels, self.scheme)}
        own = {*entity_types(sorted(words.learnt(scheme, self.scheme)), self.scheme)}
        beside = {name for name in own - labels if not same_but_for_case(name, labels)}
        return beside if own & {*labels, *self._predicted_types(task)} else set()

    def _predicted_types(self, task: str) -> set[str]:
        """Those that the model's predictions have, with other names where `label_map` gives them."""
        return {*entity_types(rename(self.labels, self._map.of(task), self.scheme), self.scheme)}

    def _tell_of_unknown(self, task: str, split: str, features: Dataset, unknown: Collection[str]) -> None:
        counts = dict.fromkeys(sorted(unknown), 0)
        for tags in features.with_format(None)[TRUE_TAGS]:
            if self.scheme == "none":
                found = list(tags)
            else:
                spans = to_iob2(tags, self.scheme)
                found = [position_and_type(spans[first], "iob2")[1] for first, _ in entity_spans(spans)]
            for name in found:
                if name in counts:
                    counts[name] += 1
        what = "words" if self.scheme == "none" else "entities"
        types = ", ".join(f"{name} {number:,}" for name, number in counts.items())
        logger.warning(
            "Task %r (%s): the model does not know these types, and all %s of them count as missed: %s. To leave them "
            "out: --label_map %s", task, split, what, types, " ".join(f"{name}=O" for name in counts),
        )  # fmt: skip
        self.count(split, task, f"{what}_of_unknown_types", sum(counts.values()))

    def use_labels(self, labels: Sequence[str]) -> None:
        """As in the parent; entities are written as the model does, which may have learnt another scheme.

        Raises:
            InputError: `label_all_tokens`, where the model marks the last word of an entity.
        """
        if self.scheme != "none":
            types = entity_types(self.labels, self.scheme)
            own = scheme_of_model(labels, types)
            if own in ("iobes", "bilou") and not {*labels_of_types(types, own)} <= {*labels}:
                own = "iob2"
            elif own in ("iobes", "bilou"):
                if self.args.label_all_tokens:
                    raise InputError(
                        f"--label_all_tokens does not go with a model whose labels are {own.upper()}, in which the "
                        f"last word of an entity has one of its own; leave it out."
                    )
                logger.warning("The model's own labels are %s: tags are learnt and scored as such.", own.upper())
            elif own == "io" and self.scheme != "io" and self.labels:
                logger.warning("The model's labels have no prefixes: entities of one type that touch count as one.")
            self.scheme = own
        if self._map and not self._trained:
            self._map.check(self._types_in_data, entity_types(labels, self.scheme))
        super().use_labels(labels)

    def compute_metrics(self, prediction: EvalPrediction, dataset: Dataset | None = None) -> dict[str, float]:
        """Precision, recall and F1 of whole entities, and accuracy of tags; without a scheme accuracy and macro F1.

        Args:
            prediction: label ids, (sentences, subwords); there are no scores without true ones.
            dataset: the features of one task, row by row, which tell the tags that the model does not know.
        """
        if prediction.label_ids is None:
            return {}
        predicted, true = self.tags(prediction.predictions, prediction.label_ids, dataset)
        of_each = self.args.return_entity_level_metrics
        if self.scheme == "none":
            return tag_scores(predicted, true, of_each)
        scores = entity_scores(self._entities(predicted), self._entities(true), of_each)
        return {**scores, "accuracy": tag_accuracy(predicted, true)}

    def example_sums(self, prediction: PredictionOutput, features: Dataset) -> ExampleSums | None:
        """As in the parent, of entities' F1, tags' accuracy and macro F1; a sentence is an example."""
        if prediction.label_ids is None:
            return None
        predicted, true = self.tags(prediction.predictions, prediction.label_ids, features)
        if self.metric.name == "f1" and self.scheme != "none":
            return of_entities(self._entities(predicted), self._entities(true))
        kinds = {"accuracy": of_tag_accuracy, "macro_f1": of_macro_f1}
        return kinds[self.metric.name](predicted, true) if self.metric.name in kinds else None

    def tags(
        self, predictions: Any, label_ids: Any, features: Dataset | None = None
    ) -> tuple[list[list[str]], list[list[str]]]:
        """Predicted and true tags of each sentence, from arrays of label ids, (sentences, subwords).

        Types that the model predicts have the names that `label_map` gives them.
        """
        names = np.array(self.labels, dtype=object)
        kept = label_ids != IGNORED
        predicted_names = self._names_of_predictions(features)
        predicted = [predicted_names[row[mask]].tolist() for row, mask in zip(predictions, kept, strict=True)]
        if features is not None and TRUE_TAGS in features.column_names:
            return predicted, list(features.with_format(None)[TRUE_TAGS][:])
        true = [names[row[mask]].tolist() for row, mask in zip(label_ids, kept, strict=True)]
        return predicted, true

    def _names_of_predictions(self, features: Dataset | None) -> np.ndarray:
        task = ""
        if features is not None and TASK in features.column_names and len(features):
            task = features.with_format(None)[0][TASK]
        return np.array(rename(self.labels, self._map.of(task), self.scheme), dtype=object)

    def _tags_of_subwords(self, predictions: Any, features: Dataset) -> list[list[str]]:
        """The tag of each subword of sentences that have no tags of their own."""
        names = self._names_of_predictions(features)
        found = []
        for row, ids in zip(predictions, features.with_format(None)["input_ids"], strict=True):
            # Rows are padded to the longest of their batch, and behind that with the mark for what is ignored.
            own = row[row != IGNORED]
            own = own[-len(ids) :] if self._padding_side == "left" else own[: len(ids)]
            found.append(names[own].tolist())
        return found

    def collator(self, tokenizer: PreTrainedTokenizerBase) -> DataCollatorForTokenClassification:
        """Pads sentences and their labels to the longest of a batch."""
        return DataCollatorForTokenClassification(tokenizer)

    def scoring(self) -> dict[str, Callable]:
        """The trainer's `compute_dataset_metrics`, and `preprocess_logits_for_metrics`, which saves memory."""
        return {"compute_dataset_metrics": self.compute_metrics, "preprocess_logits_for_metrics": predicted_labels}

    def write_predictions(
        self, folder: Path, stage: str, suffix: str, prediction: PredictionOutput, features: Dataset
    ) -> None:
        """Write the test split's `predictions{suffix}.txt`: a line for each sentence, with a tag for each word.

        The tag is that of the word's first subword; `O`, or `_` if the model has no `O`, where it saw none, behind the
        cut for instance.
        """
        if stage != "predict":
            return
        if prediction.label_ids is None:
            predicted = self._tags_of_subwords(prediction.predictions, features)
        else:
            predicted, _ = self.tags(prediction.predictions, prediction.label_ids, features)
        unseen = OUTSIDE if OUTSIDE in self.labels else "_"
        lines = "".join(
            " ".join(unseen if place < 0 else tags[place] for place in places) + "\n"
            for tags, places in zip(predicted, features.with_format(None)[TAG_PLACES], strict=True)
        )
        (folder / f"predictions{suffix}.txt").write_text(lines, encoding="utf-8")

    @property
    def _padding(self) -> str | bool:
        return "max_length" if self.args.pad_to_max_length else False

    def _columns(self, task: str, dataset: Dataset, may_lack_tags: bool = False) -> tuple[str, str | None]:
        args = self.args_of(task)
        names = (args.text_column_name, args.label_column_name, args.label_by_default)
        return find_columns(task, dataset, *names, bool(args.tag_names), may_lack_tags)

    def _tagged(self, task: str, dataset: Dataset, split: str) -> TaggedWords:
        text, column = self._columns(task, dataset, may_lack_tags=split == "test")
        names, scheme, renamed = self.args_of(task).tag_names or (), self.args_of(task).tag_scheme, self._map.of(task)
        return TaggedWords(dataset, text, column or "", task, split, scheme, self.labels or (), names, renamed)

    def _entities(self, tags: Tags) -> list[list[str]]:
        """Labels of sentences, which may be those of a model that learnt another scheme, in IOB2."""
        return [to_iob2(row, self.scheme) for row in tags]
