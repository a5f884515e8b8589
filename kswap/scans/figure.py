"""The picture of a scan: a panel for each pair of quantities, all networks, and the fronts drawn through them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kswap import plots
from kswap.errors import ReportError, visible
from kswap.files import write_file
from kswap.scans.fronts import ACCURACY, TIME, Quantity
from kswap.scans.result import Row, Scan

_MARKERS = "os^vD<>Phd"
_PANEL, _HEIGHT = 5.2, 4.2
_PERCENT = (ACCURACY, TIME)


def check_figure(path: Path) -> None:
    """Refuse a picture that cannot be made (:class:`ReportError`), before the work starts."""
    plots.check_figure(path, "the scan")


def save_figure(scan: Scan, path: Path) -> None:
    """Write the picture as a PNG, whole or not at all. Raises :class:`ReportError`."""
    check_figure(path)
    write_file(path, figure_bytes(scan, "png"), ReportError)


def figure_bytes(scan: Scan, format_: str) -> bytes:
    """The picture as matplotlib writes it: ``"png"`` or ``"svg"``. The same scan gives the same bytes."""
    import matplotlib
    from matplotlib.figure import Figure

    pairs = scan.pairs
    with matplotlib.rc_context({"svg.hashsalt": "kswap"}):
        figure = Figure(figsize=(_PANEL * len(pairs), _HEIGHT), layout="constrained")
        panels = figure.subplots(1, len(pairs), squeeze=False)[0]
        for axes, (x, y) in zip(panels, pairs, strict=True):
            _draw(axes, scan, x, y)
        panels[0].legend(fontsize=7, loc="best", title="filled: on the Pareto front", title_fontsize=7)
        nothing = ("Creator", "Date", "Format", "Type") if format_ == "svg" else ("Software",)
        return plots.figure_bytes(figure, format_, metadata=dict.fromkeys(nothing))


def _draw(axes: Any, scan: Scan, x: Quantity, y: Quantity) -> None:
    from matplotlib.ticker import LogLocator

    front = set(scan.fronts[x.key])
    colours = {model: f"C{number % 10}" for number, model in enumerate(scan.models)}
    series: dict[tuple[str, str | None, str | None], list[Row]] = {}
    for row in scan.rows:
        series.setdefault((row.trial.model, row.trial.kind, row.trial.scheme), []).append(row)
    kinds = list(dict.fromkeys((kind, scheme) for _, kind, scheme in series))
    for (model, kind, scheme), rows in series.items():
        place = kinds.index((kind, scheme))
        marker = "*" if kind is None else _MARKERS[place % len(_MARKERS)]
        side = {"xytext": (5, 3), "ha": "left"} if place % 2 else {"xytext": (-5, 3), "ha": "right"}
        points = [(point, row) for row in rows if (point := _point(row, x, y)) is not None]
        if not points:
            continue
        label = visible(" ".join(filter(None, (model, kind or "original", scheme))))
        colour = colours[model]
        for (a, b), row in points:
            if row.trial.ch is not None:
                text = str(row.trial.ch)
                axes.annotate(text, (a, b), textcoords="offset points", fontsize=7, color=colour, **side)
        fills = [colour if row in front else "none" for _, row in points]
        xs, ys = zip(*(point for point, _ in points), strict=True)
        axes.scatter(xs, ys, s=36, marker=marker, facecolors=fills, edgecolors=colour, zorder=3)
        axes.scatter([], [], s=36, marker=marker, facecolors="none", edgecolors=colour, label=label)
    for name, colour in ((None, "0.5"),) if scan.joint else colours.items():
        line = [p for row in scan.fronts[x.key] if name in (None, row.trial.model) and (p := _point(row, x, y))]
        axes.plot([a for a, _ in line], [b for _, b in line], "-", color=colour, linewidth=1, zorder=1)
    axes.set(xlabel=_label(x), ylabel=_label(y))
    for quantity, axis, scale in ((x, axes.xaxis, axes.set_xscale), (y, axes.yaxis, axes.set_yscale)):
        if quantity not in _PERCENT:
            scale("log")
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter("")
    axes.tick_params(which="both", labelsize=7)
    axes.grid(alpha=0.3, which="both")


def _scale(quantity: Quantity) -> tuple[float, str]:
    if quantity in _PERCENT:
        return 100, ", %"
    return {"params": (1e-6, ", millions"), "macs": (1e-6, ", millions")}.get(quantity.key, (1, ""))


def _label(quantity: Quantity) -> str:
    return quantity.words + _scale(quantity)[1]


def _point(row: Row, x: Quantity, y: Quantity) -> tuple[float, float] | None:
    a, b = row.value(x), row.value(y)
    return None if a is None or b is None else (a * _scale(x)[0], b * _scale(y)[0])
