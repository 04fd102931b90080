"""LibMTL's Δ: how much better a method is than a model for each task alone, relative to that, over the tasks."""

from collections.abc import Sequence
from dataclasses import replace

from ..scores import AVERAGE
from .table_rows import STL, Cell, Row
from .tables import Table


def delta_tables(tables: Sequence[Table]) -> list[Table]:
    """For each table and each of its rows of `stl` a table of the other methods' improvements over that.

    A cell is ±(score − stl's) / stl's, where stl's is the mean over its seeds, with − for scores of which less is
    better; Δ is the mean over the tasks. Tasks that STL has no score of, or 0, are left out.
    """
    made = []
    for table in tables:
        baselines = [row for row in table.rows if row.method == STL]
        found = [one for row in baselines if (one := _over(table, row)) is not None]
        made += [replace(one, name=f"{one.name}{f'-{i}' if i > 1 else ''}") for i, one in enumerate(found, start=1)]
    return made


def _over(table: Table, stl: Row) -> Table | None:
    alone = {task: stl.cells[task].mean for task in table.columns if task != AVERAGE and task in stl.cells}
    alone = {task: score for task, score in alone.items() if score}
    rows = [_improvements(row, alone, table.metric.greater_is_better) for row in table.methods if row.method != STL]
    if not alone or not rows:
        return None
    columns = [*alone, AVERAGE] if len(alone) > 1 else list(alone)
    return replace(table, name=f"{table.name}-delta", columns=columns, rows=rows, baseline=stl.label)


def _improvements(row: Row, alone: dict[str, float], greater_is_better: bool) -> Row:
    sign = 1 if greater_is_better else -1
    cells = {
        task: Cell(
            [sign * (score - score_alone) / abs(score_alone) for score in row.cells[task].scores], is_change=True
        )
        for task, score_alone in alone.items()
        if task in row.cells
    }
    # Which seed a task lacks, a cell does not tell.
    if len(alone) > 1 and len(cells) == len(alone) and all(len(c.scores) == row.seeds for c in cells.values()):
        by_seed = zip(*(cell.scores for cell in cells.values()), strict=True)
        cells[AVERAGE] = Cell([sum(of_seed) / len(alone) for of_seed in by_seed], is_change=True)
    return replace(row, cells=cells)
