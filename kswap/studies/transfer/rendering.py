"""A study for a terminal, as Markdown and as CSV."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from kswap.report.csv_text import csv_text
from kswap.report.glyphs import Glyphs
from kswap.report.markdown import code, prose, table
from kswap.report.paragraph import print_text
from kswap.report.table import Arrangements, column, print_named_rows
from kswap.studies.accuracy import Accuracy
from kswap.studies.latency import Latency
from kswap.studies.transfer.result import ORIGINAL, Row, TransferStudy


def render_terminal(study: TransferStudy, console: Console) -> None:
    """A row per network; on a narrow terminal the last columns go first."""
    glyphs = Glyphs.of(console)
    names, cells = zip(*((name, rest) for name, *rest in _lines(study)), strict=True)
    columns = [
        column(head, [glyphs.clean(line[number]) for line in cells], "right")
        for number, head in enumerate(_heads(study)[1:])
    ]
    print_named_rows(console, glyphs, "network", names, Arrangements.shrinking(console, columns, fewest=3))
    console.print()
    for remark in study.remarks():
        print_text(console, Text(glyphs.clean(remark), "dim"), f"{glyphs.bullet} ")


def render_markdown(study: TransferStudy) -> str:
    """A GitHub table of all networks, and below it what was measured how."""
    lines = [tuple(map(prose, line)) for line in _lines(study)]
    command = f" {code(study.command)}." if study.command else ""
    remarks = f"{prose('; '.join(study.remarks()))}.{command}"
    return "\n".join([*table(_heads(study), lines, "<" + ">" * 8), "", remarks, ""])


def render_csv(study: TransferStudy) -> str:
    """A row per network and seed's mean; accuracies from 0 to 1, times in seconds."""
    return csv_text(_COLUMNS, [_flat(row) for row in study.rows])


_COLUMNS = (
    *("method", "share", "params", "macs", "lr", "untrained", "early", "final", "long"),
    *("seeds", "latency", "ratio", "note"),
)


def _heads(study: TransferStudy) -> tuple[str, ...]:
    s = study.settings
    after = tuple(f"{images:,} images" for images in (s.early, s.images, s.long_images))
    return ("network", "parameters", "left", "untrained", *after, "ms", "ratio")


def _lines(study: TransferStudy) -> list[tuple[str, ...]]:
    original = study.original
    found: list[tuple[str, ...]] = [
        (
            study.settings.model,
            f"{original.params:,}",
            "100%",
            f"{original.accuracy:.3f}",
            *("", "", ""),
            *_times(study.latencies.networks.get(ORIGINAL) if study.latencies else None),
        )
    ]
    for row in study.rows:
        accuracies = (str(row.untrained), *(_shown(value) for value in (row.early, row.final, row.long)))
        left = f"{row.params / original.params:.1%}"
        found.append((row.title, f"{row.params:,}", left, *accuracies, *_times(row.latency)))
    return found


def _shown(accuracy: Accuracy | None) -> str:
    return "" if accuracy is None else str(accuracy)


def _times(latency: Latency | None) -> tuple[str, str]:
    if latency is None:
        return "", ""
    return f"{latency.seconds.median * 1000:.2f}", f"{latency.ratio:.2f}"


def _flat(row: Row) -> dict[str, object]:
    means = {
        name: None if value is None else value.mean
        for name, value in (("early", row.early), ("final", row.final), ("long", row.long))
    }
    return {
        **{name: getattr(row, name) for name in ("method", "share", "params", "macs", "lr", "note")},
        **means,
        "untrained": row.untrained.mean,
        "seeds": len(row.untrained.values),
        "latency": None if row.latency is None else row.latency.seconds.median,
        "ratio": None if row.latency is None else row.latency.ratio,
    }
