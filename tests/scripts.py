"""What the tests of the scripts share: written data, a saved model that knows its words, and the command itself."""

import contextlib
import csv
import importlib
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelCard
from transformers import BertConfig, BertModel, BertTokenizer

from tests import forks

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "hf_seqreptile/data/sample"
SAMPLE_LANGUAGES = ["de", "sw", "tr"]
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
FILES = {
    "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    "train_results.json", "eval_results.json", "predict_results.json", "all_results.json", "trainer_state.json",
    "training_args.json", "scores.md", "scores.json", "README.md", "training.png",
}  # fmt: skip
"""What every finished run leaves, beside predictions and checkpoints."""
WITHOUT_PACKAGE = """
import importlib.abc, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "hf_seqreptile" or name.startswith("run_"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
"""
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


def write_model(folder: Path, dropout: float = 0.1, words: Iterable[str] | None = None) -> str:
    """Save a tiny BERT without a head, and a fast tokenizer that cuts long words in two.

    Args:
        folder: where to.
        dropout: of all layers.
        words: that it knows. Default: those of `sentences`.
    """
    if words is None:
        splits = product(LANGUAGES, ("train", "validation", "test"))
        words = (word for language, split in splits for row, _ in sentences(language, split) for word in row)
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


def read_predictions(path: Path) -> list[str]:
    """What a file of `index TAB prediction` lines holds, after checking its form."""
    header, *lines = path.read_text(encoding="utf-8").splitlines()
    assert header == "index\tprediction"
    numbers, labels = zip(*(line.split("\t") for line in lines), strict=True)
    assert list(numbers) == [str(number) for number in range(len(lines))]
    return list(labels)


def words_of_sample(problem: str, languages: Iterable[str]) -> set[str]:
    """The words in the files of the bundled sample, and what else its files consist of."""
    files = [path for language in languages for path in sorted((SAMPLES / problem / language).iterdir())]
    return {word for path in files for word in re.findall(r"\w+|[^\w\s]", path.read_text(encoding="utf-8"))}


