"""The page of a report: its tables and figures in one HTML file that needs no other."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..analysis.results import REPORT_FILE
from ..errors import InputError
from ..json_text import parse_json
from ..scores import AVERAGE, MISSING
from ..version import __version__
from .table_formats import csv_text, latex, markdown
from .tables import Table

PAGE = "index.html"
TEMPLATE = "page.html.jinja"


@dataclass(frozen=True)
class Figure:
    """One figure of the analyses.

    Args:
        title: stands over it.
        caption: says what is drawn.
        missing: what the runs could not give, a sentence each.
        image: as a data URI; `None` where nothing could be drawn.
    """

    title: str
    caption: str
    missing: Sequence[str]
    image: str | None


@dataclass(frozen=True)
class Summary:
    """What an experiment found, in words and a table.

    Args:
        title: stands over it.
        sentences: the answer.
        headers: of a table's columns.
        rows: of its cells; the first is the row's name.
        marked: rows that differ beyond chance.
        notes: what a reader must know besides.
    """

    title: str
    sentences: Sequence[str]
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    marked: Sequence[str]
    notes: Sequence[str]


def read_figures(folder: Path) -> list[Figure]:
    """The figures that the analyses left in `folder`; none where they were not made.

    Raises:
        InputError: analysis.json cannot be read, or names a file that is not there.
    """
    path = folder / REPORT_FILE
    if not path.is_file():
        return []
    try:
        listed = parse_json(path.read_text(encoding="utf-8"))["figures"]
        return [
            Figure(
                one["title"],
                one["caption"],
                list(one["missing"]),
                _uri((folder / one["file"]).read_bytes(), "image/png") if one["file"] else None,
            )
            for one in listed
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} and its figures cannot be read ({type(error).__name__}: {error}). Run `python -m "
            f"hf_seqreptile.analysis` again with --output_dir {folder}, or remove the file."
        ) from error


def page(
    tables: Sequence[Table],
    figures: Sequence[Figure],
    folder: Path,
    summaries: Sequence[Summary] = (),
    heading: str = "",
) -> str:
    """The page.

    It loads nothing: styles and images are in it, and so are the tables' other formats, as downloads.

    Args:
        tables: as [`make_tables`] gives them.
        figures: as [`read_figures`] gives them.
        folder: the report's, named where the page says how to make figures.
        summaries: of an experiment, which the page begins with. Default: there are none.
        heading: of the page. Default: how many runs are compared.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    runs = dict.fromkeys(str(run.folder) for table in tables for row in table.rows for run in row.runs)
    heading = heading or f"Comparison of {len(runs)} run{'' if len(runs) == 1 else 's'}"
    return environment.get_template(TEMPLATE).render(
        heading=heading,
        summaries=summaries,
        tables=tables,
        figures=figures,
        runs=list(runs),
        folder=folder,
        version=__version__,
        average=AVERAGE,
        missing=MISSING,
        downloads=[_downloads(table) for table in tables],
    )


def _downloads(table: Table) -> list[tuple[str, str, str]]:
    """What each format is called, its file and its URI."""
    return [
        ("CSV", f"{table.name}.csv", _uri(csv_text(table).encode(), "text/csv")),
        ("LaTeX", f"{table.name}.tex", _uri(latex(table).encode(), "text/plain")),
        ("Markdown", f"{table.name}.md", _uri(markdown(table).encode(), "text/plain")),
    ]


def _uri(content: bytes, kind: str) -> str:
    """A file as a URI that holds it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
