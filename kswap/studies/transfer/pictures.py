"""Two pictures of a study: accuracy against parameters, and against latency."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from kswap import plots
from kswap.errors import StudyError
from kswap.studies.transfer.latency import ORIGINAL
from kswap.studies.transfer.result import Row, TransferStudy

_MARKERS = "os^vD<>Ph*"
_SIZE, _DPI = (6.4, 4.4), 90


def write_pictures(study: TransferStudy, out: Path) -> tuple[Path, ...]:
    """Write ``accuracy-parameters.png`` and, where latencies were measured, ``accuracy-latency.png``.

    Raises:
        StudyError: matplotlib is missing.
    """
    check_matplotlib()
    original = study.original
    written = [
        _write(
            study,
            out / "accuracy-parameters.png",
            "parameters, thousands",
            lambda row: row.params / 1e3,
            original.params / 1e3,
        )
    ]
    if study.latencies is not None:
        times = study.latencies.networks
        label = f"milliseconds per picture, ONNX Runtime, {study.latencies.side} pixels"
        written.append(
            _write(
                study,
                out / "accuracy-latency.png",
                label,
                lambda row: row.latency.seconds.median * 1e3 if row.latency else None,
                times[ORIGINAL].seconds.median * 1e3,
            )
        )
    return tuple(written)


def check_matplotlib() -> None:
    """Raises :class:`StudyError`, with what to install, where matplotlib is missing."""
    plots.check_matplotlib("the pictures of a study need", StudyError, "study")


def _write(study: TransferStudy, path: Path, label: str, x: Callable[[Row], float | None], original: float) -> Path:
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.add_subplot()
    for marker, (method, title) in zip(_MARKERS * 3, study.methods.items(), strict=False):
        rows = [row for row in study.of(method) if x(row) is not None and row.final is not None]
        if rows:
            _draw(axes, rows, [x(row) for row in rows], marker, title)
    axes.plot([original], [study.original.accuracy], "k*", markersize=12, label="original")
    axes.set(xscale="log", xlabel=label, ylabel=f"accuracy after {study.settings.images:,} images")
    axes.grid(alpha=0.3, which="both")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.tick_params(axis="x", which="both", labelsize=7)
    axes.legend(fontsize=7, loc="lower right")
    plots.save_figure(figure, path, dpi=_DPI)
    return path


def _draw(axes: Any, rows: list[Row], places: list[float | None], marker: str, title: str) -> None:
    """The means of the seeds, with bars from the least to the greatest."""
    finals = [row.final for row in rows if row.final is not None]
    means = [final.mean for final in finals]
    below = [final.mean - min(final.values) for final in finals]
    above = [max(final.values) - final.mean for final in finals]
    style = "-" if rows[0].ours else "--"
    axes.errorbar(places, means, (below, above), marker=marker, linestyle=style, markersize=5, capsize=3, label=title)
