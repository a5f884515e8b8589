"""Panels as SVG symbols, small enough that a page holds those of hundreds of sites."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from markupsafe import Markup

from kswap.report.panels import Cells, GroupsPanel, InterleavePanel, Panel, Strip

WIDTH, SUM_WIDTH = 292, 168
CELL, PITCH = 6, 7
MAKES = 180  # where the channels that a group makes are drawn
STRIP, GAP = 27, 18  # height of a group, and of the line that stands for those left out
INTERLEAVE, SUM = 118, 62
MOST_LINES = 24  # of one turn of an interleave


def size_of(panel: Panel) -> tuple[int, int]:
    """Width and height of the drawing."""
    if isinstance(panel, GroupsPanel):
        return WIDTH, sum(STRIP if isinstance(row, Strip) else GAP for row in panel.rows)
    return (WIDTH, INTERLEAVE) if isinstance(panel, InterleavePanel) else (SUM_WIDTH, SUM)


def symbol(panel: Panel, name: str) -> Markup:
    """The drawing of ``panel`` as a symbol with the id ``name``."""
    if isinstance(panel, GroupsPanel):
        parts = _groups(panel)
    elif isinstance(panel, InterleavePanel):
        parts = _interleave(panel)
    else:
        parts = _sum()
    return Markup('<symbol id="{}" viewBox="0 0 {} {}">{}</symbol>').format(
        name, *size_of(panel), Markup("").join(parts)
    )


def _text(x: float, y: float, text: str, kind: str = "") -> Markup:
    named = Markup(' class="{}"').format(kind) if kind else ""
    return Markup('<text x="{:g}" y="{:g}"{}>{}</text>').format(x, y, named, text)


def _path(kind: str, data: str) -> Markup:
    return Markup('<path class="{}" d="{}"/>').format(kind, data)


def _groups(panel: GroupsPanel) -> Iterator[Markup]:
    """A row per group. Cells of a colour are dashes of one line, so that all of them are one path."""
    lines: dict[str, list[str]] = {}
    top = 0
    for row in panel.rows:
        if isinstance(row, str):
            yield _text(0, top + 12, f"⋮ {row}")
            top += GAP
            continue
        yield _text(0, top + 9, row.reads.label)
        yield _text(MAKES, top + 9, row.makes.label)
        middle = top + 16.5
        end = len(row.reads.colours) * PITCH + 3
        yield _text((end + MAKES - 9) / 2, top + 9, row.label, "m")
        _add_cells(lines, row.reads, 0, middle)
        _add_cells(lines, row.makes, MAKES, middle)
        lines.setdefault("arrow extra" if row.extra else "arrow", []).append(f"M{end} {middle:g}H{MAKES - 9}")
        lines.setdefault("head", []).append(f"M{MAKES - 9} {middle - 3:g}l6 3-6 3z")
        top += STRIP
    for kind, data in lines.items():
        yield _path(kind, "".join(data))


def _add_cells(lines: dict[str, list[str]], cells: Cells, left: int, middle: float) -> None:
    place = 0
    for colour, run in groupby(cells.colours):
        count = len(list(run))
        x = left + place * PITCH
        if colour is None:
            lines.setdefault("gap", []).append(f"M{x} {middle:g}h{CELL}")
        else:
            lines.setdefault(f"c{colour}", []).append(f"M{x} {middle:g}h{count * PITCH - 1}")
        place += count
    for place in cells.again:
        lines.setdefault("again", []).append(f"M{left + place * PITCH} {middle - 3:g}h{CELL}v{CELL}h-{CELL}z")


def _interleave(panel: InterleavePanel) -> Iterator[Markup]:
    """The channels above in their own order, below in the new one; lines for some turns."""

    def x(place: int) -> str:
        return f"{(place + 0.5) / panel.channels * WIDTH:.1f}".removesuffix(".0")

    yield _text(0, 11, "K's channels in their own order")
    yield _text(0, INTERLEAVE - 3, "in the order in which they go on")
    for index, turn in enumerate(panel.turns):
        step = -(-len(turn.channels) // MOST_LINES)
        places = range(0, len(turn.channels), step)
        data = "".join(f"M{x(turn.channels[place])} 24L{x(turn.start + place)} 92" for place in places)
        yield _path(f"wire w{index}", data)
    yield _path("rail", f"M0 20H{WIDTH}M0 96H{WIDTH}")


def _sum() -> Iterator[Markup]:
    yield _path("arrow", "M16 14H46Q60 14 65 23M16 48H46Q60 48 65 39M87 31H114")
    yield _path("head", "M114 28l6 3-6 3z")
    yield Markup('<circle cx="74" cy="31" r="13"/>')
    yield _path("plus", "M67 31H81M74 24V38")
    yield _text(0, 18, "K", "strong")
    yield _text(0, 52, "L", "strong")
    yield _text(126, 35, "output")


class Symbols:
    """The drawings of a page: equal panels become one symbol, and every use refers to it.

    >>> from kswap.report.panels import SumPanel
    >>> symbols = Symbols("d")
    >>> symbols.use(SumPanel(), "K + L") == symbols.use(SumPanel(), "K + L")
    True
    >>> len(symbols)
    1
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._names: dict[Panel, str] = {}

    def __len__(self) -> int:
        return len(self._names)

    def use(self, panel: Panel, label: str) -> Markup:
        """The drawing of ``panel``, with ``label`` for those who do not see it."""
        name = self._names.setdefault(panel, f"{self._prefix}{len(self._names)}")
        width, height = size_of(panel)
        return Markup(
            '<svg class="panel" width="{}" viewBox="0 0 {} {}" role="img" aria-label="{}"><use href="#{}"/></svg>'
        ).format(width, width, height, label, name)

    def definitions(self) -> Markup:
        """All symbols that were used so far."""
        drawn = Markup("\n").join(symbol(panel, name) for panel, name in self._names.items())
        return Markup('<svg class="symbols" aria-hidden="true">{}</svg>').format(drawn) if self._names else Markup("")
