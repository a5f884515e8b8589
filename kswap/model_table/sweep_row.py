"""One row of the sweep: what became of one model. Values and CSV only."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from kswap.errors import ModelError
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
        """Converted, or left for a reason, with nothing differences."""
        return not self.error and not self.drop_in.startswith("no:") and not self.features_only.startswith("no:")

    def to_json(self) -> dict[str, str | int]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, str | int]) -> SweepRow:
        """Read what :meth:`to_json` wrote, or a line of a CSV. Raises :class:`ModelError`."""
        if not data.get("model"):
            raise ModelError("a row of the sweep names no model")
        values: dict[str, str | int] = {}
        try:
            for f in fields(cls):
                if data.get(f.name) is not None:
                    values[f.name] = int(data[f.name]) if f.type == "int" else str(data[f.name])
        except ValueError as error:
            raise ModelError(f"the row of {data['model']} in the sweep cannot be read: {error}") from error
        return cls(**values)  # type: ignore[arg-type]


COLUMNS = tuple(f.name for f in fields(SweepRow))


def to_csv(rows: Iterable[SweepRow], header: bool = True) -> str:
    """Rows as CSV.

    >>> to_csv([SweepRow("a", 10, 5)], header=False)
    'a,10,5,0,0,0,0,,,,nothing,,,,\\n'
    """
    return csv_text(COLUMNS, ({name: getattr(row, name) for name in COLUMNS} for row in rows), header)


def append_row(path: Path, row: SweepRow) -> None:
    """Put a row at the end of the file at ``path``, which begins with a header. Raises :class:`ModelError`."""
    try:
        fresh = not path.exists() or path.stat().st_size == 0
        with path.open("a", encoding="utf-8", newline="") as file:
            file.write(to_csv([row], header=fresh))
    except OSError as error:
        raise ModelError(f"the sweep cannot be written to {path}: {error.strerror}") from error


def read_rows(path: Path) -> dict[str, SweepRow]:
    """The rows of a sweep by model; the last row of a model counts. Raises :class:`ModelError`."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ModelError(f"the sweep {path} cannot be read: {error.strerror}") from error
    except ValueError:
        raise ModelError(f"{path} is not the CSV of a sweep: it is no text") from None
    reader = csv.DictReader(io.StringIO(text))
    if not {"model", "params_after"} <= set(reader.fieldnames or ()):
        raise ModelError(f"{path} is not the CSV of a sweep: it lacks the columns model and params_after")
    return {row["model"]: SweepRow.from_json(row) for row in reader}
