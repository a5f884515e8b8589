"""The table of a study, and below it what was measured how."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from kswap.report.glyphs import Glyphs
from kswap.report.markdown import code, prose, table
from kswap.report.paragraph import print_text
from kswap.report.table import Arrangements, column, print_named_rows


def print_study(console: Console, heads: Sequence[str], lines: Sequence[Sequence[str]], remarks: Sequence[str]) -> None:
    """A row per network, whose name is the first cell; on a narrow terminal the last columns go first."""
    glyphs = Glyphs.of(console)
    names, cells = zip(*((name, rest) for name, *rest in lines), strict=True)
    columns = [
        column(head, [glyphs.clean(line[number]) for line in cells], "right") for number, head in enumerate(heads[1:])
    ]
    print_named_rows(console, glyphs, "network", names, Arrangements.shrinking(console, columns, fewest=3))
    console.print()
    for remark in remarks:
        print_text(console, Text(glyphs.clean(remark), "dim"), f"{glyphs.bullet} ")


def study_markdown(heads: Sequence[str], lines: Sequence[Sequence[str]], remarks: Sequence[str], command: str) -> str:
    """A GitHub table of all networks, and a paragraph below it."""
    cells = [tuple(map(prose, line)) for line in lines]
    typed = f" {code(command)}." if command else ""
    below = f"{prose('; '.join(remarks))}.{typed}"
    return "\n".join([*table(heads, cells, "<" + ">" * (len(heads) - 1)), "", below, ""])
