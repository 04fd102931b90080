"""Which folders a report is of, and the files that it writes."""

import glob
from collections.abc import Sequence
from pathlib import Path

from ..analysis.runs import SavedRun, read_run
from ..errors import InputError
from .page import PAGE, Summary, page, read_figures
from .table_formats import csv_text, latex, markdown
from .tables import Table, make_tables


def find_folders(patterns: Sequence[str]) -> list[Path]:
    """What the patterns match, in order, each once. The shell may have expanded them already.

    Raises:
        InputError: a pattern that matches nothing.
    """
    found: dict[Path, Path] = {}
    for pattern in patterns:
        # A folder may be called `[a]`.
        matches = [pattern] if Path(pattern).exists() else sorted(glob.glob(pattern, recursive=True))
        if not matches:
            raise InputError(f"{pattern} matches nothing. Give the folders of finished runs, such as 'out/*'.")
        for match in matches:
            found.setdefault(Path(match).resolve(), Path(match))
    return list(found.values())


def finished_runs(folders: Sequence[Path]) -> tuple[list[SavedRun], list[str]]:
    """The runs with scores of their own, and for each other folder why it is left out.

    Raises:
        InputError: there is no such run, so that a report would have no table.
    """
    runs, skipped = [], []
    for folder in folders:
        try:
            run = read_run(folder)
        except InputError as error:
            skipped.append(str(error))
            continue
        if make_tables([run]):
            runs.append(run)
        elif run.scores:
            rows = sorted({name for rows in run.scores.values() for name in rows})
            skipped.append(
                f"{folder} has no scores of its method {run.method} (rows of its scores.json: {', '.join(rows)}). "
                f"Run its command again with --do_eval or --do_predict."
            )
        else:
            skipped.append(f"{folder} has no scores. Run its command again with --do_eval or --do_predict.")
    if not runs:
        raise InputError("\n  ".join(["No finished run with scores among these:", *skipped]))
    return runs, skipped


def write_report(tables: Sequence[Table], folder: Path, summary: Summary | None = None) -> list[Path]:
    """Write the tables' files and the page, with the figures that are in `folder`.

    Args:
        tables: as [`make_tables`] gives them.
        folder: made if it does not exist.
        summary: of a comparison, which the page begins with. Default: there is none.

    Returns:
        The files; the page comes last.

    Raises:
        InputError: the figures there cannot be read.
    """
    texts = {folder / PAGE: page(tables, read_figures(folder), folder, summary)}
    for table in tables:
        for suffix, written in ((".md", markdown), (".tex", latex), (".csv", csv_text)):
            texts[folder / f"{table.name}{suffix}"] = written(table)
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    return list(texts)
