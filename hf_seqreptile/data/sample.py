"""The bundled samples, so that a first run needs no download."""

from importlib.resources import files
from pathlib import Path

from ..errors import InputError
from .build import Cache
from .files import FileSource
from .formats import Reading
from .names import SPLIT_NAMES
from .text import read_lines

SENTENCES_PIVOT = "en"
"""The language whose sentences the others translate."""
_SENTENCES = Path(str(files("hf_seqreptile.data"))) / "sample_sentences"
_SAMPLES = Path(str(files("hf_seqreptile.data"))) / "sample"


def sample_source(problem: str, cache: Cache, argument: str = "--dataset_name") -> FileSource:
    """The sample of `problem`, one folder a language; some of its languages have no training data."""
    bundled = sorted(path.name for path in _SAMPLES.iterdir() if path.is_dir())
    if problem not in bundled:
        raise InputError(
            f"{argument} sample: {problem!r} is not among the problems that a sample is bundled for: "
            f"{', '.join(bundled)}. Give --train_file or another dataset."
        )
    folder = str(_SAMPLES / problem)
    return FileSource({split: [folder] for split in SPLIT_NAMES}, Reading(), cache, argument=argument)


def sample_sentences(split: str) -> dict[str, list[str]]:
    """The bundled sentences of each language, at each place translations of each other.

    Args:
        split: `validation` or `test`.
    """
    paths = sorted((_SENTENCES / split).glob("*.txt"))
    return {path.stem: [line.strip() for _, line in read_lines(path)] for path in paths}
