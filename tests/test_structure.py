"""Which file imports which: folders as their docstrings say, one way, and no circle of files."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.scripts import ROOT

PACKAGE = ROOT / "hf_seqreptile"
FILES = sorted([*PACKAGE.rglob("*.py"), *ROOT.glob("run_*.py")])
FOLDERS = sorted(path.parent for path in PACKAGE.glob("*/__init__.py"))


def imported_files(path: Path) -> Iterator[tuple[int, Path]]:
    """Each import of the package's own in a file, those for types alone and in functions too, with its line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            start = path.parents[node.level - 1] if node.level else ROOT
            module = start.joinpath(*(node.module or "").split("."))
            names = [module / alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [ROOT.joinpath(*alias.name.split(".")) for alias in node.names]
        else:
            continue
        for name in names:
            # A module, a package, or what the module above it defines.
            found = [name.with_suffix(".py"), name / "__init__.py", name.parent.with_suffix(".py")]
            found.append(name.parent / "__init__.py")
            for candidate in found:
                if candidate.is_file() and PACKAGE in candidate.parents:
                    yield node.lineno, candidate
                    break


def folder_of(path: Path) -> str:
    """The folder within the package; `top` for the files beside the folders, `package` for what heads them all."""
    if path == PACKAGE / "__init__.py":
        return "package"
    if PACKAGE not in path.parents:
        return "scripts"
    return path.parent.name if path.parent != PACKAGE else "top"


@cache
def allowed() -> dict[str, set[str]]:
    """Which folders each may import from: those that its docstring names, and what those may, and the top's files."""
    named: dict[str, set[str]] = {"scripts": {"command_line", "problems"}, "top": set()}
    for folder in FOLDERS:
        docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
        one_sentence = re.fullmatch(r"[A-Z][^\n]*; imports ([^\n]+)\.", docstring)
        assert one_sentence, f"{folder.name}/__init__.py must say what the folder may import: '…; imports data.'"
        named[folder.name] = set(re.split(r", | and ", one_sentence[1])) & {path.name for path in FOLDERS}
    order = TopologicalSorter(named).static_order()
    for name in order:
        named[name] |= {"top"} | {further for other in named[name] for further in named[other]}
    return named


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_what_its_folder_may(path: Path) -> None:
    own = folder_of(path)
    if own == "package":
        return
    may = allowed()[own] | {own}
    wrong = [f"line {line}: {target.relative_to(ROOT)}" for line, target in imported_files(path)
             if folder_of(target) not in may]  # fmt: skip
    assert not wrong, f"{path.relative_to(ROOT)} imports what {own} may not"


def test_no_files_import_each_other_in_a_circle() -> None:
    graph = {path: {target for _, target in imported_files(path)} - {path} for path in FILES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as circle:
        pytest.fail(" → ".join(str(path.relative_to(ROOT)) for path in circle.args[1]))


def test_training_and_problems_know_nothing_of_each_other() -> None:
    may = allowed()
    assert "problems" not in may["training"] and "training" not in may["problems"]
    assert not {"training", "methods", "problems"} & may["publishing"]
