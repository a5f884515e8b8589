"""A benchmark for a terminal."""

from __future__ import annotations

from itertools import groupby

from rich.console import Console
from rich.text import Text

from kswap.benchmarks import cells
from kswap.benchmarks.result import Benchmark, Row
from kswap.report.glyphs import Glyphs
from kswap.report.paragraph import print_text
from kswap.report.table import Column, column, print_first_fitting

_COLOURS = {"faster": "bold green", "slower": "bold red", "no difference": "yellow", "too few rounds": "yellow"}
_FEWEST = 4  # columns that stay on every terminal: ratio, interval, verdict, target


def render_terminal(found: Benchmark, console: Console) -> None:
    """A table for each model and ``ch``, and below them what a reader has to know.

    On a narrow terminal the last columns are left out; in a pipe none is.
    """
    glyphs = Glyphs.of(console)
    for _, group in groupby(found.rows, lambda row: (row.model, row.ch, row.scheme, row.kind, row.align)):
        rows = list(group)
        _print_head(rows[0], console, glyphs)
        columns = _columns(rows, glyphs)
        fewest = _FEWEST if console.is_terminal else len(columns)
        choices = [columns[:count] for count in range(len(columns), fewest - 1, -1)]
        print_first_fitting(console, glyphs, choices)
        console.print()
    machine = found.machine
    lines = (*found.remarks(), machine.hardware(), machine.software(), machine.date, found.command)
    for line in filter(None, lines):
        print_text(console, Text(glyphs.clean(line), "dim"), f"{glyphs.bullet} ")


def _print_head(row: Row, console: Console, glyphs: Glyphs) -> None:
    size = glyphs.times.join(str(n) for n in row.input_size)
    counts = (
        f"parameters {row.params.original:,} {glyphs.arrow} {row.params.converted:,}",
        f"MACs {row.macs.original / 1e6:,.0f} M {glyphs.arrow} {row.macs.converted / 1e6:,.0f} M",
    )
    kind = [] if row.kind == "grouped" else [row.kind]
    settings = " ".join([row.scheme, *kind, *([] if row.align is None else [f"align {row.align}"])])
    title = Text.assemble((glyphs.clean(row.model), "bold"), f"  Ch={row.ch} {glyphs.clean(settings)} {size}")
    print_text(console, title)
    print_text(console, Text(f" {glyphs.dot} ".join(counts), "dim"))


def _columns(rows: list[Row], glyphs: Glyphs) -> list[Column]:
    """The columns of a table, what matters most first."""
    verdicts = tuple(Text(row.comparison.verdict, _COLOURS[row.comparison.verdict]) for row in rows)
    memory = [column("memory, MiB", [cells.memory(row, glyphs.arrow) for row in rows], "right")]
    ceilings = [column("ceiling", [cells.ceiling(row) for row in rows], "right")]
    return [
        column("ratio", [cells.ratio(row.comparison) for row in rows], "right", "bold"),
        column("95%", [cells.interval(row.comparison, glyphs.dash) for row in rows], "right"),
        Column("verdict", verdicts),
        column("target", [glyphs.clean(row.setting) for row in rows]),
        column("batch", [str(row.batch) for row in rows], "right"),
        *(ceilings if any(row.outside.ceiling is not None for row in rows) else []),
        column("original, ms", [cells.spread(row.seconds.original, glyphs.dash) for row in rows], "right"),
        column("rewritten, ms", [cells.spread(row.seconds.rewritten, glyphs.dash) for row in rows], "right"),
        *(memory if any(row.memory_bytes.is_measured for row in rows) else []),
        column("weights, MB", [cells.weights(row, glyphs.arrow) for row in rows], "right"),
        column("parameters stored", [f"{row.params.stored:,}" for row in rows], "right"),
    ]
