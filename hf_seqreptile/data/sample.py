"""The bundled sample, so that a first run needs no download."""

from importlib.resources import files
from pathlib import Path

from hf_seqreptile.data.build import Cache
from hf_seqreptile.data.files import FileSource
from hf_seqreptile.errors import InputError

_PROBLEMS: dict[tuple[str, ...], str] = {("tokens", "ner_tags"): "ner"}


def sample_source(columns: tuple[str, ...], cache: Cache) -> FileSource:
    """The sample of the problem whose examples have `columns`; some of its languages have no training data."""
    problem = _PROBLEMS.get(columns)
    if problem is None:
        known = "; ".join(f"{name}: {' and '.join(names)}" for names, name in _PROBLEMS.items())
        raise InputError(
            f"--dataset_name sample: no sample has the columns of this problem ({', '.join(columns) or 'not lists'}). "
            f"Bundled: {known}. Give --train_file or another --dataset_name."
        )
    folder = str(Path(str(files("hf_seqreptile.data"))) / "sample" / problem)
    return FileSource({split: [folder] for split in ("train", "validation", "test")}, columns, None, cache)
