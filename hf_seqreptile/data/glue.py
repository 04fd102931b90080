"""GLUE: what its tasks are, and where their examples come from: the Hub, or a folder of the files as distributed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datasets import ClassLabel, Dataset, Features, Value

from ..errors import InputError
from .build import Cache, build_from_rows
from .glue_files import MSR, Columns, dev_ids, read_glue, read_msr
from .names import SPLIT_NAMES, unknown_name
from .repository import Repository
from .source import NoSuchSplitError

GLUE = "nyu-mll/glue"
"""Its id on the Hub."""
LABEL = "label"
MISMATCHED = "mnli-mm"
"""The task of MNLI's mismatched genres, which has no training examples of its own."""
_NLI = ("entailment", "not_entailment")


@dataclass(frozen=True)
class GlueTask:
    """A task of GLUE.

    Args:
        folder: of the files as they are distributed.
        texts: the columns of the one text, or of the two.
        labels: the names of the classes, by number; none where numbers are predicted.
        in_files: what the files call the label, and what other columns are called there.
        header: the columns of a file that does not name them.
        skips_short: whether rows that lack columns are known to be in the files, and left out.
    """

    folder: str
    texts: tuple[str, ...]
    labels: tuple[str, ...] = ()
    in_files: Columns = field(default_factory=Columns)
    header: tuple[str, ...] = ()
    skips_short: bool = False

    @property
    def features(self) -> Features:
        """The columns, as on the Hub."""
        label = ClassLabel(names=list(self.labels)) if self.labels else Value("float32")
        return Features({**dict.fromkeys(self.texts, Value("string")), LABEL: label})


_MNLI = GlueTask(
    "MNLI",
    ("premise", "hypothesis"),
    ("entailment", "neutral", "contradiction"),
    Columns("gold_label", ("sentence1", "sentence2")),
)
TASKS = {
    "cola": GlueTask(
        "CoLA", ("sentence",), ("unacceptable", "acceptable"), header=("source", "label", "star", "sentence")
    ),
    "mnli": _MNLI,
    MISMATCHED: _MNLI,
    "mrpc": GlueTask(
        "MRPC",
        ("sentence1", "sentence2"),
        ("not_equivalent", "equivalent"),
        Columns("Quality", ("#1 String", "#2 String")),
    ),
    "qnli": GlueTask("QNLI", ("question", "sentence"), _NLI),
    "qqp": GlueTask(
        "QQP", ("question1", "question2"), ("not_duplicate", "duplicate"), Columns("is_duplicate"), skips_short=True
    ),
    "rte": GlueTask("RTE", ("sentence1", "sentence2"), _NLI),
    "sst2": GlueTask("SST-2", ("sentence",), ("negative", "positive")),
    "stsb": GlueTask("STS-B", ("sentence1", "sentence2"), (), Columns("score")),
    "wnli": GlueTask("WNLI", ("sentence1", "sentence2"), ("not_entailment", "entailment")),
}
"""By their names on the Hub."""
HEADS = {name: "mnli" if name == MISMATCHED else name for name in TASKS}
"""Whose head serves a task."""


class GlueSource:
    """The tasks of GLUE that are wanted, from the Hub or from files.

    Args:
        wanted: the tasks that the user named.
        folder: of the files as distributed, a folder a task (`CoLA/train.tsv`). Default: the Hub.
        cache: where prepared data is kept.
        token: for the Hub.
    """

    def __init__(self, wanted: Sequence[str], folder: str | None, cache: Cache, token: str | bool | None) -> None:
        self._wanted = wanted
        self._folder = Path(folder).expanduser() if folder else None
        self._cache = cache
        self._repository = Repository(GLUE, cache, token, "--task_names")

    def tasks(self, split: str) -> list[str]:
        """The wanted tasks that have examples for `split`."""
        return [task for task in self._wanted if split != "train" or task != MISMATCHED]

    def check(self, task: str, split: str, argument: str) -> None:
        """Refuse a task that GLUE does not have; `argument` named it."""
        if task not in TASKS:
            raise unknown_name(task, TASKS, argument, kind="task")
        if task == MISMATCHED and split == "train":
            raise NoSuchSplitError(f"{argument}: {MISMATCHED} has no training examples of its own; name mnli.")

    def read(self, task: str, split: str) -> Dataset:
        """All examples of a task, with columns and labels as on the Hub; labels that GLUE keeps hidden are null."""
        if self._folder is not None:
            return self._read_files(task, split, self._folder)
        builder = self._repository.load(HEADS[task])
        dataset = self._repository.take_split(builder, _split_name(task, split))
        if split == "test" and not TASKS[task].labels:
            # The Hub has -1 there, which is a number like others.
            hidden: list[float | None] = [None] * len(dataset)
            return dataset.remove_columns(LABEL).add_column(LABEL, hidden, feature=dataset.features[LABEL])
        return dataset

    def _read_files(self, task: str, split: str, folder: Path) -> Dataset:
        of = TASKS[task]
        place = folder / of.folder
        if not place.is_dir():
            raise InputError(f"--glue_dir {folder} holds no folder {of.folder}; each task has one there.")
        stems = [_split_name(task, name) for name in SPLIT_NAMES[split]]
        path = next((file for stem in stems if (file := place / f"{stem}.tsv").is_file()), None)
        if path is not None:
            header = of.header if split != "test" else ()
            return build_from_rows(
                read_glue, path, split, self._cache, of.features, texts=of.texts, names=of.in_files, header=header,
                labels=of.labels, may_lack_label=split == "test", skips_short=of.skips_short,
            )  # fmt: skip
        msr = place / MSR["test" if split == "test" else "train"]
        if task == "mrpc" and msr.is_file():
            held_out = None if split == "test" else dev_ids(place)
            return build_from_rows(
                read_msr, msr, split, self._cache, of.features, texts=of.texts, names=of.in_files, labels=of.labels,
                held_out=held_out, wants_held_out=split == "validation",
            )  # fmt: skip
        raise NoSuchSplitError(
            f"{place} holds no {' or '.join(f'{stem}.tsv' for stem in stems)}. Leave the task out, or do without "
            f"{split} data."
        )


def _split_name(task: str, split: str) -> str:
    """The name of a split, on the Hub and of files: MNLI's are matched or mismatched, but for training."""
    if HEADS[task] != "mnli" or split == "train":
        return split
    return f"{split}_{'mismatched' if task == MISMATCHED else 'matched'}"
