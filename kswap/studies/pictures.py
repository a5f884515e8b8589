"""Pictures of accuracy against what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kswap import plots
from kswap.errors import StudyError
from kswap.studies.accuracy import Accuracy

_MARKERS = "os^vD<>Ph*"
_SIZE, _DPI = (6.4, 4.4), 90


@dataclass(frozen=True)
class Series:
    """Networks that share a line: what each costs, and its accuracies.

    ``ours`` are drawn with a line, what they are compared with with a dashed one.
    """

    title: str
    ours: bool
    costs: Sequence[float]
    accuracies: Sequence[Accuracy]


def check_matplotlib() -> None:
    """Raises :class:`StudyError`, with what to install, where matplotlib is missing."""
    plots.check_matplotlib("the pictures of a study need", StudyError, "study")


def write_picture(
    path: Path, series: Sequence[Series], cost: str, accuracy: str, original: tuple[str, float, Accuracy] | None
) -> Path:
    """Write accuracy over cost, which has a logarithmic axis, as PNG: means, with bars from least to greatest.

    Args:
        path: The file.
        series: What is drawn, each with a marker of its own.
        cost: What stands below the axis.
        accuracy: What stands beside it.
        original: Title, cost and accuracies of the network that the others are compared with.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.add_subplot()
    for marker, one in zip(_MARKERS * 3, series, strict=False):
        means, bars = _bars(one.accuracies)
        line: Literal["-", "--"] = "-" if one.ours else "--"
        axes.errorbar(one.costs, means, bars, marker=marker, linestyle=line, markersize=5, capsize=3, label=one.title)
    if original is not None:
        title, place, measured = original
        means, bars = _bars([measured])
        axes.errorbar([place], means, bars, fmt="k*", markersize=12, capsize=3, label=title)
    axes.set(xscale="log", xlabel=cost, ylabel=accuracy)
    axes.grid(alpha=0.3, which="both")
    axes.xaxis.set_minor_locator(LogLocator(subs=(1.5, 2, 3, 5, 7)))  # numbers beside each other, not over
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.tick_params(axis="x", which="both", labelsize=7)
    axes.legend(fontsize=7, loc="best")
    plots.save_figure(figure, path, dpi=_DPI)
    return path


def _bars(accuracies: Sequence[Accuracy]) -> tuple[list[float], tuple[list[float], list[float]]]:
    """Means, and how far the least and the greatest are from them."""
    below = [one.mean - min(one.values) for one in accuracies]
    above = [max(one.values) - one.mean for one in accuracies]
    return [one.mean for one in accuracies], (below, above)
