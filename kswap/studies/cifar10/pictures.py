"""Two pictures of a study: accuracy against parameters, and against MACs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kswap.studies.cifar10.result import Cifar10Study, Row
from kswap.studies.cifar10.speeds import BASELINE
from kswap.studies.pictures import Series, write_picture


def write_pictures(study: Cifar10Study, out: Path) -> tuple[Path, ...]:
    """Write ``accuracy-parameters.png`` and ``accuracy-macs.png``, for which matplotlib is needed."""
    return (
        _write(study, out / "accuracy-parameters.png", "parameters, thousands", lambda row: row.params / 1e3),
        _write(study, out / "accuracy-macs.png", "MACs, millions", lambda row: row.macs / 1e6),
    )


def _write(study: Cifar10Study, path: Path, label: str, cost: Callable[[Row], float]) -> Path:
    lines: dict[str, list[Row]] = {}
    for row in study.rows:
        if row.method != BASELINE:
            lines.setdefault(row.line or row.title, []).append(row)
    series = []  # in the order of methods, so that each has the same colour in both pictures
    for title, rows in lines.items():
        rows.sort(key=cost)
        series.append(Series(title, rows[0].ours, [cost(row) for row in rows], [row.accuracy for row in rows]))
    first = study.baseline
    baseline = None if first is None else (first.title, cost(first), first.accuracy)
    return write_picture(path, series, label, "accuracy on the test pictures", baseline)
