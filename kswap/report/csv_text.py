"""CSV that a spreadsheet shows and does not compute."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping
from typing import Any

from kswap.errors import visible

# A spreadsheet takes a cell that begins with one of these as a formula, the full-width forms in some languages too.
FORMULA_STARTS = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
NUMBER = re.compile(r"[+-]?\d[\d,]*(\.\d+)?([eE][+-]?\d+)?%?")


def csv_cell(value: Any) -> Any:
    """A cell that is harmless in a terminal and in a spreadsheet.

    Numbers are unchanged. In text, control characters are written as escapes (a line break as ``\\n``, a tab as
    ``\\t``), and text that begins with ``=``, ``+``, ``-`` or ``@`` gets an apostrophe in front, which spreadsheets
    take as "this is text". A text that is a number, such as ``-1,200``, stays one.

    >>> csv_cell("=cmd|' /C calc'!A0"), csv_cell(-3), csv_cell("-3"), csv_cell("a\\tb")
    ("'=cmd|' /C calc'!A0", -3, '-3', 'a\\\\tb')
    """
    if not isinstance(value, str):
        return value
    text = visible(value)
    return f"'{text}" if text.startswith(FORMULA_STARTS) and not NUMBER.fullmatch(text) else text


def csv_text(columns: Iterable[str], rows: Iterable[Mapping[str, Any]], header: bool = True) -> str:
    """Rows as CSV, with a line break after each line. Cells are those of :func:`csv_cell`.

    >>> csv_text(["name", "params"], [{"name": "+conv", "params": 3}])
    "name,params\\n'+conv,3\\n"
    """
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, tuple(columns), lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows({key: csv_cell(value) for key, value in row.items()} for row in rows)
    return file.getvalue()
