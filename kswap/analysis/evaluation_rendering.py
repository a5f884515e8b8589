"""An evaluation for a terminal, as Markdown or CSV."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from kswap.analysis.evaluation import ClassAccuracy, Evaluation
from kswap.report.csv_text import csv_text
from kswap.report.glyphs import Glyphs
from kswap.report.markdown import code, prose, table
from kswap.report.paragraph import print_text
from kswap.report.table import Column, print_columns

_HEADS = ("class", "images", "correct", "accuracy")


def render_terminal(evaluation: Evaluation, console: Console) -> None:
    """A row per class, a row for all, and what was measured where."""
    glyphs = Glyphs.of(console)
    rows = [(Text(glyphs.clean(name)), *map(Text, numbers)) for name, *numbers in _rows(evaluation)]
    rows[-1] = tuple(Text(cell.plain, "bold") for cell in rows[-1])
    columns = [
        Column(head, tuple(row[position] for row in rows), "right" if position else "left")
        for position, head in enumerate(_HEADS)
    ]
    print_columns(console, glyphs, columns)
    console.print()
    print_text(console, Text(glyphs.clean(f"{_title(evaluation)}: {_speed(evaluation)}")))


def render_markdown(evaluation: Evaluation) -> str:
    """The same as GitHub-flavoured Markdown, ending with one line break."""
    *classes, everything = _rows(evaluation)
    rows = [(prose(name), *numbers) for name, *numbers in classes]
    rows.append(tuple(f"**{cell}**" for cell in everything))
    lines = [
        f"### {prose(_title(evaluation))}: {evaluation.top1:.2%}",
        "",
        *table(_HEADS, rows, "<>>>"),
        "",
        f"Pictures: {code(str(evaluation.preprocessing))}. {prose(_speed(evaluation))}.",
    ]
    if evaluation.untrained:
        lines += ["", f"**Never trained**: {prose(evaluation.untrained)}."]
    return "\n".join([*lines, ""])


def render_csv(evaluation: Evaluation) -> str:
    """A row per class; the accuracy from 0 to 1."""
    rows = [entry.to_json() for entry in evaluation.classes]
    return csv_text(("name", "images", "correct", "accuracy"), rows)


def _rows(evaluation: Evaluation) -> list[tuple[str, str, str, str]]:
    total = ClassAccuracy("all", evaluation.images, evaluation.correct)
    return [
        (
            entry.name,
            f"{entry.images:,}",
            f"{entry.correct:,}",
            "" if entry.accuracy is None else f"{entry.accuracy:.2%}",
        )
        for entry in (*evaluation.classes, total)
    ]


def _title(evaluation: Evaluation) -> str:
    split = f", split {evaluation.split}" if evaluation.split else ""
    mirrored = ", with the mirrored pictures" if evaluation.hflip else ""
    return f"{evaluation.model} on {evaluation.data}{split}{mirrored}"


def _speed(evaluation: Evaluation) -> str:
    per_second = evaluation.images / evaluation.seconds
    return f"{evaluation.seconds:.1f} s on {evaluation.device} ({per_second:,.0f} images per second)"
