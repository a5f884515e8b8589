"""A frontier for a terminal, as Markdown and CSV, and as a picture."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.text import Text

from kswap import plots
from kswap.report.csv_text import csv_text
from kswap.report.glyphs import Glyphs
from kswap.report.markdown import prose, table
from kswap.report.paragraph import print_text
from kswap.report.table import column, print_columns
from kswap.report.wording import percent
from kswap.transfer.frontier import Frontier, FrontierPoint

_HEADS = ("budget", "parameters", "left", "MACs", "left", "blocks", "narrower", "accuracy")
_CSV = ("budget", "params", "params_ratio", "macs", "macs_ratio", "replaced", "narrowed", "top1")


def render_terminal(frontier: Frontier, console: Console) -> None:
    """A row per budget, the original first, and what was measured on what."""
    glyphs = Glyphs.of(console)
    rows = [_row(frontier, point) for point in (frontier.original, *frontier.points)]
    columns = [
        column(head, [glyphs.clean(row[place]) for row in rows], "right" if place else "left")
        for place, head in enumerate(_HEADS)
    ]
    print_columns(console, glyphs, columns)
    console.print()
    for line in _lines(frontier):
        print_text(console, Text(glyphs.clean(line)))


def render_markdown(frontier: Frontier) -> str:
    """The same as GitHub-flavoured Markdown, ending with one line break."""
    rows = [tuple(map(prose, _row(frontier, point))) for point in (frontier.original, *frontier.points)]
    lines = [f"### {prose(frontier.model)}: accuracy without training", "", *table(_HEADS, rows, "<>>>>>>>")]
    for line in _lines(frontier):
        lines += ["", f"{prose(line)}."]
    return "\n".join([*lines, ""])


def render_csv(frontier: Frontier) -> str:
    """A row per budget, the original first; shares and accuracy from 0 to 1."""
    points = (frontier.original, *frontier.points)
    rows = [{key: getattr(p, key, None) for key in _CSV} | frontier.shares(p) for p in points]
    return csv_text(_CSV, rows)


def _row(frontier: Frontier, point: FrontierPoint) -> tuple[str, ...]:
    shares = frontier.shares(point)
    return (
        point.budget or "original",
        f"{point.params:,}",
        percent(shares["params_ratio"]),
        f"{point.macs:,}",
        percent(shares["macs_ratio"]),
        f"{point.replaced}",
        f"{point.narrowed}",
        f"{point.top1:.2%}",
    )


def _lines(frontier: Frontier) -> list[str]:
    how = "the change of the outputs" if frontier.scoring == "outputs" else "the error of the fits"
    return [
        f"{frontier.model} right after projection, without training: accuracy on {frontier.images:,} pictures of "
        f"{frontier.data}",
        f"blocks chosen by {how} and fitted on {frontier.samples:,} pictures of {frontier.calibration}, seed "
        f"{frontier.seed}",
        *frontier.notes,
    ]


def save_figure(frontier: Frontier, path: Path) -> None:
    """Write a PNG of accuracy against parameters and against MACs, whole or not at all.

    Raises :class:`ReportError` where matplotlib is missing or the file cannot be written.
    """
    check_figure(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    points = sorted((frontier.original, *frontier.points), key=lambda point: point.params)
    sides = zip(figure.subplots(1, 2, sharey=True), ("params_ratio", "macs_ratio"), ("parameters", "MACs"), strict=True)
    for axes, key, label in sides:
        ordered = sorted(points, key=lambda point: frontier.shares(point)[key])
        shares = [100 * frontier.shares(point)[key] for point in ordered]
        axes.plot(shares, [100 * point.top1 for point in ordered], marker="o")
        axes.set_xlabel(f"{label}, % of the original")
        axes.grid(alpha=0.3)
        for share, point in zip(shares, ordered, strict=True):
            text = point.budget or "original"
            axes.annotate(text, (share, 100 * point.top1), (4, -12), textcoords="offset points", fontsize=8)
    figure.axes[0].set_ylabel("accuracy, %")
    figure.suptitle(f"{frontier.model} without training, {frontier.images:,} pictures")
    plots.save_figure(figure, path)


def check_figure(path: Path) -> None:
    """Refuse a picture that cannot be made (:class:`ReportError`), before the work starts."""
    plots.check_figure(path, "the frontier")
