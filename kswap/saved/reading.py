"""The report of a saved directory, read without torch: so that what only shows or compares reports is quick."""

from __future__ import annotations

import os
from pathlib import Path

from kswap.errors import SavedError, excerpt
from kswap.files import read_json
from kswap.report.renderers import saved_files
from kswap.report.report import Report
from kswap.saved.files import PLAN, REPORT, inside
from kswap.saved.replacing import leftovers_of


def read_report(directory: str | Path) -> Report:
    """The report in a saved directory, or in a JSON file that holds one.

    Raises :class:`SavedError`, and :class:`kswap.errors.ReportError` for a file that holds something else.
    """
    path = Path(directory)
    if not os.path.isfile(path):
        check_is_saved(path)
        path = inside(path, REPORT)
    elif saved_files("report").get(path.name, "json") != "json":
        raise SavedError(f"{path} is for reading: pass its directory {path.parent}, or the {REPORT} in it")
    return Report.from_json(read_json(path, SavedError))


def check_is_saved(root: Path) -> None:
    """Refuse what is not a directory that kswap saved (:class:`SavedError`)."""
    shown = excerpt(root, 200)
    if not os.path.lexists(_printable(root)):
        left = [path for path in leftovers_of(root) if os.path.isfile(path / PLAN)]
        hint = f", but an interrupted save left {left[0]}: rename that to {root.name}" if left else ""
        raise SavedError(f"there is no directory {shown}{hint}")
    if not os.path.isdir(root):
        raise SavedError(f"{shown} is not a directory that kswap saved")
    if not os.path.isfile(root / PLAN):
        raise SavedError(f"{shown} is not a directory that kswap saved: it has no {PLAN}")


def _printable(path: Path) -> Path:
    """Raises :class:`SavedError` for a path that no system takes."""
    if "\0" in str(path):
        raise SavedError(f"'{excerpt(path, 200)}' is no path: it holds a NUL")
    return path
