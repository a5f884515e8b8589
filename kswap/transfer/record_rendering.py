"""A distillation for a terminal and as Markdown."""

from __future__ import annotations

from rich.console import Console

from kswap.report.measurements import measurements_markdown, print_measurements
from kswap.transfer.record import Distillation

_HEADS = ("images seen", "loss", "accuracy")


def render_terminal(distillation: Distillation, console: Console) -> None:
    """A row per measurement, the teacher's accuracy, and how long it took."""
    print_measurements(console, _HEADS, _rows(distillation), _lines(distillation))


def render_markdown(distillation: Distillation) -> str:
    """The same as GitHub-flavoured Markdown, ending with one line break."""
    return measurements_markdown("Distillation", _HEADS, _rows(distillation), _lines(distillation))


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
