"""One row of the sweep: what became of one model. Values and CSV only."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import BinaryIO

from kswap.codec import decode
from kswap.errors import ModelError, excerpt
from kswap.files import read_text
from kswap.report.csv_text import csv_text

YES = "yes"


@dataclass(frozen=True)
class SweepRow:
    """What became of one model.

    Parameters and MACs are those at the model's own input size, batch 1. ``path`` is ``fx`` or ``recorded``.
    ``drop_in`` and ``features_only`` are ``yes``, ``no: why``, or ``none`` where the original has no such thing.
    ``checked`` says what was run: ``real``, ``real at smaller input``, ``meta`` (forward passes without
    arithmetic, for the largest) or ``nothing``; ``input_size`` says on which input. ``saved`` is ``yes`` where
    saving and loading gave equal outputs, else empty. ``note`` says why nothing was replaced, ``error`` what
    went wrong.
    """

    model: str
    params_before: int = 0
    params_after: int = 0
    macs_before: int = 0
    macs_after: int = 0
    replaced: int = 0
    kept: int = 0
    path: str = ""
    drop_in: str = ""
    features_only: str = ""
    checked: str = "nothing"
    input_size: str = ""
    saved: str = ""
    note: str = ""
    error: str = ""

    @property
    def ratio(self) -> float | None:
        """Parameters after / before, or ``None`` where the model was not counted."""
        return self.params_after / self.params_before if self.params_before else None

    @property
    def passed(self) -> bool:
        """Converted, or left unconverted for a reason, without a difference from the original."""
        return not self.error and not self.drop_in.startswith("no:") and not self.features_only.startswith("no:")

    @classmethod
    def from_csv(cls, line: Mapping[str, str]) -> SweepRow:
        """Read a line of a CSV by its columns; columns that a row does not have are ignored.

        Raises:
            ModelError: It names no model, or a number is not one.
        """
        if not line.get("model"):
            raise ModelError("a row of the sweep names no model")
        what = f"the row of {excerpt(line['model'])} in the sweep"
        values: dict[str, str | int] = {}
        for f in fields(cls):
            text = line.get(f.name)
            if text is not None:
                values[f.name] = _whole_number(text, f.name, what) if f.type == "int" else text
        return decode(cls, values, what, ModelError)


def _whole_number(text: str, column: str, what: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ModelError(f"{column} of {what} must be a whole number, not '{excerpt(text)}'") from None


COLUMNS = tuple(f.name for f in fields(SweepRow))


def to_csv(rows: Iterable[SweepRow], header: bool = True) -> str:
    """Rows as CSV.

    >>> to_csv([SweepRow("a", 10, 5)], header=False)
    'a,10,5,0,0,0,0,,,,nothing,,,,\\n'
    """
    return csv_text(COLUMNS, ({name: getattr(row, name) for name in COLUMNS} for row in rows), header)


_HEADER = to_csv(())

# A sweep over all of timm has about 200 kB, and a line at most a few hundred bytes.
_MOST_BYTES = 16 * 2**20
_LONGEST_LINE = 2**16


def append_row(path: Path, row: SweepRow) -> None:
    """Put a row at the end of the file at ``path``, after a header if it is new.

    A last line without a line break was torn when an earlier sweep was killed: it is removed first.

    Raises:
        ModelError: The file cannot be written.
    """
    try:
        with path.open("a+b") as file:
            end = _end_of_last_line(file)
            file.truncate(end)
            file.write(to_csv([row], header=end == 0).encode())
    except OSError as error:
        raise ModelError(f"the sweep cannot be written to {path}: {error.strerror}") from error


def _end_of_last_line(file: BinaryIO) -> int:
    size = file.seek(0, os.SEEK_END)
    start = file.seek(max(0, size - _LONGEST_LINE))
    return start + file.read().rfind(b"\n") + 1


def read_rows(path: Path, resuming: bool = False) -> dict[str, SweepRow]:
    """The rows of a sweep by model; the last row of a model counts.

    A last line without a line break is ignored: it was torn when the sweep was killed.

    Args:
        path: What :func:`append_row` wrote.
        resuming: Whether a file without a whole header is a sweep that has just begun, instead of another file.

    Raises:
        ModelError: It cannot be read, or is not the CSV of a sweep.
    """
    text = read_text(path, _MOST_BYTES, ModelError, "sweep")
    whole = text[: text.rfind("\n") + 1]
    if resuming and not whole and _HEADER.startswith(text):
        return {}
    reader = csv.DictReader(io.StringIO(whole), strict=True)
    rows = {}
    try:
        if not {"model", "params_after"} <= set(reader.fieldnames or ()):
            raise ModelError(f"{path} is not the CSV of a sweep: it lacks the columns model and params_after")
        for line in reader:
            if None in line or None in line.values():
                raise ModelError(f"line {reader.line_num} of {path} has not one cell per column: delete that line")
            row = SweepRow.from_csv(line)
            rows[row.model] = row
    except csv.Error as error:
        raise ModelError(f"line {reader.line_num + 1} of {path} is not CSV ({error}): delete that line") from error
    return rows
