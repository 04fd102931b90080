"""`python -m hf_seqreptile.retrieval`: how well translations are found by an encoder's vectors."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import datasets
import transformers
from tqdm.auto import tqdm

from ..console.arguments import parse_arguments
from ..console.bad_input import bad_input_exits
from ..console.verbosity import verbosity_put_back
from ..embeddings.sentence_embeddings import POOLINGS, SentenceEncoder, check_layers, check_pooling
from ..errors import InputError
from ..models.loading import ModelArguments, load_encoder
from .accuracy import found_translations
from .hub_pairs import hub_pairs, sample_pairs
from .mining import best_threshold, mine, score
from .pairs import PAIRS, Pair, read_pairs, split_items
from .results import LayerResult, tables, write_example_sums, write_results
from .sentence_vectors import MAX_LENGTH, TEXT, SentenceVectors, encode

EMBEDDINGS = "embeddings"
"""Within the output folder: the sentences' vectors."""
FROM = "--threshold_from"
EPILOG = f"""examples:
  python -m hf_seqreptile.retrieval out --dataset_name sample
  python -m hf_seqreptile.retrieval xlm-roberta-base --dataset_name google/xtreme --dataset_config_name 'tatoeba.*' \\
    --layers 8 10 12
  python -m hf_seqreptile.retrieval out --pairs de=de-en.test.de,de-en.test.en,de-en.test.gold --mine \\
    {FROM} de=de-en.dev.de,de-en.dev.en,de-en.dev.gold

The model comes first: a folder, such as that of a finished run, a name on the Hub, or offline-multilingual. The output
folder gets retrieval.md, retrieval.json and the vectors. A second call with the same model and sentences does not
encode them again, and one that was killed goes on where it stopped."""


@dataclass
class RetrievalArguments:
    """What to search, and how."""

    pairs: list[str] = field(
        default_factory=list,
        metadata={
            "nargs": "+",
            "help": "Files with one sentence a line, line by line translations: name=source.txt,target.txt. Of BUCC's "
            "form are three files: id TAB sentence twice, and id TAB id.",
        },
    )
    dataset_name: str | None = field(
        default=None, metadata={"help": "Or a dataset of the Hub, a folder, or `sample`, the bundled sentences."}
    )
    dataset_config_name: list[str] = field(
        default_factory=list,
        metadata={
            "nargs": "+",
            "help": "Which of its configurations, each a pair: 'tatoeba.*'; of `sample`, languages.",
        },
    )
    split: str | None = field(default=None, metadata={"help": "Which split of it. Default: test, or the only one."})
    text_columns: list[str] = field(
        default_factory=list,
        metadata={"nargs": "+", "help": "Its columns of sentences: source target. Default: found by their names."},
    )
    layers: list[int] = field(
        default_factory=list,
        metadata={"nargs": "+", "help": "Whose states to take: 8 is after block 8. Default: the last."},
    )
    pooling: str = field(
        default=POOLINGS[0],
        metadata={"help": "One vector of a sentence's subwords: `mean` of all, or `cls`, the first."},
    )
    max_length: int = field(default=MAX_LENGTH, metadata={"help": "Subwords after which a sentence is cut."})
    mine: bool = field(default=False, metadata={"help": "Mine translations too, by the ratio margin: BUCC's task."})
    threshold_from: list[str] = field(
        default_factory=list,
        metadata={
            "nargs": "+",
            "help": "Where the mining's threshold is chosen: a split of the dataset; for --pairs a folder with "
            "files of the same names, or pairs in the form of --pairs.",
        },
    )
    save_example_sums: bool = field(
        default=False,
        metadata={
            "help": "Of one layer, write what each pair of sentences adds to its accuracy, from which "
            "`hf_seqreptile.study` tells how far chance goes."
        },
    )
    output_dir: str = field(default="retrieval", metadata={"help": "The folder for the result."})


def check_arguments(model_args: ModelArguments, args: RetrievalArguments) -> None:
    """Raise InputError for what contradicts itself, before anything is read."""
    if model_args.model_name_or_path is None:
        raise InputError("No model. Name it first: python -m hf_seqreptile.retrieval MODEL --dataset_name sample")
    for name in ("trim_vocabulary", "ignore_mismatched_sizes"):
        if getattr(model_args, name):
            raise InputError(f"--{name} has no effect on an encoder's vectors; remove it.")
    if bool(args.pairs) == bool(args.dataset_name):
        raise InputError(
            f"Give either {PAIRS} name=source.txt,target.txt or --dataset_name; to try things out: --dataset_name "
            f"sample"
        )
    for name in ("dataset_config_name", "split", "text_columns"):
        if getattr(args, name) and not args.dataset_name:
            raise InputError(f"--{name} is for --dataset_name and has no effect with {PAIRS}; remove it.")
    if args.text_columns and (len(set(args.text_columns)) != 2 or args.dataset_name == "sample"):
        raise InputError("--text_columns names two columns of a dataset, the source's and the target's.")
    check_pooling(args.pooling)
    if args.mine != bool(args.threshold_from):
        raise InputError(
            f"--mine needs {FROM}: the development set on which its threshold is chosen."
            if args.mine
            else f"{FROM} is for --mine and has no effect without it; add --mine or remove it."
        )
    if args.save_example_sums and len(args.layers) > 1:
        raise InputError("--save_example_sums is of one layer; name one with --layers.")
    if args.dataset_name and len(args.threshold_from) > 1:
        raise InputError(f"{FROM} {' '.join(args.threshold_from)}: name one split of the dataset.")


