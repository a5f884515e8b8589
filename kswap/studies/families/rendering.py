"""The study of families for a terminal, as Markdown and as CSV."""

from __future__ import annotations

from rich.console import Console

from kswap.benchmarks import cells
from kswap.benchmarks.result import Row
from kswap.report.csv_text import csv_text
from kswap.studies.families.result import FamilyStudy
from kswap.studies.rendering import print_study, study_markdown


def render_terminal(study: FamilyStudy, console: Console) -> None:
    """A row per network; on a narrow terminal the last columns go first."""
    print_study(console, _heads(study), _lines(study), study.remarks())


def render_markdown(study: FamilyStudy) -> str:
    """A GitHub table of all networks, and below it what was measured how."""
    return study_markdown(_heads(study), _lines(study), study.remarks(), study.command)


_COLUMNS = (
    "family",
    "model",
    "target",
    "ratio",
    "low",
    "high",
    "verdict",
    "ceiling",
    "original",
    "rewritten",
    "why_not",
)


def render_csv(study: FamilyStudy) -> str:
    """A row per network and target; times in seconds."""
    lines = []
    for one in study.families:
        for target in study.settings.targets:
            row = one.row(target)
            known = {} if row is None else {name: getattr(row, name) for name in ("ratio", "low", "high", "verdict")}
            times = (
                {}
                if row is None
                else {
                    "ceiling": row.outside.ceiling,
                    "original": row.seconds.original.median,
                    "rewritten": row.seconds.rewritten.median,
                }
            )
            names = {"family": one.family, "model": one.model, "target": target, "why_not": one.why_not}
            lines.append(dict.fromkeys(_COLUMNS) | names | known | times)
    return csv_text(_COLUMNS, lines)


def _heads(study: FamilyStudy) -> tuple[str, ...]:
    each = [(target, "95%", "verdict", "ms") for target in study.settings.targets]
    return ("network", "family", *(head for heads in each for head in heads))


def _lines(study: FamilyStudy) -> list[tuple[str, ...]]:
    targets = study.settings.targets
    return [
        (one.model, one.family, *(cell for target in targets for cell in _cells(one.row(target))))
        for one in study.families
    ]


def _cells(row: Row | None) -> tuple[str, str, str, str]:
    """Ratio with the ceiling, interval, verdict, and the milliseconds of both sides."""
    if row is None:
        return "", "", "", ""
    ceiling = row.outside.ceiling
    ratio = cells.ratio(row) + ("" if ceiling is None else f" ({ceiling:.2f})")
    times = f"{row.seconds.original.median * 1000:.2f}, {row.seconds.rewritten.median * 1000:.2f}"
    return ratio, cells.interval(row, "-"), row.verdict, times
