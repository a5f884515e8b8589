"""Two pictures of a study: accuracy against parameters, and against latency."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kswap.studies.accuracy import Accuracy
from kswap.studies.pictures import Series, write_picture
from kswap.studies.transfer.result import ORIGINAL, Row, TransferStudy


def write_pictures(study: TransferStudy, out: Path) -> tuple[Path, ...]:
    """Write ``accuracy-parameters.png`` and, where latencies were measured, ``accuracy-latency.png``.

    Raises:
        StudyError: matplotlib is missing.
    """
    written = [
        _write(
            study,
            out / "accuracy-parameters.png",
            "parameters, thousands",
            lambda row: row.params / 1e3,
            study.original.params / 1e3,
        )
    ]
    if study.latencies is not None:
        written.append(
            _write(
                study,
                out / "accuracy-latency.png",
                f"milliseconds per picture, ONNX Runtime, {study.latencies.side} pixels",
                lambda row: row.latency.seconds.median * 1e3 if row.latency else None,
                study.latencies.networks[ORIGINAL].seconds.median * 1e3,
            )
        )
    return tuple(written)


def _write(study: TransferStudy, path: Path, label: str, cost: Callable[[Row], float | None], original: float) -> Path:
    series = []
    for method, title in study.methods.items():
        rows = [(cost(row), row.final, row.ours) for row in study.of(method)]
        known = [(x, final, ours) for x, final, ours in rows if x is not None and final is not None]
        if known:
            costs, finals, ours = zip(*known, strict=True)
            series.append(Series(title, ours[0], costs, finals))
    accuracy = f"accuracy after {study.settings.images:,} images"
    return write_picture(path, series, label, accuracy, ("original", original, Accuracy((study.original.accuracy,))))
