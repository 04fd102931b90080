"""How fast are the features of the package's problems made, beside a plain `datasets.map` with the same tokenizer?

    OMP_NUM_THREADS=1 python benchmarks/features.py --data path/to/data
    python benchmarks/features.py --data path/to/data --part questions --rounds 1
    python benchmarks/features.py --table

The plain map is what Hugging Face's scripts do, as written in `stock_scripts.py`, a map a task as ours. Texts are as
long as they are or, with `--padded`, also padded to the maximum as those scripts do it for questions (384 tokens) and
pairs (128). CoNLL files are read by ours and by a loop that splits lines. Times are the processor's, of rounds in
which both take turns. `--data` has TyDiQA, XQuAD (five questions to a context), XNLI and WikiAnn as in `PARTS` and
`CONLL`. `--write` keeps what was measured in `results/features.json`.
"""

import argparse
import gc
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import datasets
import torch
import transformers
from datasets import Dataset
from stock_scripts import (
    stock_pair_features,
    stock_question_features,
    stock_tag_features,
)

from hf_seqreptile.data import load_tasks
from hf_seqreptile.data.conll import read_conll
from hf_seqreptile.models.loading import ModelArguments, load_model
from hf_seqreptile.problems.problem import Problem
from hf_seqreptile.problems.question_answering import QuestionAnswering
from hf_seqreptile.problems.sequence_classification import SequenceClassification
from hf_seqreptile.problems.token_classification import TokenClassification

RESULT = Path(__file__).parent / "results" / "features.json"
SPLITS = {"train_file": "train", "validation_file": "validation"}


@dataclass(frozen=True)
class Part:
    """One problem's data.

    Args:
        ours: the package's class of the problem.
        plain: the plain map's features, from rows, tokenizer, whether they are for training, and padding.
        kept: columns of the examples that plain features keep.
        train: below `--data`, by task.
        validation: the same.
        rows: of a task's split at most.
        pads: whether Hugging Face's script pads to the maximum unless told otherwise.
    """

    ours: type[Problem]
    plain: Callable[..., Any]
    kept: tuple[str, ...]
    train: dict[str, str]
    validation: dict[str, str]
    rows: int
    pads: bool = True


TYDIQA = ("english", "swahili", "korean")
PARTS = {
    "questions": Part(
        QuestionAnswering,
        stock_question_features,
        (),
        {x: f"tydiqa_goldp/{x}_tydiqa_train.json" for x in TYDIQA},
        {x: f"tydiqa_goldp/{x}_tydiqa_dev.json" for x in TYDIQA},
        600,
    ),
    "questions, five to a context": Part(
        QuestionAnswering,
        stock_question_features,
        (),
        {x: f"xquad/xquad.{x}.json" for x in ("en", "de", "es")},
        {x: f"xquad/xquad.{x}.json" for x in ("en", "de", "es")},
        200,
    ),
    "pairs": Part(
        SequenceClassification,
        stock_pair_features,
        ("label",),
        {"en": "xnli/en/train.jsonl"},
        {"en": "xnli/en/test.jsonl"},
        3000,
    ),
    "tags": Part(
        TokenClassification,
        stock_tag_features,
        (),
        {"en": "wikiann/en/train.conllu"},
        {"en": "wikiann/en/val.conllu"},
        6000,
        False,
    ),
}
CONLL = ("wikiann/en/train.conllu", "wikiann/de/train.conllu")


def in_turns(plain: Callable[[], Any], ours: Callable[[], Any], rounds: int) -> dict[str, list[float]]:
    """Seconds of each round. Rounds begin with either, so that a drift favours none; a first one warms up."""
    flows = {"plain": plain, "ours": ours}
    seconds: dict[str, list[float]] = {name: [] for name in flows}
    # A full pass of the collector over all that was there before would hit either at random.
    gc.collect()
    gc.freeze()
    for turn in range(rounds + 1):
        for name in (*flows,) if turn % 2 else reversed(flows):
            begin = time.process_time()
            flows[name]()
            if turn:
                seconds[name].append(time.process_time() - begin)
    return seconds


