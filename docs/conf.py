"""The documentation as a site: `make docs` builds it from the pages here and in docs/, and fails on any warning."""

import inspect
import re
from dataclasses import fields, is_dataclass
from textwrap import dedent
from typing import Any

from sphinx.application import Sphinx

import hf_seqreptile

project = "hf_seqreptile"
version = release = hf_seqreptile.__version__
html_title = f"{project} {version}"
html_theme = "furo"
html_copy_source = False
html_show_copyright = False

extensions = ["myst_parser", "sphinx.ext.autodoc"]
# The folder that is built is the repository, so that links work on the site as they do in a clone.
root_doc = "README"
include_patterns = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/**.md"]
# Not searched for pages: it takes long.
exclude_patterns = [".*", "out*"]
myst_heading_anchors = 3

nitpicky = True
# Other libraries' classes have their own sites; a name of ours must be found.
nitpick_ignore_regex = [("py:.*", r"(?!hf_seqreptile)[\w.]+")]
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_preserve_defaults = True
default_role = "any"

CONTENTS = {
    "Start": ["docs/index", "docs/compare", "docs/intermediate"],
    "Guides": [
        "docs/data",
        "docs/question_answering",
        "docs/natural_language_inference",
        "docs/run_glue",
        "docs/run_image_classification",
        "docs/run_multitask",
        "docs/multiple_choice",
        "docs/zero_shot",
        "docs/retrieval",
        "docs/choosing",
        "docs/lora",
        "docs/several_processes",
        "docs/resuming",
        "docs/publishing",
        "docs/python",
        "docs/own_trainer",
        "docs/own_problem",
        "docs/own_method",
        "docs/troubleshooting",
    ],
    "Methods": [f"docs/methods/{name}" for name in hf_seqreptile.METHODS],
    "Analyses": [
        "docs/analysis/gradient_alignment",
        "docs/analysis/after_training",
        "docs/analysis/gradient_cosines",
        "docs/analysis/retrieval",
        "docs/analysis/masked_language_model_loss",
        "docs/analysis/distance_from_start",
        "docs/analysis/cosine_and_loss",
        "docs/analysis/learning_rate",
        "docs/analysis/gradient_computations",
        "docs/analysis/wall_clock",
        "docs/analysis/inner_steps",
        "docs/analysis/report",
        "docs/analysis/wikiann",
    ],
    "Results": ["docs/paper", "docs/benchmarks", "docs/reliability", "docs/synthetic"],
    "Reference": ["docs/api", "docs/stock_arguments", "docs/bad_input", "docs/design", "CONTRIBUTING", "CHANGELOG"],
}
"""Captions and pages of the side bar. A page that is missing here fails the build."""


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", add_contents)
    app.connect("autodoc-process-docstring", read_docstring)
    app.connect("autodoc-process-signature", leave_out_arguments)
    app.connect("build-finished", write_index)


def add_contents(app: Sphinx, name: str, source: list[str]) -> None:
    """Append the table of contents to the README, which shows none of it elsewhere."""
    if name == root_doc:
        for caption, pages in CONTENTS.items():
            source[0] += "\n".join(["", "```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```", ""])


def write_index(app: Sphinx, exception: Exception | None) -> None:
    """The site's address leads to the README."""
    (app.outdir / "index.html").write_text('<meta http-equiv="refresh" content="0; url=README.html">\n')


def leave_out_arguments(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, signature: str | None, returned: str | None
) -> tuple[str, None] | None:
    """No signature for a command line's arguments: with those of transformers it would be a page."""
    return ("", None) if what == "class" and is_dataclass(thing) and _arguments(thing) else None


def read_docstring(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Turn a docstring's Markdown and its sections into reStructuredText; arguments come with their help."""
    text = "\n".join(lines)
    if what == "class" and is_dataclass(thing):
        text = f"{text.rstrip()}\n\n{_arguments(thing)}"
    text = re.sub(r"^( *)```(\w+)\n(.*?)^ *```", _code_block, text, flags=re.M | re.S)
    text = re.sub(r"^(\w[\w ]*):\n((?: {4}.*\n?)+)", _section, text, flags=re.M)
    text = re.sub(r"\[`([\w.]+)`\]", r":any:`\1`", text)
    text = re.sub(r"(?<![`:\w])`([^`\n]+)`(?!`)", r"``\1``", text)
    lines[:] = text.split("\n")


def _section(match: re.Match[str]) -> str:
    """`Args:` and the like as a list of what they describe."""
    title, body = match[1], dedent(match[2])
    if title not in ("Returns", "Yields"):
        body = re.sub(r"^    ", "  ", re.sub(r"^(?=\S)", "- ", body, flags=re.M), flags=re.M)
        body = re.sub(r"^- ([\w, ]+):", r"- **\1**:", body, flags=re.M)
    return f"*{title}*\n\n{body}\n"


def _arguments(thing: type) -> str:
    """The fields that the class itself adds to the command line."""
    helps = {field.name: field.metadata.get("help") for field in fields(thing)}
    own = [f"    {name}: {helps[name]}" for name in inspect.get_annotations(thing) if helps.get(name)]
    return "\n".join(["Args:", *own, ""]) if own else ""


def _code_block(match: re.Match[str]) -> str:
    indent, language, code = match.groups()
    body = "".join(f"    {line}\n" for line in code.splitlines())
    return f"{indent}.. code-block:: {language}\n\n{body}"
