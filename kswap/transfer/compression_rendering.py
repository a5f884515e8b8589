"""A compression for a terminal and as Markdown."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from kswap.report.glyphs import Glyphs
from kswap.report.markdown import prose, table
from kswap.report.paragraph import print_text
from kswap.report.table import Column, print_columns
from kswap.transfer.compression_record import Compression

_HEADS = ("stage", "seconds", "accuracy")


def render_terminal(compression: Compression, console: Console) -> None:
    """A row per stage, and what is left of parameters and MACs."""
    glyphs = Glyphs.of(console)
    rows = _rows(compression)
    columns = [
        Column(head, tuple(Text(row[position]) for row in rows), "right" if position else "left")
        for position, head in enumerate(_HEADS)
    ]
    print_columns(console, glyphs, columns)
    console.print()
    for line in _lines(compression):
        print_text(console, Text(glyphs.clean(line)))


def render_markdown(compression: Compression) -> str:
    """The same as GitHub-flavoured Markdown, ending with one line break."""
    title = prose(compression.conversion.report.model)
    lines = [f"### {title}", "", *table(_HEADS, _rows(compression), "<>>")]
    for line in _lines(compression):
        lines += ["", f"{prose(line)}."]
    return "\n".join([*lines, ""])


def _rows(compression: Compression) -> list[tuple[str, str, str]]:
    return [
        (
            stage.name,
            f"{stage.seconds:,.1f}" if stage.seconds else "",
            "" if stage.top1 is None else f"{stage.top1:.2%}",
        )
        for stage in compression.stages
    ]


def _lines(compression: Compression) -> list[str]:
    report, record = compression.conversion.report, compression.distillation
    lines = [
        f"parameters: {report.params.before:,} before, {report.params.after:,} after ({report.params.ratio:.1%})",
        f"MACs: {report.macs.before:,} before, {report.macs.after:,} after ({report.macs.ratio:.1%})",
        f"{record.images:,} images seen in distillation",
    ]
    if record.examined is None:
        return [*lines, "no accuracy, since there are no labels: pass labelled pictures with --eval-data"]
    return [*lines, f"accuracy on {record.examined_images:,} pictures of {record.examined}"]
