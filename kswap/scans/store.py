"""The result of a scan in all formats, beside the files of its trials."""

from __future__ import annotations

from pathlib import Path

from kswap.errors import StudyError
from kswap.files import write_text
from kswap.plots import has_matplotlib
from kswap.report.renderers import saved_files, text_of
from kswap.scans.figure import save_figure
from kswap.scans.result import Scan


def store(scan: Scan, directory: Path) -> None:
    """Write ``scan.json``, ``.md``, ``.html`` and ``.csv``, and where matplotlib is there ``scan.png``.

    Raises :class:`StudyError`.
    """
    for name, format_ in saved_files("scan").items():
        write_text(directory / name, text_of(scan, format_), StudyError)
    if has_matplotlib():
        save_figure(scan, directory / "scan.png")
