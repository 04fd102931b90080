"""A report's table as Markdown, LaTeX, CSV and plain text."""

import csv
import io
from statistics import fmean

from ..scores import MISSING, escape_markdown, markdown_table
from .table_rows import BUDGET, Row
from .tables import Table

_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        '"': r"\textquotedblright{}",
        "±": r"$\pm$",
        "−": "$-$",
        "–": "--",
        "†": r"$^\dagger$",
        **{character: rf"\{character}" for character in "&%$#_{}"},
        **{letter: rf"$\{name}$" for letter, name in zip("αβγη", ("alpha", "beta", "gamma", "eta"), strict=True)},
    }
)
"""The Greek letters are the settings'."""


def plain_text(table: Table) -> str:
    """Title, table and notes for a terminal, without the marks of the best results."""
    return "\n".join([table.title, "", _unmarked(table), "", *table.notes])


def markdown(table: Table) -> str:
    """A section with the table and its notes. Markdown has no underline of its own; the table has HTML's."""
    header, rule, *lines = _unmarked(table).splitlines()
    marked = [_mark(line, table, row) for line, row in zip(lines, table.rows, strict=True)]
    body = "\n".join([header, rule, *marked])
    notes = "  \n".join(escape_markdown(note) for note in table.notes_on_marks + table.notes)
    return f"## {escape_markdown(table.title)}\n\n{body}\n\n{notes}\n"


def latex(table: Table) -> str:
    """A `table` environment with the notes as its caption; it needs the package booktabs."""
    columns = table.columns
    header = " & ".join(["Method", *(escape_latex(table.heading(column)) for column in columns), *table.budgets])
    rows = [
        " & ".join(
            [
                escape_latex(row.label),
                *(_latex_cell(table, row, column) for column in columns),
                *(escape_latex(table.budget(row, name)) for name in table.budgets),
            ]
        )
        for row in table.rows
    ]
    lines = [
        r"% Needs \usepackage{booktabs}.",
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{escape_latex(' '.join([table.title + '.', *table.notes_on_marks, *table.notes]))}}}",
        rf"  \begin{{tabular}}{{l{'r' * (len(columns) + len(table.budgets))}}}",
        r"    \toprule",
        rf"    {header} \\",
        r"    \midrule",
        *(rf"    {row} \\" for row in rows),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def csv_text(table: Table) -> str:
    """For programs: means and sample standard deviations in columns of their own, in percent; missing ones are empty.

    Optimizer steps and gradient computations are means over the row's runs.

    A spreadsheet takes no cell for a formula: one that begins like one gets an apostrophe in front.
    """
    headings = [table.heading(column) if table.baseline else column for column in table.columns]
    names = [
        f"{column} (zero-shot)" if column in table.zero_shot else heading
        for column, heading in zip(table.columns, headings, strict=True)
    ]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    scores = [defused(cell) for name in names for cell in (name, f"{name} std")]
    writer.writerow(["method", "seeds", *scores, *(BUDGET[name] for name in table.budgets)])
    for row in table.rows:
        numbers: list[str] = []
        for column in table.columns:
            cell = row.cells.get(column)
            values = (None, None) if cell is None else (cell.mean, cell.deviation)
            numbers += ["" if value is None else f"{100 * value:.4f}" for value in values]
        budgets = [row.budget[name] for name in table.budgets]
        numbers += [f"{fmean(values):.10g}" if values else "" for values in budgets]
        writer.writerow([defused(row.label), row.seeds, *numbers])
    return buffer.getvalue()


def escape_latex(text: str) -> str:
    """`text` on one line, such that LaTeX sets it as it is; unprintable characters are left out."""
    return "".join(character for character in " ".join(text.split()) if character.isprintable()).translate(_LATEX)


def defused(cell: str) -> str:
    """`cell` on one line, such that a spreadsheet takes it for text."""
    line = " ".join(cell.split())
    return f"'{line}" if line.startswith(("=", "+", "-", "@")) else line


def _unmarked(table: Table) -> str:
    rows = [
        [
            row.label,
            *(table.text(row, column) for column in table.columns),
            *(table.budget(row, name) for name in table.budgets),
        ]
        for row in table.rows
    ]
    return markdown_table(["Method", *map(table.heading, table.columns), *table.budgets], rows)


def _mark(line: str, table: Table, row: Row) -> str:
    # No cell holds " | ": there, a bar is escaped.
    label, *cells = line.removesuffix(" |").split(" | ")
    for i, column in enumerate(table.columns):
        if column not in row.cells:
            continue
        mean = marked = row.cells[column].shown_mean
        if table.is_underlined(row, column):
            marked = f"<u>{marked}</u>"
        if table.is_bold(row, column):
            marked = f"**{marked}**"
        cells[i] = cells[i].replace(mean, marked, 1)
    return " | ".join([label, *cells]) + " |"


def _latex_cell(table: Table, row: Row, column: str) -> str:
    cell = row.cells.get(column)
    if cell is None:
        return escape_latex(MISSING)
    mean = cell.shown_mean
    if table.is_bold(row, column):
        mean = rf"\textbf{{{mean}}}"
    if table.is_underlined(row, column):
        mean = rf"\underline{{{mean}}}"
    return "~".join([mean, *escape_latex(cell.shown_deviation).split()])
