"""What the tests of the scripts share: written data, a saved model that knows its words, and the command itself."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import torch
from transformers import BertConfig, BertModel, BertTokenizer

ROOT = Path(__file__).parents[1]
Sentence = tuple[list[str], list[str]]

PEOPLE = ["Anna Weber", "Juma Odhiambo", "Mary", "Jan Smit"]
PLACES = ["Nairobi", "Bonn", "Den Haag", "Mombasa"]
FRAMES = {
    "de": ["{person} wohnt in {place}", "gestern besuchte {person} {place} oft", "{place} gefällt {person}"],
    "en": ["{person} lives in {place}", "yesterday {person} of Unicef visited {place} often"],
    "sw": ["{person} anaishi {place}", "jana {person} alitembelea {place} mara nyingi"],
    "nl": ["{person} woont in {place}", "gisteren bezocht {person} {place} vaak"],
}
LANGUAGES = list(FRAMES)
TRAINED = ["de", "en", "sw"]
LABELS = ["O", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-PER", "I-PER"]
SIZES = {"de": 24, "en": 16, "sw": 7, "nl": 5}
"""Training sentences; validation has 4 and test 5 of each language."""

TRAINING = [
    "--max_steps", "20", "--learning_rate", "2e-2", "--per_device_train_batch_size", "4", "--logging_steps", "5",
    "--use_cpu", "--disable_tqdm", "true",
]  # fmt: skip
SEQ_REPTILE = ["--method", "seq_reptile", "--inner_steps", "6", "--outer_learning_rate", "0.8"]


def sentences(language: str, split: str = "train") -> list[Sentence]:
    """Words and tags; every split has sentences of its own, and English alone has an organisation."""
    made = []
    for frame, person, place in product(FRAMES[language], PEOPLE, PLACES):
        words: list[str] = []
        tags: list[str] = []
        for part in frame.split():
            kind, name = {"{person}": ("PER", person), "{place}": ("LOC", place)}.get(part, ("ORG", part))
            own = name.split()
            words += own
            tags += ["O"] if kind == "ORG" and part != "Unicef" else [f"B-{kind}", *[f"I-{kind}"] * (len(own) - 1)]
        made.append((words, tags))
    # The stride has no divisor in common with their number, so frames, people and places come mixed.
    made = [made[7 * i % len(made)] for i in range(len(made))]
    size = SIZES[language]
    ends = {"train": (0, size), "validation": (size, size + 4), "test": (size + 4, size + 9)}
    return made[slice(*ends[split])]


def write(path: Path, text: str) -> str:
    """Write a file and its folders; its path as text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return str(path)


def write_conll(path: Path, data: Iterable[Sentence]) -> str:
    """One word and its tag a line."""
    return write(path, "\n".join("".join(f"{w}\t{t}\n" for w, t in zip(*row, strict=True)) for row in data))


def write_json_lines(path: Path, data: Iterable[Sentence]) -> str:
    """One object a line."""
    return write(path, "".join(json.dumps({"tokens": words, "ner_tags": tags}) + "\n" for words, tags in data))


def write_csv(path: Path, data: Iterable[Sentence]) -> str:
    """Words separated by spaces, tags as a JSON list."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = [[" ".join(words), json.dumps(tags)] for words, tags in data]
        csv.writer(file).writerows([["tokens", "ner_tags"], *rows])
    return str(path)


FORMATS: dict[str, tuple[str, Callable[[Path, Iterable[Sentence]], str]]] = {
    "de": (".conllu", write_conll),
    "en": (".jsonl", write_json_lines),
    "sw": (".csv", write_csv),
    "nl": (".conll", write_conll),
}


def write_data(folder: Path) -> dict[str, list[str]]:
    """Write every language in a format of its own; the items of each split's argument. `nl` has no training data."""
    items: dict[str, list[str]] = {}
    for split in ("train", "validation", "test"):
        languages = TRAINED if split == "train" else LANGUAGES
        for language in languages:
            suffix, write_file = FORMATS[language]
            path = write_file(folder / split / f"{language}{suffix}", sentences(language, split))
            items.setdefault(split, []).append(f"{language}={path}")
    return items


def write_model(folder: Path, dropout: float = 0.1) -> str:
    """Save a tiny BERT without a head, and a fast tokenizer that cuts the data's long words in two."""
    splits = product(LANGUAGES, ("train", "validation", "test"))
    words = {word for language, split in splits for row, _ in sentences(language, split) for word in row}
    pieces = {piece for word in words for piece in ([word] if len(word) < 7 else [word[:4], f"##{word[4:]}"])}
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(pieces)]
    tokenizer = BertTokenizer(vocab={piece: i for i, piece in enumerate(vocabulary)}, do_lower_case=False)
    tokenizer.model_max_length = 64
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return str(folder)


class Workplace:
    """A folder with the model, the data and the caches of a test file's commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = write_model(folder / "model")
        self.data = write_data(folder / "data")

    def arguments(self, output: str, *others: str, model: str | None = None) -> list[str]:
        """A short run on all the data, `nl` zero-shot, into the folder `output`; `others` come last and so prevail."""
        files = [part for split, items in self.data.items() for part in (f"--{split}_file", *items)]
        return [
            "--model_name_or_path", model or self.model, *files, "--eval_languages", *LANGUAGES, *TRAINING,
            "--cache_dir", str(self.folder / "cache"), "--output_dir", str(self.folder / output), *others,
        ]  # fmt: skip

    def run(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run the command in a process of its own, which has no need of the Hub unless `env` says so."""
        return subprocess.run(
            command(*arguments), cwd=self.folder, env=self.environment(**env), capture_output=True, text=True,
            timeout=250, check=False,
        )  # fmt: skip

    def environment(self, **env: str) -> dict[str, str]:
        """The variables of a process: those of this one without any of the Hub's, caches of its own, and `env`."""
        outer = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        return outer | {"HF_HOME": str(self.folder / "home"), "HF_HUB_OFFLINE": "1"} | env

    def path(self, *parts: str) -> Path:
        """A path within the folder."""
        return self.folder.joinpath(*parts)

    def json(self, *parts: str) -> Any:
        """What a JSON file within the folder holds."""
        return json.loads(self.path(*parts).read_text(encoding="utf-8"))

    def files(self, output: str) -> dict[str, bytes]:
        """Every file of an output folder, by its path there."""
        folder = self.path(output)
        return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def command(*arguments: str) -> list[str]:
    """The script with `arguments`."""
    return [sys.executable, str(ROOT / "run_ner.py"), *arguments]


def main(*arguments: str) -> int:
    """Run the script in this process, which saves the seconds that its imports take; its exit code."""
    import run_ner

    try:
        run_ner.main(list(arguments))
    except SystemExit as exit_:
        assert isinstance(exit_.code, int)
        return exit_.code
    return 0


def scores(metrics: Mapping[str, Any], prefix: str, metric: str = "f1") -> dict[str, float]:
    """The metric of each language that has it, and its average under `avg`."""
    keys = {name: f"{prefix}_{name}_{metric}" for name in [*LANGUAGES, "avg"]}
    return {name: metrics[key] for name, key in keys.items() if key in metrics}
