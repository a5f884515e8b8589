"""GitHub-flavoured Markdown: text, code spans, tables and collapsed sections."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def one_line(text: str) -> str:
    """``text`` with a space for each character that cannot be printed: a line break would end a table row."""
    return "".join(c if c.isprintable() else " " for c in text)


def prose(text: str) -> str:
    r"""``text`` so that Markdown shows it unchanged.

    >>> prose("<b>*x*</b> | y")
    '&lt;b&gt;\\*x\\*&lt;/b&gt; | y'
    """
    plain = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # An underscore inside a word is no emphasis; escaping it would only spoil the raw text.
    return re.sub(r"([\\`*\[\]#~]|(?<!\w)_|_(?!\w))", r"\\\1", plain)


def code(text: str) -> str:
    """``text`` as a code span.

    >>> code("a`b")
    '``a`b``'
    """
    plain = one_line(text)
    fence = "`" * (max((len(run) for run in re.findall("`+", plain)), default=0) + 1)
    gap = " " if plain.startswith("`") or plain.endswith("`") or not plain else ""
    return f"{fence}{gap}{plain}{gap}{fence}"


def fenced(text: str, language: str = "") -> list[str]:
    """Lines of a code block that shows ``text``, whatever fences it holds itself.

    >>> fenced("ch = 32", "toml")
    ['```toml', 'ch = 32', '```']
    """
    fence = "`" * max(3, max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    return [fence + language, *map(one_line, text.strip("\n").splitlines()), fence]


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], sides: str) -> list[str]:
    """Lines of a table; cells are Markdown already. ``sides`` holds ``<`` (left) or ``>`` (right) per column."""
    marks = ["--:" if side == ">" else ":--" for side in sides]
    # A bare pipe would end the cell, also inside a code span.
    lines = ([cell.replace("|", "\\|") for cell in cells] for cells in (heads, marks, *rows))
    return ["| " + " | ".join(cells) + " |" for cells in lines]


def collapsed(summary: str, lines: Iterable[str]) -> list[str]:
    """``lines`` in a section that opens with a click on ``summary``."""
    return ["<details>", f"<summary>{summary}</summary>", "", *lines, "", "</details>", ""]
