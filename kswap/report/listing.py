"""A list of things with a few words on each: presets, recipes, and whatever else a command lists."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from kswap.errors import ReportError
from kswap.report.csv_text import csv_text
from kswap.report.glyphs import Glyphs
from kswap.report.markdown import prose, table
from kswap.report.paragraph import print_text


@dataclass(frozen=True)
class Listing:
    """Rows of text under ``heads``; the last column is prose, and wrapped on a console. ``closing`` says what next.

    >>> Listing(("preset", "what it does"), (("no-sum", "the output is that of L alone"),)).to_json()
    [{'preset': 'no-sum', 'what it does': 'the output is that of L alone'}]
    """

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    closing: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.heads):
                raise ReportError(f"a row of the list has {len(row)} cells under {len(self.heads)} heads")

    def to_json(self) -> list[dict[str, str]]:
        return [dict(zip(self.heads, row, strict=True)) for row in self.rows]


def render_terminal(listing: Listing, console: Console) -> None:
    """Print the list; the last column is broken between words."""
    glyphs = Glyphs.of(console)
    rows = [[glyphs.clean(cell) for cell in row] for row in (listing.heads, *listing.rows)]
    widths = [max(len(row[index]) for row in rows) for index in range(len(listing.heads) - 1)]
    for number, row in enumerate(rows):
        lead = "".join(cell.ljust(width) + "  " for cell, width in zip(row, widths, strict=False))
        print_text(console, Text(row[-1], "" if number else "dim"), lead)
    if listing.closing:
        console.print()
        print_text(console, Text(listing.closing))


def render_markdown(listing: Listing) -> str:
    """The list as a Markdown table."""
    rows = [[prose(cell) for cell in row] for row in listing.rows]
    return "\n".join([*table(listing.heads, rows, "<" * len(listing.heads)), "", prose(listing.closing)])


def render_csv(listing: Listing) -> str:
    """The list as CSV."""
    return csv_text(listing.heads, listing.to_json())
