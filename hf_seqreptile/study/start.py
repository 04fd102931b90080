"""What a study begins with: a model as it is, or the offline encoder trimmed to all of the study's texts."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..analysis.retrieval import read_parallel_texts
from ..models.offline_encoder import build_offline_encoder
from ..problems.multitask import Multitask, MultitaskArguments, rows_of_entry
from ..problems.tasks_file import read_tasks_file
from .study_file import Study
from .targets import parallel_sentences

SPLITS = ("train", "validation", "test")


def start_of(study: Study, tasks_files: Sequence[Path]) -> str:
    """The name or folder of the model that all conditions begin with.

    Args:
        study: names it.
        tasks_files: all that the study trains and scores on.

    Raises:
        InputError: it cannot be built, or data cannot be read.
    """
    if not study.trims_vocabulary:
        return study.model
    return str(build_offline_encoder(list(_texts(study, tasks_files))))


def _texts(study: Study, tasks_files: Sequence[Path]) -> Iterator[str]:
    """All texts, in an order that is always the same."""
    texts: set[str] = set()
    for path in tasks_files:
        entries = read_tasks_file(path)
        # A dataset may lack some.
        rows = [rows_of_entry(entry, SPLITS) for entry in entries]
        splits = [split for split in SPLITS if any(split in own for own in rows)]
        problem, tasks = Multitask.read(MultitaskArguments(tasks_file=str(path)), splits)
        texts |= problem.texts(tasks)
    for pair in read_parallel_texts(None).pairs.values():
        texts |= {*pair.source, *pair.target}
    for target in study.targets:
        if target.is_retrieval:
            texts |= parallel_sentences(target)
    yield from sorted(texts)
