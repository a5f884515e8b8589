"""How a result shows itself in Python: printed, in a notebook, as text in other formats, and as a data frame."""

from __future__ import annotations

import importlib
from typing import Any

from kswap.errors import ReportError
from kswap.report.renderers import RICH, fragment_of, render, rows_of, text_of


class Shown:
    """What ``print``, notebooks and pandas make of a value that has renderers."""

    def __str__(self) -> str:
        """What the command line prints: in colour and as wide as the terminal on one, and plain elsewhere."""
        from rich.console import Console

        console = Console(highlight=False, force_jupyter=False)
        with console.capture() as captured:
            render(self, RICH, console)
        return captured.get().rstrip("\n")

    def _repr_html_(self) -> str:
        """A short form for notebooks: tables alone, without scripts and styles that reach beyond it."""
        return fragment_of(self)

    def to_markdown(self) -> str:
        """GitHub-flavoured Markdown, as for a pull request."""
        return text_of(self, "md")

    def to_html(self) -> str:
        """One HTML page that needs no other file."""
        return text_of(self, "html")

    def to_dataframe(self) -> Any:
        """The rows of the CSV as a :class:`pandas.DataFrame`. Raises :class:`ReportError` where pandas is missing."""
        try:
            pandas = importlib.import_module("pandas")
        except ImportError as error:
            raise ReportError("a data frame needs pandas: pip install pandas") from error
        columns, rows = rows_of(self)
        return pandas.DataFrame(list(rows), columns=list(columns))
