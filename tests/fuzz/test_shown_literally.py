"""Texts, labels and names in what is written for people: Markdown shows them as they are."""

import html
import re

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hf_seqreptile.clustering.cluster_report import write_examples
from hf_seqreptile.clustering.gaussian_clusters import Clusters
from hf_seqreptile.console.bad_input import bad_input_exits
from hf_seqreptile.errors import InputError
from hf_seqreptile.scores import markdown_table, zero_shot_line

markdown_it = pytest.importorskip("markdown_it", reason="renders the Markdown")
RENDER = markdown_it.MarkdownIt("commonmark").enable("table").render
MARKS = (
    "<script>alert(1)</script>", "</script>", "<b>", "&lt;", "- ", "1. ", "2) ", "+ ", "# ", "> ", "*a*", "_a_", "`",
    "[a](javascript:b)", "![x](y)", "|", "~~", "\\", "---", "===", "```", "<!--", "$", "a", " ", "\n",
)  # fmt: skip
TEXTS = st.lists(st.sampled_from(MARKS) | st.text(max_size=4), min_size=1, max_size=6).map("".join).filter(str.split)


def shown(cell: str) -> str:
    """What a browser shows of a rendered text, which must hold no element."""
    assert "<" not in cell
    return html.unescape(cell)


@settings(max_examples=30)
@given(TEXTS)
@example("---")
@example("- a")
@example("1. a")
@example("<script>alert(1)</script>")
def test_examples_of_a_cluster(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "clusters.md"
    one = np.zeros(1, dtype=int)
    clusters = Clusters(
        numbers=one, sizes=np.ones(1, dtype=int), responsibilities=np.ones(1), points=np.zeros((1, 2)),
        explained_variance=np.ones(2), bic=0.0, converged=True,
    )  # fmt: skip
    write_examples(clusters, Dataset.from_dict({"text": [text]}), ["text"], path)
    item = re.search(r"<ul>\n<li>(.*)</li>\n</ul>\n$", RENDER(path.read_text(encoding="utf-8")), re.S)
    assert item
    assert shown(item[1]) == re.sub(r"[\x00-\x1f\x7f-\x9f]", "\ufffd", " ".join(text.split()))


@settings(max_examples=30)
@given(TEXTS.filter(str.isprintable))
def test_names_in_tables_and_lines(name: str) -> None:
    """As scores.md and the model card write tasks."""
    expected = " ".join(name.split())
    cells = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", RENDER(markdown_table(["a", name], [[name, "1"]])))
    assert [shown(cell) for cell in cells] == ["a", expected, expected, "1"]
    line = RENDER(zero_shot_line([name])).removeprefix("<p>").removesuffix("</p>\n")
    assert shown(line) == f"Zero-shot (no training examples): {expected}."


@pytest.mark.parametrize("error", [InputError, OSError])
def test_messages_at_the_end_of_a_script(capsys: pytest.CaptureFixture[str], error: type[Exception]) -> None:
    """Libraries quote in them what they read."""
    with pytest.raises(SystemExit) as ended, bad_input_exits():
        raise error("two\nlines, \x1b[31mred\x07 and \u202eturned \ud800é")
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: two\nlines, \\x1b[31mred\\x07 and \\u202eturned \\ud800é\n"