def measure_part(part: Part, data: Path, rounds: int, folder: str, padded: bool) -> Iterator[tuple[str, int, dict]]:
    """The name, number of examples and seconds of each split and padding."""
    files: dict[str, Any] = {
        name: [f"{task}={data / path}" for task, path in getattr(part, split).items()]
        for name, split in SPLITS.items()
    }
    args = part.ours.arguments(**files, overwrite_cache=True)
    tasks = load_tasks(args, ["train", "validation"], cache_dir=folder)
    ours: Any = part.ours(tasks, args)
    model = ModelArguments(model_name_or_path="offline-multilingual", trim_vocabulary=True)
    _, tokenizer = load_model(part.ours.auto_model, model, ours.labels, lambda: ours.texts(tasks))
    if ours.labels:
        ours.use_labels(ours.labels)
    for split, whole in tasks.items():
        of_split = {task: rows.select(range(min(len(rows), part.rows))) for task, rows in whole.items()}
        examples = sum(map(len, of_split.values()))
        removed = [name for name in next(iter(of_split.values())).column_names if name not in part.kept]
        for padding in (False, "max_length") if part.pads and padded else (False,):
            make = partial(part.plain, tokenizer=tokenizer, is_training=split == "train", padding=padding)
            if part.ours is TokenClassification:
                make = partial(make, label2id=ours.label2id)

            def plain(
                of_split: Any = of_split, make: Callable = make, removed: list[str] = removed
            ) -> dict[str, Dataset]:
                settings = {"batched": True, "remove_columns": removed, "load_from_cache_file": False}
                return {task: rows.map(make, **settings) for task, rows in of_split.items()}

            def own(of_split: Any = of_split, split: str = split) -> dict[str, Dataset]:
                return ours.encode(of_split, tokenizer, split)

            if not padding:
                check_same_inputs(plain(), own())
            yield f"{split}{', plain ones padded' if padding else ''}", examples, in_turns(plain, own, rounds)


def check_same_inputs(plain: dict[str, Dataset], ours: dict[str, Dataset]) -> None:
    """Both features hold the same tokens in the same order."""
    if any(data["input_ids"][:] != plain[task]["input_ids"][:] for task, data in ours.items()):
        raise SystemExit("The features differ.")


def read_plainly(path: Path) -> list[dict[str, list[str]]]:
    """The sentences of a file of tab-separated columns, of which the last two are the token's and the tag's."""
    sentences = []
    tokens: list[str] = []
    tags: list[str] = []
    with path.open(encoding="utf-8") as file:
        for line in file:
            columns = line.rstrip("\n").split("\t")
            if len(columns) > 1:
                tokens.append(columns[-2])
                tags.append(columns[-1])
            elif tokens:
                sentences.append({"tokens": tokens, "ner_tags": tags})
                tokens, tags = [], []
    return [*sentences, {"tokens": tokens, "ner_tags": tags}] if tokens else sentences


def measure_conll(path: Path, rounds: int) -> tuple[int, dict]:
    """The number of sentences, and seconds."""
    if (sentences := read_plainly(path)) != [*read_conll(path)]:
        raise SystemExit("The sentences differ.")
    return len(sentences), in_turns(lambda: read_plainly(path), lambda: [*read_conll(path)], rounds)


def table(results: dict[str, Any]) -> str:
    """All results as Markdown."""
    lines = ["| | plain, examples/s | ours | ratio | lowest–highest |", "|---|--:|--:|--:|--:|"]
    for name, result in results.items():
        plain, ours = result["seconds"]["plain"], result["seconds"]["ours"]
        ratios = [a / b for a, b in zip(plain, ours, strict=True)]
        speeds = " | ".join(f"{result['examples'] / median(x):,.0f}" for x in (plain, ours))
        lines.append(f"| {name} | {speeds} | {median(ratios):.2f} | {min(ratios):.2f}–{max(ratios):.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="default: %(default)s")
    parser.add_argument("--part", choices=[*PARTS, "conll"], nargs="+", default=[*PARTS, "conll"])
    parser.add_argument("--rounds", type=int, default=7, help="times that each has its turn")
    parser.add_argument("--padded", action="store_true", help="measure plain maps that pad too")
    parser.add_argument("--write", action="store_true", help="keep the results")
    parser.add_argument("--table", action="store_true", help="only print what was measured before")
    args = parser.parse_args()
    kept: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    if args.table:
        print(table(kept))
        return
    torch.set_num_threads(1)
    datasets.disable_progress_bars()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.disable(logging.WARNING)
    measured = {}
    load = f"1 thread, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores before it"
    with tempfile.TemporaryDirectory() as folder:
        for name in args.part:
            if name == "conll":
                found = [(path, *measure_conll(args.data / path, args.rounds)) for path in CONLL]
            else:
                found = [*measure_part(PARTS[name], args.data, args.rounds, folder, args.padded)]
            for what, examples, seconds in found:
                measured[f"{name}: {what}"] = {"examples": examples, "seconds": seconds, "machine": load}
                print(table({f"{name}: {what}": measured[f"{name}: {what}"]}).splitlines()[-1], flush=True)
    if args.write:
        RESULT.write_text(json.dumps(kept | measured, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
