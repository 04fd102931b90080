"""The page of a report: whole, escaped, and as a real browser shows it."""

import base64
import csv
import io
import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Drawing

from hf_seqreptile.errors import InputError
from hf_seqreptile.report.page import page, read_figures
from hf_seqreptile.report.table_formats import csv_text
from hf_seqreptile.report.tables import Table, make_tables
from tests.browser import CHROMIUM, chromium
from tests.written_runs import write_run

EVIL = '"><script>alert(1)</script><img src="http://example.com/x.png">'
LANGUAGES = ["de", "en", "es", "hi", "jv", "kk", "mr", "my", "sw", "te", "tl", "yo"]


class Elements(HTMLParser):
    """Every element with its attributes, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """As the base class calls it."""
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """As the base class calls it."""
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every element of that name."""
        return [attributes for name, attributes in self.elements if name == tag]


def write_figures(folder: Path, **changes: Any) -> None:
    """Leave one figure that was drawn and one that was not, as the analyses do."""
    folder.mkdir(parents=True, exist_ok=True)
    drawing = Drawing(figsize=(8, 4), dpi=100)
    drawing.subplots().plot([1, 2, 3])
    FigureCanvasAgg(drawing).print_png(folder / "cosine.png")
    drawn = {"name": "cosine", "file": "cosine.png", "title": f"Cosine {EVIL}", "caption": f"Pairs {EVIL}"}
    absent = {"name": "mlm", "file": None, "title": "Forgetting", "caption": "Loss", "missing": [f"mtl: no {EVIL}"]}
    content = {"figures": [drawn | {"missing": []} | changes, absent]}
    (folder / "analysis.json").write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> list[Table]:
    """A wide table with awkward names and several seeds, and a small one."""
    folder = tmp_path_factory.mktemp("runs")
    scores = {task: 0.5 + i / 100 for i, task in enumerate([*LANGUAGES, EVIL])}
    zero_shot = ["yo", EVIL]
    runs = [
        write_run(
            folder / f"{method}-{seed}-with_a_long_name_that_nothing_breaks", method,
            {task: score + seed / 50 for task, score in scores.items()}, seed=seed, zero_shot=zero_shot, start=scores,
        )
        for method in ("mtl", "torchjd:UPGrad", "seq_reptile")
        for seed in (1, 2)
    ]  # fmt: skip
    # The same seed again: the rows are told apart by long folder names.
    runs.append(
        write_run(
            folder / "mtl-2-again_with_a_long_name_that_nothing_breaks", "mtl", scores, seed=2, zero_shot=zero_shot
        )
    )
    runs.append(write_run(folder / EVIL.replace("/", "-"), "mtl", {"de": 0.5}, problem="text-classification"))
    return make_tables(runs)


