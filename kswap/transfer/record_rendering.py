"""A distillation for a terminal and as Markdown."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from kswap.report.glyphs import Glyphs
from kswap.report.markdown import prose, table
from kswap.report.paragraph import print_text
from kswap.report.table import Column, print_columns
from kswap.transfer.record import Distillation

_HEADS = ("images seen", "loss", "accuracy")


def render_terminal(distillation: Distillation, console: Console) -> None:
    """A row per measurement, the teacher's accuracy, and how long it took."""
    glyphs = Glyphs.of(console)
    rows = _rows(distillation)
    columns = [
        Column(head, tuple(Text(row[position]) for row in rows), "right") for position, head in enumerate(_HEADS)
    ]
    print_columns(console, glyphs, columns)
    console.print()
    for line in _lines(distillation):
        print_text(console, Text(glyphs.clean(line)))


def render_markdown(distillation: Distillation) -> str:
    """The same as GitHub-flavoured Markdown, ending with one line break."""
    lines = ["### Distillation", "", *table(_HEADS, _rows(distillation), ">>>")]
    for line in _lines(distillation):
        lines += ["", f"{prose(line)}."]
    return "\n".join([*lines, ""])


def _rows(distillation: Distillation) -> list[tuple[str, str, str]]:
    return [
        (
            f"{measured.images:,}",
            "" if measured.loss is None else f"{measured.loss:.4f}",
            "" if measured.top1 is None else f"{measured.top1:.2%}",
        )
        for measured in distillation.record.measured
    ]


def _lines(distillation: Distillation) -> list[str]:
    record = distillation.record
    lines = [f"{record.images:,} images seen in {record.seconds:,.1f} s on {record.settings['device']}"]
    if record.examined is None:
        lines.append("no accuracy, since there are no labels: pass labelled pictures with --eval-data")
    else:
        lines.append(f"accuracy on {record.examined_images:,} pictures of {record.examined}")
        lines.append(f"teacher {record.teacher_top1:.2%}, distilled {distillation.after:.2%} ({record.kept} weights)")
    return lines
