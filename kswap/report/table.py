"""Tables in a terminal or a pipe. Numbers are never cropped; names are cropped only on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, JustifyMethod
from rich.text import Text

from kswap.report.glyphs import Glyphs
from kswap.report.wording import compact, percent

ROOMY = 120  # console width from which there is space for longer bars and wider gaps
SHORTEST_NAME = 12
LONG = 20  # rows from which the totals have left the screen when the last line is there: they are said again
BAR_STYLE = "cyan"
GROWS_STYLE = "bold yellow"


@dataclass(frozen=True)
class Column:
    """One column with its cells."""

    head: str
    cells: tuple[Text, ...]
    justify: JustifyMethod = "left"

    @property
    def width(self) -> int:
        return max([len(self.head), *(cell.cell_len for cell in self.cells)])


@dataclass(frozen=True)
class Arrangements:
    """Columns after the name: ``main`` from the richest choice to the barest, ``extra`` while there is room.

    For a pipe the choices of ``main`` differ in bars, but leave out no number.
    """

    main: tuple[tuple[Column, ...], ...]
    extra: tuple[Column, ...] = ()

    @classmethod
    def shrinking(cls, console: Console, columns: Sequence[Column], fewest: int = 1) -> Arrangements:
        """All ``columns``; on a terminal as many of the first ones as there is room for, but at least ``fewest``."""
        if not console.is_terminal:
            return cls((tuple(columns),))
        return cls(tuple(tuple(columns[:count]) for count in range(len(columns), fewest - 1, -1)))


def column(head: str, cells: Sequence[str], justify: JustifyMethod = "left", style: str = "") -> Column:
    """A column of plain texts, all in one style."""
    return Column(head, tuple(Text(cell, style) for cell in cells), justify)


def change_cells(glyphs: Glyphs, befores: Sequence[int], afters: Sequence[int]) -> list[str]:
    """``before -> after`` per row, in short, with the arrows below each other."""
    left, right = [compact(n) for n in befores], [compact(n) for n in afters]
    wide_left, wide_right = max(map(len, left)), max(map(len, right))
    return [f"{a.rjust(wide_left)} {glyphs.arrow} {b.rjust(wide_right)}" for a, b in zip(left, right, strict=True)]


def what_is_left(glyphs: Glyphs, ratio: float, width: int) -> Text:
    """The ratio as a percentage, and a bar of ``width`` cells if that is not 0; what grows is marked."""
    style = GROWS_STYLE if ratio > 1 else BAR_STYLE
    number = (f"{percent(ratio):>6}", style if ratio > 1 else "")
    return Text.assemble(number, " ", (glyphs.bar(ratio, width), style)) if width else Text.assemble(number)


def is_roomy(console: Console) -> bool:
    """Whether the console is wide enough for long bars and wide gaps."""
    return console.width >= ROOMY


def print_columns(console: Console, glyphs: Glyphs, columns: Sequence[Column], gap: int = 2) -> None:
    """Print a table whose cells are whole: where it is wider than the console, so are its lines."""
    table = glyphs.table(gap)
    # Every column states its width, so that rich has nothing to shrink.
    for made in columns:
        table.add_column(made.head, justify=made.justify, no_wrap=True, min_width=made.width)
    for cells in zip(*(made.cells for made in columns), strict=True):
        table.add_row(*cells)
    table.width = _width(columns, gap)
    console.print(table, soft_wrap=True)


def print_first_fitting(console: Console, glyphs: Glyphs, choices: Sequence[Sequence[Column]], gap: int = 2) -> None:
    """Print the first of ``choices`` that fits the console, else the last."""
    fitting = (columns for columns in choices if _width(columns, gap) <= console.width)
    print_columns(console, glyphs, next(fitting, choices[-1]), gap)


def print_named_rows(
    console: Console, glyphs: Glyphs, head: str, names: Sequence[str], arrangements: Arrangements
) -> None:
    """Print a table with a row per name.

    The richest arrangement is taken that leaves enough room for the names. In a pipe they are whole. On a terminal
    they are cut in front, as long as they tell the rows apart: one column less is better than two rows that look the
    same.
    """
    gap = 2 if is_roomy(console) else 1
    longest = max([len(head), *(len(glyphs.clean(name)) for name in names)])

    def room(columns: Sequence[Column]) -> int:
        """What ``columns`` leave for the name."""
        return console.width - sum(made.width + gap for made in columns)

    def tells_rows_apart(width: int) -> bool:
        if width >= longest or not console.is_terminal:
            return width >= longest
        return width >= SHORTEST_NAME and len({glyphs.shorten(name, width) for name in names}) == len(set(names))

    fitting = (main for main in arrangements.main if tells_rows_apart(room(main)))
    columns = list(next(fitting, arrangements.main[-1]))
    for extra in arrangements.extra:
        if room([*columns, extra]) >= longest:
            columns.append(extra)
    width = max(min(longest, room(columns)), SHORTEST_NAME) if console.is_terminal else longest
    named = column(head, [glyphs.shorten(name, width) for name in names])
    print_columns(console, glyphs, [named, *columns], gap)


def _width(columns: Sequence[Column], gap: int) -> int:
    return sum(made.width for made in columns) + gap * (len(columns) - 1)
