"""A table of what was measured on the way, with sentences below it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from kswap.report.glyphs import Glyphs
from kswap.report.markdown import prose, table
from kswap.report.paragraph import print_text
from kswap.report.table import Column, print_columns


def print_measurements(
    console: Console, heads: Sequence[str], rows: Sequence[Sequence[str]], lines: Sequence[str]
) -> None:
    """A row per measurement, and a paragraph per line."""
    glyphs = Glyphs.of(console)
    columns = [Column(head, tuple(Text(row[position]) for row in rows), "right") for position, head in enumerate(heads)]
    print_columns(console, glyphs, columns)
    console.print()
    for line in lines:
        print_text(console, Text(glyphs.clean(line)))


def measurements_markdown(
    title: str, heads: Sequence[str], rows: Sequence[tuple[str, ...]], lines: Sequence[str]
) -> str:
    """The same as GitHub-flavoured Markdown below a heading, ending with one line break.

    >>> print(measurements_markdown("Training", ["images"], [("32",)], ["done"]).splitlines()[-1])
    done.
    """
    made = [f"### {title}", "", *table(heads, rows, ">" * len(heads))]
    for line in lines:
        made += ["", f"{prose(line)}."]
    return "\n".join([*made, ""])
