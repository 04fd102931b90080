"""What a command imports before it knows what to do: nothing that `--help` has no use for."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scripts import ROOT
from tests.test_structure import PACKAGE, imported_files

COMMANDS = [
    *sorted(ROOT.glob("run_*.py")),
    *(PACKAGE / folder / "__main__.py" for folder in ("report", "clustering", "retrieval")),
]  # fmt: skip
STOCK = {
    "accelerate", "datasets", "evaluate", "filelock", "huggingface_hub", "numpy", "pyarrow", "safetensors",
    "tokenizers", "torch", "tqdm", "transformers", "yaml",
}  # fmt: skip
"""What Hugging Face's scripts import in any case, themselves or by what they import."""
SMALL = {"jinja2"}
"""What takes hundredths of a second."""


def at_once(tree: ast.AST) -> Iterator[ast.AST]:
    """The statements that run when a file is imported, those for types alone left out."""
    for node in ast.iter_child_nodes(tree):
        is_for_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if not (is_for_types or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)):
            yield node
            yield from at_once(node)


def imported_at_once(path: Path) -> Iterator[Path | str]:
    """What a file imports when it is imported: files of ours, with the packages that they lie in, and libraries."""
    nodes = [
        n for n in at_once(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Import | ast.ImportFrom)
    ]
    lines = {node.lineno for node in nodes}
    for line, target in imported_files(path):
        if line in lines:
            yield target
            yield from (parent / "__init__.py" for parent in target.parents if PACKAGE in (parent, *parent.parents))
    for node in nodes:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        if not getattr(node, "level", 0):
            yield from (name.partition(".")[0] for name in names)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_command_imports_what_it_needs_when_it_needs_it(command: Path) -> None:
    found: dict[Path | str, Path | None] = {command: None}
    waiting: list[Path] = [command]
    while waiting:
        path = waiting.pop()
        for imported in imported_at_once(path):
            if imported not in found:
                found[imported] = path
                waiting += [imported] if isinstance(imported, Path) else []
    assert PACKAGE / "training/trainer.py" in found or command.parent != ROOT
    libraries = {name for name in found if isinstance(name, str)}
    assert "transformers" in libraries
    heavy = libraries - STOCK - SMALL - sys.stdlib_module_names - {"hf_seqreptile"}
    assert not heavy, {name: str(found[name].relative_to(ROOT)) for name in heavy}


@pytest.mark.slow
def test_the_help_of_a_script_has_imported_no_more_than_stock_scripts_do() -> None:
    code = (
        "import sys, datasets, evaluate\n"
        "from transformers import HfArgumentParser, Trainer, TrainingArguments\n"
        "before = {name.partition('.')[0] for name in sys.modules}\n"
        "import run_ner\n"
        "try:\n"
        "    run_ner.main(['--help'])\n"
        "finally:\n"
        "    print(*{name.partition('.')[0] for name in sys.modules} - before, file=sys.stderr)\n"
    )
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(process.stderr.splitlines()[-1].split()) - sys.stdlib_module_names == {"hf_seqreptile", "run_ner"}
