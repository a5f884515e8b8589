"""A benchmark for a terminal."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Any

from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from kswap.benchmarks import cells
from kswap.benchmarks.result import Benchmark, Row
from kswap.report.glyphs import Glyphs

_COLOURS = {"faster": "bold green", "slower": "bold red", "no difference": "yellow", "too few rounds": "yellow"}


def render_terminal(found: Benchmark, console: Console) -> None:
    """A table for each model and ``ch``, and below them what a reader has to know."""
    glyphs = Glyphs.of(console)
    if not console.is_terminal:
        console.width = max(console.width, 200)  # nobody wraps a log
    for _, group in groupby(found.rows, lambda row: (row.model, row.ch, row.scheme)):
        rows = list(group)
        _print_head(rows[0], console, glyphs)
        console.print(_fitting(rows, console, glyphs))
        console.print()
    machine = found.machine
    lines = (*found.remarks(), machine.hardware(), machine.software(), machine.date, found.command)
    for line in filter(None, lines):
        console.print(Text(f"{glyphs.bullet} {glyphs.clean(line)}", "dim"), soft_wrap=not console.is_terminal)


def _print_head(row: Row, console: Console, glyphs: Glyphs) -> None:
    size = glyphs.times.join(str(n) for n in row.input_size)
    counts = (
        f"parameters {row.params.original:,} {glyphs.arrow} {row.params.converted:,}",
        f"MACs {row.macs.original / 1e6:,.0f} M {glyphs.arrow} {row.macs.converted / 1e6:,.0f} M",
    )
    title = Text.assemble((glyphs.clean(row.model), "bold"), f"  Ch={row.ch} {row.scheme} {size}")
    console.print(title, overflow="fold")
    console.print(Text(f" {glyphs.dot} ".join(counts), "dim"), overflow="fold")


def _fitting(rows: list[Row], console: Console, glyphs: Glyphs) -> Table:
    """The table with as many columns as the console has room for; the last ones go first."""
    columns: list[tuple[str, JustifyMethod, Callable[[Row], Any]]] = [
        ("ratio", "right", lambda row: Text(cells.ratio(row.comparison), "bold")),
        ("95%", "right", lambda row: cells.interval(row.comparison, glyphs.dash)),
        ("verdict", "left", lambda row: Text(row.comparison.verdict, _COLOURS[row.comparison.verdict])),
        ("target", "left", lambda row: row.setting),
        ("batch", "right", lambda row: str(row.batch)),
        ("original, ms", "right", lambda row: cells.spread(row.seconds.original, glyphs.dash)),
        ("rewritten, ms", "right", lambda row: cells.spread(row.seconds.rewritten, glyphs.dash)),
        ("memory, MiB", "right", lambda row: cells.memory(row, glyphs.arrow)),
        ("weights, MB", "right", lambda row: cells.weights(row, glyphs.arrow)),
        ("parameters stored", "right", lambda row: f"{row.params.stored:,}"),
    ]
    if not any(row.memory_bytes.is_measured for row in rows):
        columns = [column for column in columns if column[0] != "memory, MiB"]
    while True:
        table = glyphs.table()
        for head, justify, _ in columns:
            table.add_column(head, justify=justify, no_wrap=True)
        for row in rows:
            table.add_row(*(cell(row) for _, _, cell in columns))
        if (
            len(columns) <= 4
            or console.measure(table, options=console.options.update(width=1000)).maximum <= console.width
        ):
            return table
        columns.pop()