@pytest.fixture(scope="module")
def report(tables: list[Table], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A written page with tables and figures."""
    folder = tmp_path_factory.mktemp("report")
    write_figures(folder)
    path = folder / "index.html"
    path.write_text(page(tables, read_figures(folder), folder), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def elements(report: Path) -> Elements:
    """The page, parsed."""
    return Elements(report.read_text(encoding="utf-8"))


def test_the_page_refers_to_nothing_outside_itself(elements: Elements) -> None:
    references = [
        value or "" for _, attributes in elements.elements for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action", "poster")
    ]  # fmt: skip
    assert references and all(value.startswith("data:") for value in references)
    assert not {"script", "iframe", "object", "form"} & {tag for tag, _ in elements.elements}
    styles = " ".join(elements.texts)
    assert "@import" not in styles and "url(" not in styles


def test_every_name_is_shown_as_it_is(elements: Elements) -> None:
    text = " ".join(elements.texts)
    # A zero-shot task, a figure's title, caption and what is missing, and a folder.
    assert text.count("<script>alert(1)<") >= 5
    assert not any(name.startswith("on") for _, attributes in elements.elements for name in attributes)


def test_tables_and_images_can_be_heard(elements: Elements, tables: list[Table]) -> None:
    assert all(heading["scope"] in ("col", "row") for heading in elements.all("th"))
    assert len(elements.all("table")) == len(tables) == 2
    ids = {attributes.get("id") for _, attributes in elements.elements}
    assert all(attributes["aria-labelledby"] in ids for attributes in elements.all("table"))
    assert all(image["alt"] for image in elements.all("img"))
    levels = [int(tag[1]) for tag, _ in elements.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_images_and_downloads_are_whole(elements: Elements, tables: list[Table], report: Path) -> None:
    (image,) = elements.all("img")
    assert image["src"] is not None
    assert base64.b64decode(image["src"].split(",")[1]) == (report.parent / "cosine.png").read_bytes()
    files = {link["download"]: link["href"] for link in elements.all("a")}
    for table in tables:
        content = base64.b64decode((files[f"{table.name}.csv"] or "").split(",")[1]).decode()
        assert content == csv_text(table) and len(list(csv.reader(io.StringIO(content)))) == 1 + len(table.rows)


def test_marks_are_those_of_the_table(elements: Elements, tables: list[Table], report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    cells = [(table, row, column) for table in tables for row in table.rows for column in table.columns]
    assert text.count("<strong>") == sum(table.is_bold(row, column) for table, row, column in cells) > 0
    assert text.count("<u>") == sum(table.is_underlined(row, column) for table, row, column in cells)


def test_without_figures_the_page_says_how_to_make_them(tables: list[Table], tmp_path: Path) -> None:
    assert read_figures(tmp_path) == []
    assert f"python -m hf_seqreptile.analysis RUNS --output_dir {tmp_path}" in page(tables, [], tmp_path)


@pytest.mark.parametrize("changes", [{"file": "absent.png"}, {"title": None, "file": 5}])
def test_figures_that_cannot_be_read_are_named(tmp_path: Path, changes: dict[str, Any]) -> None:
    write_figures(tmp_path, **changes)
    with pytest.raises(InputError, match=r"analysis\.json"):
        read_figures(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", '{"figures": [3]}', '{"figures": [{}]}'])
def test_a_broken_list_of_figures_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "analysis.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"analysis\.json"):
        read_figures(tmp_path)


CONTRAST = """
() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const luminance = colour => {
    canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(x => x / 255)
      .map(x => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = e => {
    for (; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if (colour !== "rgba(0, 0, 0, 0)") return colour;
    }
    return "white";
  };
  const leaves = [...document.querySelectorAll("body *")].filter(e => !e.children.length);
  const texts = leaves.filter(e => e.innerText && e.offsetParent);
  return Math.min(...texts.map(e => {
    const [a, b] = [luminance(getComputedStyle(e).color), luminance(behind(e))].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  }));
}
"""
"""The smallest contrast of any text with what is behind it, as WCAG 2 defines it."""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (apt-get install chromium)")
def test_a_browser_shows_it_on_desktops_and_phones_in_light_and_dark(report: Path, tmp_path: Path) -> None:
    colours = set()
    with chromium(tmp_path / "profile") as browser:
        for width, height, mobile in ((1280, 900, False), (390, 844, True)):
            for dark in (False, True):
                browser.open(report, width, height, mobile, dark)
                assert browser.evaluate("innerWidth") == width
                assert browser.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
                boxes = "[...document.querySelectorAll('.scroll')]"
                assert browser.evaluate(f"{boxes}.every(e => e.getBoundingClientRect().right <= innerWidth)")
                assert browser.evaluate(f"{boxes}.some(e => e.scrollWidth > e.clientWidth)"), "no table is wide"
                sticks = "e => { e.scrollLeft = 200; return e.querySelector('th').getBoundingClientRect().left >= 0; }"
                assert browser.evaluate(f"{boxes}.every({sticks})")
                images = "Promise.all([...document.images].map(i => i.decode().then(() => i.naturalWidth)))"
                assert browser.evaluate(images) == [800]
                assert browser.evaluate(f"({CONTRAST})()") >= 4.5
                colours.add(browser.evaluate("getComputedStyle(document.body).backgroundColor"))
                assert browser.complaints == []
                assert browser.requests == [report.resolve().as_uri()]
    assert len(colours) == 2
