"""The sentences that masked-language-model losses are measured on."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..data import load_tasks
from ..data.names import check_distinct, check_task_name
from ..data.text import read_lines
from ..errors import InputError
from ..problems.question_answering import QuestionAnsweringArguments
from ..problems.sequence_classification import SequenceClassificationArguments


@dataclass(frozen=True)
class Texts:
    """Sentences by language.

    Args:
        measured: what losses are measured on.
        fitted: what a head is fitted on, where the base model has none.
        source: what they are, for captions.
    """

    measured: Mapping[str, Sequence[str]]
    fitted: Mapping[str, Sequence[str]]
    source: str


def read_texts(items: Sequence[str]) -> Texts:
    """Text files, one sentence a line: the odd lines are measured on, the even ones are there to fit a head.

    Args:
        items: `language=file`.

    Raises:
        InputError: another form, no such file, or fewer than two sentences in it.
    """
    pairs = [item.partition("=") for item in items]
    check_distinct([language for language, _, _ in pairs], "--text_files")
    sentences = {}
    for language, separator, name in pairs:
        if not separator:
            raise InputError(f"--text_files {language}: write language=file, such as en=english.txt.")
        check_task_name(language, "--text_files")
        if not Path(name).is_file():
            raise InputError(f"--text_files: {name} is no file.")
        sentences[language] = [text for _, line in read_lines(Path(name)) if (text := line.strip())]
        if len(sentences[language]) < 2:
            raise InputError(f"--text_files: {name} has {len(sentences[language])} sentences; give at least two.")
    return Texts(
        {language: lines[::2] for language, lines in sentences.items()},
        {language: lines[1::2] for language, lines in sentences.items()},
        "the given files",
    )


def bundled_texts() -> Texts:
    """The texts of the bundled samples: the held-out ones are measured on, a head is fitted on those for training.

    They are read when they are first asked for.
    """
    return Texts(_BundledTexts(["validation", "test"]), _BundledTexts(["train"]), "the bundled samples' texts")


class _BundledTexts(Mapping[str, Sequence[str]]):
    def __init__(self, splits: Sequence[str]) -> None:
        self.splits = splits

    @cached_property
    def _texts(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for arguments, columns in (
            (SequenceClassificationArguments, ("premise", "hypothesis")),
            (QuestionAnsweringArguments, ("context", "question")),
        ):
            for tasks in load_tasks(arguments(dataset_name="sample", eval_dataset="sample"), self.splits).values():
                for language, dataset in tasks.items():
                    for column in columns:
                        found.setdefault(language, []).extend(dict.fromkeys(dataset[column]))
        return found

    def __getitem__(self, language: str) -> Sequence[str]:
        return self._texts[language]

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)
