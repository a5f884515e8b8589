"""A scan for a terminal, as Markdown and as CSV."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from kswap.report.csv_text import csv_text
from kswap.report.glyphs import Glyphs
from kswap.report.markdown import code, prose, table
from kswap.report.paragraph import print_text
from kswap.report.table import Arrangements, Column, print_named_rows
from kswap.scans.result import Row, Scan
from kswap.scans.wording import TEXT_HEADS, cells, heads, remarks, title

_FRONT_STYLE = "bold green"


def render_terminal(scan: Scan, console: Console) -> None:
    """A row per network, those on a front marked; on a narrow terminal the last columns go first."""
    glyphs = Glyphs.of(console)
    rows = [cells(scan, row) for row in scan.rows]
    styles = [_FRONT_STYLE if scan.marks(row) else "" for row in scan.rows]
    columns = [
        Column(
            head,
            tuple(Text(glyphs.clean(line[place]), style) for line, style in zip(rows, styles, strict=True)),
            "left" if head in TEXT_HEADS else "right",
        )
        for place, head in enumerate(heads(scan))
    ]
    names = [row.trial.model for row in scan.rows]
    print_named_rows(console, glyphs, "model", names, Arrangements.shrinking(console, columns, fewest=5))
    console.print()
    for remark in remarks(scan):
        print_text(console, Text(glyphs.clean(remark), "dim"), f"{glyphs.bullet} ")


def render_markdown(scan: Scan) -> str:
    """The same as GitHub-flavoured Markdown, ending with one line break."""
    sides = "<" + "".join("<" if head in TEXT_HEADS else ">" for head in heads(scan))
    rows = []
    for row in scan.rows:
        line = (row.trial.model, *cells(scan, row))
        rows.append([f"**{prose(cell)}**" if cell and scan.marks(row) else prose(cell) for cell in line])
    lines = [f"### {prose(title(scan))}", "", *table(("model", *heads(scan)), rows, sides), ""]
    lines += [f"- {prose(remark)}" for remark in remarks(scan)]
    if scan.command:
        lines.append(f"- {code(scan.command)}")
    return "\n".join([*lines, ""])


_COLUMNS = (
    *("model", "kind", "scheme", "ch", "params", "params_ratio", "macs", "macs_ratio", "computations"),
    *("replaced", "sites", "ms", "ratio", "low", "high", "verdict", "accuracy", "epochs", "seconds", "front"),
)


def render_csv(scan: Scan) -> str:
    """A row per network with all columns; empty where nothing was measured. Fronts are separated by spaces."""
    return csv_text(_COLUMNS, [_flat(scan, row) for row in scan.rows])


def _flat(scan: Scan, row: Row) -> dict[str, Any]:
    counts = {key: getattr(row, key).after for key in ("params", "macs", "computations")}
    latency = {} if row.latency is None else {k: getattr(row.latency, k) for k in ("ratio", "low", "high", "verdict")}
    trained = {} if row.trained is None else {"accuracy": row.trained.top1, **_length(row)}
    return {
        "model": row.trial.model,
        "kind": row.trial.kind or "original",
        "scheme": row.trial.scheme,
        "ch": row.trial.ch,
        **counts,
        "params_ratio": row.params.ratio,
        "macs_ratio": row.macs.ratio,
        "replaced": row.replaced,
        "sites": row.sites,
        "ms": row.ms,
        **latency,
        **trained,
        "front": " ".join(quantity.key for quantity in scan.marks(row)),
    }


def _length(row: Row) -> dict[str, Any]:
    assert row.trained is not None
    return {"epochs": row.trained.epochs, "seconds": row.trained.seconds}