class Place:
    """A folder with a model and the caches of one script's commands.

    Args:
        folder: the folder.
        script: `run_ner`, `run_qa`, `run_xnli` or `run_glue`.
        model: a saved model.
        data: the arguments that name the data.
    """

    def __init__(self, folder: Path, script: str, model: str, data: Iterable[str]) -> None:
        self.folder = folder
        self.script = script
        self.model = model
        self.data_arguments = list(data)

    def arguments(self, output: str, *others: str, model: str | None = None) -> list[str]:
        """A short run on all the data, into the folder `output`; `others` come last and so prevail."""
        return [
            "--model_name_or_path", model or self.model, *self.data_arguments, *TRAINING,
            "--cache_dir", str(self.folder / "cache"), "--output_dir", str(self.folder / output), *others,
        ]  # fmt: skip

    def main(self, *arguments: str) -> int:
        """Run the script in this process, which saves the seconds that its imports take; its exit code."""
        return main(*arguments, script=self.script)

    def printed_by(self, *arguments: str) -> str:
        """What the script prints in this process, which it is to end without an error."""
        with contextlib.redirect_stdout(io.StringIO()) as stdout:
            assert self.main(*arguments) == 0
        return stdout.getvalue()

    def run(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run the command in a process of its own, which has no need of the Hub unless `env` says so."""
        return subprocess.run(
            self.command(*arguments), cwd=self.folder, env=self.environment(**env), capture_output=True, text=True,
            timeout=250, check=False,
        )  # fmt: skip

    def run_two_processes(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command in two processes that train together."""
        return subprocess.run(
            [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2",
             *self.command(*arguments)[1:]],
            cwd=self.folder, env=self.environment(), capture_output=True, text=True, timeout=250, check=False,
        )  # fmt: skip

    def run_without_package(self, code: str, *arguments: str) -> str:
        """What Python code prints, run in the folder by a process that can import nothing of this package's."""
        process = subprocess.run(
            [sys.executable, "-I", "-c", WITHOUT_PACKAGE + code, *arguments], cwd=self.folder,
            env=self.environment(), capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
        assert process.returncode == 0, process.stderr
        return process.stdout

    def command(self, *arguments: str) -> list[str]:
        """The script with `arguments`."""
        return [sys.executable, str(ROOT / f"{self.script}.py"), *arguments]

    def environment(self, **env: str) -> dict[str, str]:
        """The variables of a process: those of this one without any of the Hub's, caches of its own, and `env`."""
        outer = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        return outer | {"HF_HOME": str(self.folder / "home"), "HF_HUB_OFFLINE": "1"} | env

    def kill_and_continue(self, arguments: list[str], output: str) -> None:
        """Start the command, kill it some time after its first checkpoint, and run it again to its end."""
        arguments = [*arguments, "--output_dir", str(self.path(output))]
        delay = random.uniform(0, 0.5)
        with forks.started(self.path(f"{output}.log"), end_as, self.script, arguments) as process:
            while process.exitcode is None and not list(self.path(output).glob("checkpoint-*/trainer_state.json")):
                time.sleep(0.01)
            time.sleep(delay)
            process.kill()
            process.join()
        assert process.exitcode == -signal.SIGKILL, f"it ended before it was killed, {delay:.2f} s after a checkpoint"
        assert not self.path(output, "train_results.json").exists()
        assert "Continuing from" in self.printed_by(*arguments)

    def train_briefly(self, method: str, *arguments: str) -> dict[str, float]:
        """The results of a few steps of any method on German and Swahili, or German alone."""
        own = {
            "stl": ["--languages", "de", "--eval_languages", "de"],
            "recadam": ["--recadam_gamma", "5", "--recadam_t0", "2"],
            "seq_reptile": ["--inner_steps", "2"],
            "reptile": ["--inner_steps", "2"],
        }
        output = f"of-{method.replace(':', '-')}"
        settings = [*own.get(method, []), *arguments, "--do_train", "--do_eval", "--max_steps", "4"]
        settings += ["--max_train_samples", "8", "--max_eval_samples", "4"]
        assert self.main(*self.arguments(output, "--method", method, *settings)) == 0
        folder = f"{output}/de" if method == "stl" else output
        assert self.path(folder, "model.safetensors").is_file()
        return self.json(folder, "all_results.json")

    def assert_same_end(self, output: str, expected: str) -> None:
        """Two runs have the same weights and scores, bit for bit, and wrote the same files."""
        files, wanted = self.files(output), self.files(expected)
        assert files["model.safetensors"] == wanted["model.safetensors"]
        assert files["scores.json"] == wanted["scores.json"]
        ends = [sorted(name for name in each if "/" not in name) for each in (files, wanted)]
        assert ends[0] == ends[1]

    def card(self, output: str) -> ModelCard:
        """The model card of an output folder."""
        return ModelCard.load(self.path(output, "README.md"))

    def usage(self, output: str) -> str:
        """The Python lines in the model card of an output folder."""
        match = re.search("```python\n(.*?)```", self.card(output).text, re.DOTALL)
        assert match is not None
        return match[1]

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


class Workplace(Place):
    """Named entities in the languages of `sentences`, `nl` zero-shot."""

    def __init__(self, folder: Path) -> None:
        self.data = write_data(folder / "data")
        files = [part for split, items in self.data.items() for part in (f"--{split}_file", *items)]
        data = [*files, "--eval_languages", *LANGUAGES]
        super().__init__(folder, "run_ner", write_model(folder / "model"), data)


def sample_place(folder: Path, script: str, problem: str) -> Place:
    """German and Swahili of the bundled sample of `problem`, and Turkish zero-shot."""
    model = write_model(folder / "model", words=words_of_sample(problem, SAMPLE_LANGUAGES))
    data = ["--dataset_name", "sample", "--languages", "de", "sw", "--eval_languages", *SAMPLE_LANGUAGES]
    return Place(folder, script, model, data)


def main(*arguments: str, script: str = "run_ner") -> int:
    """Run a script in this process; its exit code."""
    try:
        importlib.import_module(script).main(list(arguments))
    except SystemExit as exit_:
        assert isinstance(exit_.code, int)
        return exit_.code
    return 0


def end_as(script: str, arguments: Iterable[str]) -> None:
    """Run a script in this process, and end it as the script ends."""
    importlib.import_module(script).main(list(arguments))


def scores(
    metrics: Mapping[str, Any], prefix: str, metric: str = "f1", languages: Iterable[str] = LANGUAGES
) -> dict[str, float]:
    """The metric of each language that has it, and its average under `avg`."""
    keys = {name: f"{prefix}_{name}_{metric}" for name in [*languages, "avg"]}
    return {name: metrics[key] for name, key in keys.items() if key in metrics}
