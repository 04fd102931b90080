"""Parallel sentences of the Hub, and the bundled ones."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from datasets import Dataset, DatasetBuilder, Value

from ..data.build import Cache
from ..data.names import SPLIT_NAMES, check_task_name, unknown_name
from ..data.repository import Repository
from ..data.sample import SENTENCES_PIVOT, sample_sentences
from ..errors import InputError
from .pairs import PAIRS, Pair, aligned

CONFIGS = "--dataset_config_name"
KNOWN_COLUMNS = (("source_sentence", "target_sentence"), ("sentence1", "sentence2"), ("source", "target"))
"""What source and target are called where a dataset has more columns of text: XTREME, MTEB, others."""


def sample_pairs(split: str | None, patterns: Sequence[str] = ()) -> dict[str, Pair]:
    """The bundled sentences of each language, paired with the English ones.

    Args:
        split: `test` (the default) or `validation`, under any name that files call it by.
        patterns: which languages; default all.

    Raises:
        InputError: an unknown split or language.
    """
    found = sample_sentences(_named(split or "test", ["test", "validation"], "--dataset_name sample"))
    english = found.pop(SENTENCES_PIVOT)
    return {
        language: Pair(found[language], english)
        for language in matching(patterns or ["*"], list(found), "--dataset_name sample", kind="language")
    }


def hub_pairs(
    name: str,
    patterns: Sequence[str],
    split: str | None,
    columns: Sequence[str],
    *,
    cache_dir: str | None = None,
    token: str | bool | None = None,
) -> dict[str, Pair]:
    """The pairs of a dataset, one a configuration, named as the part of its name after the last dot.

    Args:
        name: repository id or folder.
        patterns: which configurations, `*` for any characters: `tatoeba.*`. Needed where there are several.
        split: which. Default: the test data or, if there is none, the only split.
        columns: source and target. Default: the two of known names, or the only two of texts.
        cache_dir: where prepared data is kept.
        token: for private datasets.

    Raises:
        InputError: what `datasets` cannot load, no such configuration, split or column, or sentences that are not
            paired.
    """
    repository = Repository(name, Cache(cache_dir), token, "--dataset_name", files=PAIRS, choose=CONFIGS)
    known = repository.configs
    if len(known) > 1 and not patterns:
        raise InputError(
            f"{repository.origin} has {len(known)} configurations: {', '.join(known[:10])}"
            f"{', …' if len(known) > 10 else ''}. Choose with {CONFIGS}, such as {CONFIGS} '{_beginning(known[0])}*'."
        )
    chosen = matching(patterns or known, known, repository.origin, kind="configuration")
    short = [config.rpartition(".")[2] for config in chosen]
    names = short if len(set(short)) == len(short) else chosen
    pairs = {}
    for config, own in zip(chosen, names, strict=True):
        builder = repository.load(config)
        origin = f"{repository.origin}, configuration {config!r}"
        rows = repository.take_split(builder, _split(builder, split, origin))
        pairs[check_task_name(own, origin, kind="pair")] = _pair(rows, columns, origin)
    return pairs


def matching(patterns: Sequence[str], known: Sequence[str], origin: str, kind: str) -> list[str]:
    """The known names that match a pattern, in the patterns' order; InputError for one that matches none."""
    found: list[str] = []
    for pattern in patterns:
        matches = [name for name in known if fnmatchcase(name, pattern)]
        # Offline, `known` is one guess for all that is cached.
        if not matches and (len(known) > 1 or any(sign in pattern for sign in "*?[")):
            raise unknown_name(pattern, known, origin, kind=kind)
        found += matches or [pattern]
    return list(dict.fromkeys(found))


def _split(builder: DatasetBuilder, split: str | None, origin: str) -> str:
    known = list(builder.info.splits)
    if split is not None:
        return _named(split, known, origin)
    tests = [name for name in known if name in SPLIT_NAMES["test"]]
    if not tests and len(known) > 1:
        raise InputError(f"{origin} has the splits {', '.join(known)}; choose one with --split.")
    return (tests or known)[0]


def _named(split: str, known: Sequence[str], origin: str) -> str:
    """A split under the name that the data has for it: `dev` may be called `validation` there."""
    if split in known:
        return split
    for names in SPLIT_NAMES.values():
        if split in names and (found := [name for name in names if name in known]):
            return found[0]
    raise unknown_name(split, known, origin, kind="split")


def _pair(rows: Dataset, columns: Sequence[str], origin: str) -> Pair:
    rows = rows.flatten()
    texts = [
        name
        for name, feature in rows.features.items()
        if isinstance(feature, Value) and feature.dtype in ("string", "large_string")
    ]
    if columns:
        for column in columns:
            if column not in texts:
                raise unknown_name(column, texts, f"{origin}, --text_columns", kind="column of texts")
        two = list(columns)
    else:
        named = [list(pair) for pair in KNOWN_COLUMNS if set(pair) <= set(texts)]
        if not named and len(texts) != 2:
            raise InputError(
                f"{origin}: which columns hold the sentences? Name them with --text_columns source target; of texts "
                f"there are {', '.join(texts) or 'none'}."
            )
        two = named[0] if named else texts
    return aligned(
        {f"{origin}, column {name!r}": [(text or "").strip() for text in rows[name]] for name in two}, "row"
    )


def _beginning(config: str) -> str:
    """The part of a configuration's name that others may share."""
    first, dot, _ = config.partition(".")
    return first + dot if dot else ""
