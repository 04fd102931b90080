"""Tables of finished runs, as in the paper, and one page that shows them: `python -m hf_seqreptile.report`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..console.bad_input import bad_input_exits
from .delta import delta_tables
from .files import finished_runs, write_report
from .table_formats import plain_text
from .tables import make_tables

EPILOG = """example:
  python -m hf_seqreptile.report 'out/*' --output_dir report

writes each table as Markdown, LaTeX and CSV, and index.html with all of them and the figures that `python -m
hf_seqreptile.analysis` left in the same folder."""


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m hf_seqreptile.report",
        description="Compare finished runs: tables as in the paper, and one page.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folders of finished runs, or patterns: 'out/*'")
    parser.add_argument("--output_dir", type=Path, default=Path("report"), help="gets the files; default: report")
    args = parser.parse_args(argv)
    with bad_input_exits():
        runs, skipped = finished_runs(args.runs)
        for reason in skipped:
            print(f"skipped: {reason}", file=sys.stderr)
        tables = make_tables(runs)
        tables += delta_tables(tables)
        files = write_report(tables, args.output_dir)
    print("\n\n".join(map(plain_text, tables)))
    print("\nWritten:", *files, sep="\n  ")


if __name__ == "__main__":
    main()
