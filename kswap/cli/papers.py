"""``kswap papers``: the tables of the papers, checked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from kswap.cli.options import console
from kswap.errors import ReportError

if TYPE_CHECKING:
    from rich.console import Console

    from kswap.papers.tables import CheckedRow, PublishedRow

_HEADS = ("network", "cls", "px", "parameters", "ours", "computations", "ours", "agrees")


@click.command()
@click.argument("table", required=False)
@click.option(
    "--format", "format_", type=click.Choice(["rich", "json", "csv", "md"]), default="rich", show_default=True
)
def papers(table: str | None, format_: str) -> None:
    """Print the tables of the papers beside our figures.

    Every network is planned anew. TABLE is a part of a table's name ("2022 paper, Table 5"). Exit status 1
    where a figure differs and no reason is known.
    """
    from kswap.papers.tables import check, published_rows
    from kswap.report.output import json_text, write_verbatim
    from kswap.report.sites_csv import csv_text

    rows = published_rows(table)
    if not rows:
        names = ", ".join(dict.fromkeys(row.table for row in published_rows()))
        raise ReportError(f"no table is called '{table}': there are {names}")
    checked = check(rows, _tracked)
    out = console()
    if format_ == "json":
        write_verbatim(json_text([row.to_json() for row in checked]), out)
    elif format_ == "csv":
        plain = [_flat(row) for row in checked]
        write_verbatim(csv_text(plain[0], plain), out)
    elif format_ == "md":
        write_verbatim(_markdown(checked), out)
    else:
        _show(checked, out)
    unexplained = [row for row in checked if not row.explained]
    if unexplained:
        click.echo(f"{len(unexplained)} rows differ for no known reason", err=True)
        raise click.exceptions.Exit(1)


def _tracked(rows: list[PublishedRow]) -> Iterable[PublishedRow]:
    from rich.console import Console
    from rich.progress import track

    return track(rows, "planning", console=Console(stderr=True), transient=True)


def _flat(row: CheckedRow) -> dict[str, object]:
    plain = row.to_json()
    size = plain["input_size"]
    return {
        "table": plain["table"],
        "network": plain["network"],
        "classes": plain["classes"],
        "input_size": f"{size[1]}x{size[2]}" if size else None,
        "skip_strides": plain["skip_strides"],
        "published_params": plain["params"]["published"],
        "params": plain["params"]["ours"],
        "published_computations": plain["computations"]["published"],
        "computations": plain["computations"]["ours"],
        "accuracy": plain["accuracy"],
        "agrees": plain["agrees"],
        "note": plain["note"],
    }


def _by_table(checked: Iterable[CheckedRow]) -> dict[str, list[CheckedRow]]:
    tables: dict[str, list[CheckedRow]] = {}
    for row in checked:
        tables.setdefault(row.row.table, []).append(row)
    return tables


def _cells(row: CheckedRow, mark: str) -> list[str]:
    """The cells of one row; ``mark`` stands behind the verdict of one that has a note."""

    def figure(value: int | None) -> str:
        return "" if value is None else f"{value:,}"

    has_network = row.row.recipe is not None
    return [
        row.row.network,
        str(row.row.classes) if has_network else "",
        str(row.row.side) if has_network else "",
        figure(row.row.params),
        figure(row.ours.params),
        figure(row.row.computations),
        figure(row.computations),
        ("yes" if row.agrees else "no") + mark,
    ]


def _numbered(rows: Iterable[CheckedRow]) -> dict[str, str]:
    """The notes of a table with the marks that refer to them."""
    notes = dict.fromkeys(row.row.note for row in rows if row.row.note)
    return {note: f" ({number})" for number, note in enumerate(notes, start=1)}


def _tally(checked: Iterable[CheckedRow]) -> str:
    rows = list(checked)
    agreeing = sum(row.agrees for row in rows)
    explained = sum(row.explained and not row.agrees for row in rows)
    notes = f"; {explained} print what the authors' own code does not give: see the notes" if explained else ""
    return f"{agreeing} of {len(rows)} rows agree{notes}"


def _show(checked: tuple[CheckedRow, ...], out: Console) -> None:
    from rich.text import Text

    from kswap.report.glyphs import Glyphs

    glyphs = Glyphs.of(out)
    for name, rows in _by_table(checked).items():
        marks = _numbered(rows)
        table = glyphs.table(gap=1)
        for index, head in enumerate(_HEADS):
            table.add_column(head, justify="left" if index in (0, 7) else "right", no_wrap=index > 0, overflow="fold")
        for row in rows:
            style = "" if row.agrees else "yellow" if row.explained else "bold red"
            table.add_row(*(Text(cell, style) for cell in _cells(row, marks.get(row.row.note or "", ""))))
        out.print(Text(name, "bold"))
        out.print(table)
        for note, mark in marks.items():
            out.print(Text(f"{mark.strip()} {note}", "dim"))
        out.print()
    out.print(_tally(checked))


def _markdown(checked: tuple[CheckedRow, ...]) -> str:
    from kswap.report.markdown import prose
    from kswap.report.markdown import table as markdown_table

    lines: list[str] = []
    for name, rows in _by_table(checked).items():
        marks = _numbered(rows)
        cells = [[prose(cell) for cell in _cells(row, marks.get(row.row.note or "", ""))] for row in rows]
        lines += [f"## {name}", "", *markdown_table(_HEADS, cells, "<>>>>>><"), ""]
        lines += [line for note, mark in marks.items() for line in (prose(f"{mark.strip()} {note}"), "")]
    return "\n".join([*lines, _tally(checked)])