def read(args: RetrievalArguments, model_args: ModelArguments) -> tuple[dict[str, Pair], dict[str, Pair]]:
    """The pairs, and the development sets of the same names; none where nothing is mined."""
    if args.pairs:
        for name, files in split_items(args.pairs, PAIRS).items():
            if len(files) == 3 and not args.mine:
                raise InputError(f"{PAIRS}, pair {name!r}: a third file says what is to be mined; add --mine.")
        return read_pairs(args.pairs), _development_files(args) if args.mine else {}
    found = _dataset(args, model_args, args.split)
    if not args.mine:
        return found, {}
    development = _dataset(args, model_args, args.threshold_from[0])
    if all(development[name] == found[name] for name in found):
        raise InputError(
            f"{FROM} {args.threshold_from[0]}: that is what is searched, and a threshold chosen there says nothing. "
            f"Name another split."
        )
    return found, development


def _dataset(args: RetrievalArguments, model_args: ModelArguments, split: str | None) -> dict[str, Pair]:
    if args.dataset_name == "sample":
        return sample_pairs(split, args.dataset_config_name)
    return hub_pairs(
        str(args.dataset_name),
        args.dataset_config_name,
        split,
        args.text_columns,
        cache_dir=model_args.cache_dir,
        token=model_args.token,
    )


def _development_files(args: RetrievalArguments) -> dict[str, Pair]:
    items = args.threshold_from
    searched = split_items(args.pairs, PAIRS)
    if len(items) == 1 and "=" not in items[0]:
        folder = Path(items[0])
        if not folder.is_dir():
            raise InputError(
                f"{FROM} {folder}: no such folder. Give one with files of the same names as in {PAIRS}, or "
                f"name=source,target."
            )
        items = [f"{name}={','.join(str(folder / path.name) for path in files)}" for name, files in searched.items()]
    given = split_items(items, FROM)
    if lacking := [name for name in searched if name not in given] + [name for name in given if name not in searched]:
        raise InputError(f"{FROM}: name the same pairs as {PAIRS}; {lacking[0]!r} is in one of them alone.")
    for name, files in searched.items():
        if [path.resolve() for path in files[:2]] == [path.resolve() for path in given[name][:2]]:
            raise InputError(
                f"{FROM}, pair {name!r}: these are the files that are searched, and a threshold chosen there says "
                f"nothing. Name others."
            )
    return read_pairs(items, FROM)


def search(vectors: SentenceVectors, pairs: dict[str, Pair], development: dict[str, Pair], layer: int) -> LayerResult:
    """All that is found by the vectors of a layer."""
    aligned = {name: pair for name, pair in pairs.items() if pair.gold is None}
    found = found_translations(vectors, aligned, layer)
    if not development:
        return LayerResult(found)
    both = [*pairs.values(), *development.values()]
    total = sum(len(set(side)) for pair in both for side in (pair.source, pair.target))
    with tqdm(total=total, desc=f"Mining, layer {layer}", unit=" sentences", unit_scale=True, delay=2) as bar:
        chosen = {name: mine(vectors, pair, layer, bar.update) for name, pair in development.items()}
        mined = {name: mine(vectors, pair, layer, bar.update) for name, pair in pairs.items()}
    thresholds = {name: best_threshold(chosen[name]) for name in pairs}
    return LayerResult(
        found,
        mined,
        {name: score(mined[name], threshold) for name, threshold in thresholds.items()},
        {name: score(chosen[name], threshold) for name, threshold in thresholds.items()},
    )


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv and not argv[0].startswith("-") and not argv[0].endswith((".json", ".yaml", ".yml")):
        argv.insert(0, "--model_name_or_path")
    with bad_input_exits(), verbosity_put_back():
        model_args, args = parse_arguments((ModelArguments, RetrievalArguments), argv, EPILOG)
        check_arguments(model_args, args)
        # Loading an encoder without its head is what this is about; that a head is missing is no news.
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        datasets.disable_progress_bars()
        pairs, development = read(args, model_args)
        folder = Path(args.output_dir)
        # Before the work, so that a folder that cannot be made costs no wait.
        folder.mkdir(parents=True, exist_ok=True)
        layers = args.layers or None
        model, tokenizer = load_encoder(model_args, check=lambda config: check_layers(layers, config))
        encoder = SentenceEncoder(model, tokenizer, (TEXT,), args.max_length, layers, args.pooling)
        vectors = encode(encoder, [*pairs.values(), *development.values()], folder / EMBEDDINGS)
        results = {layer: search(vectors, pairs, development, layer) for layer in vectors.layers}
        settings = {
            "model": model_args.model_name_or_path,
            "data": args.dataset_name or args.pairs,
            "threshold_from": args.threshold_from,
            "pooling": args.pooling,
            "max_length": args.max_length,
        }
        files = write_results(results, pairs, settings, folder)
        if args.save_example_sums:
            write_example_sums(results[vectors.layers[0]], folder)
    print(tables(results, pairs))
    print("\nWritten:", *files, sep="\n  ")


if __name__ == "__main__":
    main()
