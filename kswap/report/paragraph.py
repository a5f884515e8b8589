"""Sentences and lists of names in a terminal or a pipe: broken between words, and never inside one."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from kswap.report.glyphs import Glyphs


def print_text(console: Console, text: Text, lead: str = "") -> None:
    """``text`` after ``lead``; its further lines are indented as far.

    rich would break a word, and so a name or a number, that is longer than the console is wide.
    """
    width = max(console.width - cell_len(lead), 1)
    breaks, filled = [], 0
    for word in re.finditer(r"\S+\s*", text.plain):
        if filled and filled + cell_len(word.group().rstrip()) > width:
            breaks.append(word.start())
            filled = 0
        filled += cell_len(word.group())
    for number, line in enumerate(text.divide(breaks)):
        line.rstrip()
        console.print(Text.assemble(" " * cell_len(lead) if number else lead, line), soft_wrap=True)


def print_record(console: Console, text: Text, lead: str = "") -> None:
    """As :func:`print_text`; in a pipe on one line, so that what finds a part of it finds all of it."""
    if console.is_terminal:
        print_text(console, text, lead)
    else:
        console.print(Text.assemble(lead, text), soft_wrap=True)


def print_names(console: Console, glyphs: Glyphs, names: Sequence[str], indent: int = 4) -> None:
    """Names one after the other, indented, with a comma between them; in a pipe each on a line of its own."""
    if not console.is_terminal:
        for name in names:
            console.print(Text(" " * indent + glyphs.clean(name)), soft_wrap=True)
        return
    listed = [glyphs.clean(name) + ("," if index < len(names) - 1 else "") for index, name in enumerate(names)]
    lines, line = [], ""
    for name in listed:
        # Not print_text: a name with spaces in it stays in one piece.
        if line and indent + len(line) + 1 + len(name) > console.width:
            lines.append(line)
            line = ""
        line = f"{line} {name}" if line else name
    for made in [*lines, line]:
        console.print(Text(" " * indent + made, "dim"), soft_wrap=True)
