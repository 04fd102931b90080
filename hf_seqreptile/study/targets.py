"""What a study scores: tasks fine-tuned in one language and scored in all, or translations found without training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import InputError
from ..problems.registry import PROBLEMS
from ..retrieval.hub_pairs import hub_pairs, sample_pairs
from ..retrieval.pairs import Pair, read_pairs
from .part import Part

SAMPLE = "sample"
RETRIEVAL = "retrieval"
"""The problem of a target that is not trained on."""
LANGUAGE = "{language}"
"""In an entry's texts: the language that it is of."""
RETRIEVAL_KEYS = (
    "dataset_name", "dataset_config_name", "split", "text_columns", "layers", "pooling", "max_length", "pairs",
    "mine", "threshold_from",
)  # fmt: skip


@dataclass(frozen=True)
class Target:
    """What is scored after each condition.

    Args:
        name: of the target.
        entries: of its tasks' file, by language; empty for retrieval.
        language: that is trained on; `None` for retrieval.
        evaluated: the languages, or pairs of them, that are scored; empty where a dataset tells.
        budget: gradient computations of its training; 0 for retrieval.
        arguments: of its script.
        retrieval: what retrieval is asked for, by name.
    """

    name: str
    entries: Mapping[str, Mapping[str, Any]]
    language: str | None
    evaluated: Sequence[str]
    budget: int
    arguments: Sequence[str]
    retrieval: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    @property
    def is_retrieval(self) -> bool:
        """Whether nothing is trained for it."""
        return self.language is None

    @property
    def mines(self) -> bool:
        """Whether translations are mined, which F1 scores."""
        return self.retrieval.get("mine") == [True]


def read_target(part: Part) -> Target:
    """A target of a study's file.

    Args:
        part: `NAME: {problem: ner, train: en, evaluate: [en, de], gradient_computations: 300, …}` with the keys of an
            entry for `run_multitask.py`, in whose texts `{language}` stands for each language; or
            `NAME: {problem: retrieval, …}` with the arguments of `hf_seqreptile.retrieval`.

    Raises:
        InputError: it is neither, or its files cannot be what they should.
    """
    content = dict(part.mapping("its problem and its data"))
    kind = content.pop("problem", None)
    if kind == RETRIEVAL:
        return _retrieval(part, content)
    if kind not in PROBLEMS:
        raise part.wrong(f"`problem` is {kind!r}; give one of {', '.join([*PROBLEMS, RETRIEVAL])}.")
    budget = part.needed("gradient_computations", "drawn batches of the target's training").number(1)
    train = part.needed("train", "the language that is trained on, or {language: en, …} with data of its own")
    evaluate = part.needed("evaluate", "the languages that are scored")
    arguments = part.part("arguments").arguments() if "arguments" in content else []
    languages = evaluate.content if isinstance(evaluate.content, list) else [evaluate.content]
    if not languages or not all(isinstance(one, str) for one in languages):
        raise evaluate.wrong("give a list of languages.")
    if len(set(languages)) < len(languages):
        raise evaluate.wrong("names a language twice.")
    shared: dict[str, Any] = {"problem": kind} | {
        name: value
        for name, value in content.items()
        if name not in ("gradient_computations", "train", "evaluate", "arguments")
    }
    entries: dict[str, dict[str, Any]] = {}
    if isinstance(train.content, str):
        language = train.content
        entries[language] = _of_language(shared, language)
    else:
        own = dict(train.mapping("a language, or {language: en, …} with data of its own"))
        language = own.pop("language", None)
        if not isinstance(language, str):
            raise train.wrong("`language` is missing: which is trained on.")
        # Its scores are of other data than those of the language below.
        entries[f"train-{language}"] = _of_language(shared | own, language)
    for evaluated in languages:
        if evaluated not in entries:
            entries[evaluated] = _zero_shot(_of_language(shared, evaluated))
    for name, keys in entries.items():
        part.check_entry(name, keys, "evaluate" if "zero_shot" in keys else "train")
    return Target(str(part.place[-1]), entries, language, languages, budget, arguments)


def _of_language(keys: Mapping[str, Any], language: str) -> dict[str, Any]:
    """An entry's keys for one language."""
    filled = {name: _filled(value, language) for name, value in keys.items()}
    if "dataset_name" in filled:
        filled.setdefault("languages", language)
    return filled


def _filled(value: Any, language: str) -> Any:
    if isinstance(value, str):
        return value.replace(LANGUAGE, language)
    return [_filled(one, language) for one in value] if isinstance(value, list) else value


def _zero_shot(keys: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in keys.items() if name != "train_file"} | {"zero_shot": True}


def _retrieval(part: Part, content: Mapping[str, Any]) -> Target:
    part.known(["problem", *RETRIEVAL_KEYS])
    if "pairs" not in content and "dataset_name" not in content:
        raise part.wrong("give `pairs: {deu: [deu.txt, eng.txt]}` or `dataset_name`, such as sample.")
    given = {name: value if isinstance(value, list) else [value] for name, value in content.items()}
    if len(given.get("layers", [])) > 1:
        raise part.wrong("a target is one layer; write a target for each.", "layers")
    if "pairs" in content:
        given["pairs"] = _pairs(part.part("pairs"))
    arguments = [piece for name, values in given.items() for piece in (f"--{name}", *map(str, values))]
    try:
        pairs = None if given.get("dataset_name", [SAMPLE]) != [SAMPLE] else _read(given)
    except InputError as error:
        raise part.wrong(str(error)) from error
    return Target(str(part.place[-1]), {}, None, list(pairs or ()), 0, arguments, given)


def parallel_sentences(target: Target) -> set[str]:
    """All sentences that a target of retrieval is scored on, of its files or of a dataset."""
    return {sentence for pair in _read(target.retrieval).values() for side in (pair.source, pair.target)
            for sentence in side}  # fmt: skip


def _read(given: Mapping[str, Sequence[Any]]) -> Mapping[str, Pair]:
    """The pairs that are searched; read from files, or of a dataset."""
    if "pairs" in given:
        return read_pairs(given["pairs"])
    (name,), patterns = given["dataset_name"], given.get("dataset_config_name", [])
    split = given.get("split", [None])[0]
    if name == SAMPLE:
        return sample_pairs(split, patterns)
    return hub_pairs(name, patterns, split, given.get("text_columns", []))


def _pairs(part: Part) -> list[str]:
    """The pairs as `--pairs` takes them."""
    items = []
    for name, files in part.mapping("pairs of files by name, `deu: [deu.txt, eng.txt]`").items():
        if not isinstance(files, list) or len(files) != 2 or not all(isinstance(file, str) for file in files):
            raise part.wrong("give two files with one sentence a line, `[deu.txt, eng.txt]`.", name)
        items.append(f"{name}={','.join(str((part.path.parent / file).resolve()) for file in files)}")
        try:
            read_pairs(items[-1:])
        except InputError as error:
            raise part.wrong(str(error), name) from error
    return items
