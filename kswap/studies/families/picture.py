"""The picture of the study of families: a line for each network, its ratio in each target, and the ceilings."""

from __future__ import annotations

from pathlib import Path

from kswap import plots
from kswap.studies.families.result import FamilyStudy

_MARKERS = "osD^v"
_WIDTH, _LINE, _MARGIN, _DPI = 7.2, 0.26, 1.3, 100


def write_picture(study: FamilyStudy, path: Path) -> Path:
    """Write it as a PNG. Ratios with their 95% intervals, on a logarithmic axis; ceilings are vertical ticks."""
    from matplotlib.figure import Figure

    order = sorted(study.families, key=lambda one: row.ratio if (row := one.row(study.settings.targets[0])) else 0.0)
    figure = Figure(figsize=(_WIDTH, _MARGIN + _LINE * max(len(order), 3)), layout="constrained")
    axes = figure.add_subplot()
    for number, target in enumerate(study.settings.targets):
        rows = [(place, row) for place, one in enumerate(order) if (row := one.row(target)) is not None]
        if not rows:
            continue
        heights = [place + 0.2 * (0.5 - number) for place, _ in rows]
        ratios = [row.ratio for _, row in rows]
        below = [row.ratio - (row.low or row.ratio) for _, row in rows]
        above = [(row.high or row.ratio) - row.ratio for _, row in rows]
        colour = f"C{number}"
        (mean,) = (summary.mean for summary in study.summaries if summary.target == target)
        marker = _MARKERS[number % len(_MARKERS)]
        label = f"{target}, geometric mean {mean:.2f}"
        axes.errorbar(ratios, heights, xerr=(below, above), fmt=marker, color=colour, markersize=4, label=label)
        axes.axvline(mean, color=colour, linestyle=":", linewidth=1)
        ceilings = [(h, row.outside.ceiling) for h, (_, row) in zip(heights, rows, strict=True) if row.outside.ceiling]
        axes.plot(
            [value for _, value in ceilings], [h for h, _ in ceilings], "|", color=colour, markersize=8, alpha=0.5
        )
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set(xscale="log", xlabel="original time / rewritten time; ticks: if the replaced layers took no time")
    axes.set_yticks(range(len(order)), [f"{one.family}: {one.model}" for one in order], fontsize=7)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.tick_params(axis="x", which="both", labelsize=7)
    axes.grid(axis="x", alpha=0.3, which="both")
    if axes.get_legend_handles_labels()[0]:
        figure.legend(fontsize=7, loc="outside upper center", ncols=len(study.settings.targets))
    plots.save_figure(figure, path, dpi=_DPI)
    return path
