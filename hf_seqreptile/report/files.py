"""Which folders a report is of, and the files that it writes."""

from collections.abc import Sequence
from pathlib import Path

from ..analysis.folders import find_folders, read_runs
from ..analysis.runs import SavedRun
from ..errors import InputError
from .page import PAGE, Summary, page, read_figures
from .table_formats import csv_text, latex, markdown
from .tables import Table, make_tables


def finished_runs(patterns: Sequence[str]) -> tuple[list[SavedRun], list[str]]:
    """The runs with scores of their own that the patterns match, and for each other folder why it is left out.

    Raises:
        InputError: there is no such run, so that a report would have no table.
    """
    folders, unmatched = find_folders(patterns)
    finished, skipped = read_runs(folders)
    runs, skipped = [], unmatched + skipped
    for run in finished:
        if make_tables([run]):
            runs.append(run)
        elif run.scores:
            rows = sorted({name for rows in run.scores.values() for name in rows})
            skipped.append(
                f"{run.folder} has no scores of its method {run.method} (rows of its scores.json: {', '.join(rows)}). "
                f"Run its command again with --do_eval or --do_predict."
            )
        else:
            skipped.append(f"{run.folder} has no scores. Run its command again with --do_eval or --do_predict.")
    if not runs:
        raise InputError("\n  ".join(["No finished run with scores among these:", *skipped]))
    return runs, skipped


def write_report(
    tables: Sequence[Table], folder: Path, summaries: Sequence[Summary] = (), heading: str = ""
) -> list[Path]:
    """Write the tables' files and the page, with the figures that are in `folder`.

    Args:
        tables: as [`make_tables`] gives them.
        folder: made if it does not exist.
        summaries: of an experiment, which the page begins with. Default: there are none.
        heading: of the page. Default: how many runs are compared.

    Returns:
        The files; the page comes last.

    Raises:
        InputError: the figures there cannot be read.
    """
    texts = {folder / PAGE: page(tables, read_figures(folder), folder, summaries, heading)}
    for table in tables:
        for suffix, written in ((".md", markdown), (".tex", latex), (".csv", csv_text)):
            texts[folder / f"{table.name}{suffix}"] = written(table)
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    return list(texts)
