"""The table of timm's models on a console and as CSV."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from kswap.model_table.table import ModelRow, ModelTable, write_table
from kswap.report.glyphs import Glyphs
from kswap.report.paragraph import print_text
from kswap.report.table import Arrangements, column, print_named_rows

_HEADS = ("parameters", "1x1", "share", "after", "ratio", "path", "drop-in")


def _swept(row: ModelRow) -> tuple[str, str, str, str]:
    """Parameters after, their ratio, path, and whether drop-in."""
    found = row.sweep
    if found is None:
        return "", "", "", ""
    if found.error:
        return "", "", found.path, "failed"
    drop_in = "nothing to replace" if found.note else found.drop_in.partition(":")[0]
    return f"{found.params_after:,}", f"{found.ratio or 0:.1%}", found.path, drop_in


def _cells(row: ModelRow) -> tuple[str, ...]:
    return (f"{row.params:,}", str(row.pointwise_convolutions), f"{row.share:.1%}", *_swept(row))


def render_terminal(table: ModelTable, console: Console) -> None:
    """Print the table; on a narrow terminal the last columns go first."""
    glyphs = Glyphs.of(console)
    cells = [[glyphs.clean(cell) for cell in _cells(row)] for row in table.rows]
    columns = [
        column(head, [line[index] for line in cells], "right" if index < 5 else "left")
        for index, head in enumerate(_HEADS)
    ]
    names = [row.name for row in table.rows]
    print_named_rows(console, glyphs, "model", names, Arrangements.shrinking(console, columns))
    console.print()
    print_text(console, Text(table.tally()))


def render_csv(table: ModelTable) -> str:
    """The table as it comes with kswap."""
    return write_table(table.rows)
