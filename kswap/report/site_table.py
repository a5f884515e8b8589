"""A table of sites in a terminal: as many columns as there is room for, and names that stay apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, JustifyMethod
from rich.text import Text

from kswap.report.glyphs import Glyphs
from kswap.report.wording import compact, percent

ROOMY = 120  # columns from which there is space for longer bars and wider gaps
EXACT = 76  # columns from which totals are exact and have bars
SHORTEST_NAME = 12
BAR_STYLE = "cyan"
GROWS_STYLE = "bold yellow"


@dataclass(frozen=True)
class Column:
    """One column behind the name, with its cells made."""

    head: str
    cells: tuple[Text, ...]
    justify: JustifyMethod = "left"

    @property
    def width(self) -> int:
        return max(len(self.head), *(cell.cell_len for cell in self.cells))


@dataclass(frozen=True)
class Arrangements:
    """Columns behind the name: ``main`` from the richest to the barest choice, ``extra`` while there is room."""

    main: tuple[tuple[Column, ...], ...]
    extra: tuple[Column, ...] = ()


def column(head: str, cells: Sequence[str], justify: JustifyMethod = "left", style: str = "") -> Column:
    return Column(head, tuple(Text(cell, style) for cell in cells), justify)


def pairs(glyphs: Glyphs, befores: Sequence[int], afters: Sequence[int]) -> list[str]:
    """``before -> after`` of many rows in short, with the arrows below each other."""
    left, right = [compact(n) for n in befores], [compact(n) for n in afters]
    wide_left, wide_right = max(map(len, left)), max(map(len, right))
    return [f"{a.rjust(wide_left)} {glyphs.arrow} {b.rjust(wide_right)}" for a, b in zip(left, right, strict=True)]


def what_is_left(glyphs: Glyphs, ratio: float, width: int) -> Text:
    """The ratio as a percentage, and a bar of ``width`` cells if that is not 0; what grows is marked."""
    style = GROWS_STYLE if ratio > 1 else BAR_STYLE
    number = (f"{percent(ratio):>6}", style if ratio > 1 else "")
    return Text.assemble(number, " ", (glyphs.bar(ratio, width), style)) if width else Text.assemble(number)


def is_roomy(console: Console) -> bool:
    return console.width >= ROOMY


def print_sites(console: Console, glyphs: Glyphs, names: Sequence[str], arrangements: Arrangements) -> None:
    """Print a table of sites. Names are cut in front, never wrapped.

    The richest arrangement is taken that leaves enough room to tell all names apart: a column less is better
    than two sites that look the same.
    """
    gap = 2 if is_roomy(console) else 1
    longest = max(len(glyphs.clean(name)) for name in names)

    def room(columns: list[Column]) -> int:
        """What ``columns`` leave for the name."""
        return console.width - sum(column.width + gap for column in columns)

    def tells_sites_apart(width: int) -> bool:
        return width >= SHORTEST_NAME and len({glyphs.shorten(name, width) for name in names}) == len(names)

    fitting = [list(main) for main in arrangements.main if tells_sites_apart(room(list(main)))]
    columns = fitting[0] if fitting else list(arrangements.main[-1])
    for extra in arrangements.extra:
        if room([*columns, extra]) >= longest:
            columns.append(extra)
    width = max(min(longest, room(columns)), SHORTEST_NAME)
    table = glyphs.table(gap)
    table.add_column("site", no_wrap=True, overflow="crop")
    for chosen in columns:
        table.add_column(chosen.head, justify=chosen.justify, no_wrap=True, overflow="crop")
    for index, name in enumerate(names):
        table.add_row(Text(glyphs.shorten(name, width)), *(chosen.cells[index] for chosen in columns))
    console.print(table)


def print_listed(console: Console, glyphs: Glyphs, names: Sequence[str]) -> None:
    """Names behind each other, indented, broken between names only."""
    indent = " " * 4
    line = indent
    for index, name in enumerate(names):
        word = glyphs.clean(name) + ("," if index < len(names) - 1 else "")
        if line != indent and len(line) + len(word) > console.width:
            console.print(Text(line.rstrip(), "dim"), soft_wrap=True)
            line = indent
        line += word + " "
    console.print(Text(line.rstrip(), "dim"), soft_wrap=True)


def print_hanging(console: Console, glyphs: Glyphs, lead: str, text: Text) -> None:
    """``text`` behind ``lead``; its further lines are indented as far."""
    table = glyphs.table(gap=1)
    table.show_header, table.box, table.padding = False, None, (0, 0, 0, 0)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(lead, text)
    console.print(table)
