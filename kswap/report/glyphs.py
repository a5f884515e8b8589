"""The signs that terminal renderers draw with: block characters in a terminal, ASCII in pipes and logs."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table

from kswap.errors import visible

EIGHTHS = " ▏▎▍▌▋▊▉█"
NO_LINE = "    "
RULED = box.Box("\n".join((NO_LINE, NO_LINE, " ── ", NO_LINE, NO_LINE, " ── ", NO_LINE, NO_LINE, "")))
RULED_ASCII = box.Box(str(RULED).replace("─", "-"), ascii=True)


@dataclass(frozen=True)
class Glyphs:
    """Signs for one console. ``ascii_only`` holds for everything that is not a terminal."""

    ascii_only: bool

    @classmethod
    def of(cls, console: Console) -> Glyphs:
        return cls(ascii_only=not console.is_terminal or console.options.ascii_only)

    @property
    def arrow(self) -> str:
        return "->" if self.ascii_only else "→"

    @property
    def times(self) -> str:
        return "x" if self.ascii_only else "×"

    @property
    def dash(self) -> str:
        """Between the ends of a range."""
        return "-" if self.ascii_only else "–"

    @property
    def dot(self) -> str:
        return "|" if self.ascii_only else "·"

    @property
    def bullet(self) -> str:
        return "-" if self.ascii_only else "•"

    @property
    def ellipsis(self) -> str:
        return "..." if self.ascii_only else "…"

    def bar(self, ratio: float, width: int) -> str:
        """What is left of ``width`` cells; never empty for a ratio above 0, never longer than ``width``.

        >>> Glyphs(ascii_only=True).bar(0.5, 8)
        '####    '
        """
        share = min(max(ratio, 0.0), 1.0) * width
        if self.ascii_only:
            filled = max(round(share), 1) if ratio > 0 else 0
            return ("#" * filled).ljust(width)
        eighths = max(round(share * 8), 1) if ratio > 0 else 0
        return (EIGHTHS[8] * (eighths // 8) + EIGHTHS[eighths % 8].strip()).ljust(width)

    def clean(self, text: str) -> str:
        """``text`` on one line without control characters (a name out of a file may hold escape sequences),
        and without anything but ASCII where only that is wanted.

        >>> Glyphs(ascii_only=True).clean("caf\\u00e9\\x1b[31m")
        'caf\\\\xe9\\\\x1b[31m'
        """
        shown = visible(text)
        return shown.encode("ascii", "backslashreplace").decode() if self.ascii_only else shown

    def shorten(self, name: str, width: int) -> str:
        """``name`` in at most ``width`` characters. The front goes, because the end tells sites apart.

        >>> Glyphs(ascii_only=False).shorten("blocks.5.1.se.conv_reduce", 22)
        '…5.1.se.conv_reduce'
        """
        name = self.clean(name)
        if len(name) <= width:
            return name
        rest = name[len(name) - max(width - len(self.ellipsis), 1) :]
        # Half a word in front of a dot says nothing. Digits stay: they are half of a block's number.
        return self.ellipsis + re.sub(r"^[A-Za-z_]*\.(?=.)", "", rest)

    def table(self, gap: int = 2) -> Table:
        """An empty table in the house style: a line under the head, ``gap`` spaces between the columns."""
        return Table(
            box=RULED_ASCII if self.ascii_only else RULED,
            padding=(0, gap - 1, 0, 0),  # the box itself puts one space between columns
            pad_edge=False,
            show_edge=False,
            header_style="dim",
            border_style="dim",
        )
