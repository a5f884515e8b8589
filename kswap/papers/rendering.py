"""The checked tables of the papers on a console, as Markdown and as CSV."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.text import Text

from kswap.papers.tables import CheckedRow, CheckedTables
from kswap.report.csv_text import csv_text
from kswap.report.glyphs import Glyphs
from kswap.report.markdown import prose
from kswap.report.markdown import table as markdown_table
from kswap.report.paragraph import print_text
from kswap.report.table import Arrangements, Column, print_named_rows

_HEADS = ("network", "cls", "px", "parameters", "ours", "computations", "ours", "agrees")
# The columns after the network that stay on a terminal, from all of them to the fewest.
_STAYING = ((0, 1, 2, 3, 4, 5, 6), (2, 3, 4, 5, 6), (2, 3, 6), (6,))


def _cells(row: CheckedRow, mark: str) -> list[str]:
    """The cells of one row; ``mark`` follows the verdict of a row that has a note."""

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


def _marks(rows: Iterable[CheckedRow]) -> dict[str, str]:
    """The notes of a table with the marks that refer to them."""
    notes = dict.fromkeys(row.row.note for row in rows if row.row.note)
    return {note: f" ({number})" for number, note in enumerate(notes, start=1)}


def _marked_cells(rows: Iterable[CheckedRow], marks: dict[str, str]) -> list[list[str]]:
    return [_cells(row, marks.get(row.row.note or "", "")) for row in rows]


def _style(row: CheckedRow) -> str:
    return "" if row.agrees else "yellow" if row.explained else "bold red"


def _columns(rows: Sequence[CheckedRow], cells: list[list[str]]) -> list[Column]:
    last = len(_HEADS) - 1
    return [
        Column(
            _HEADS[index],
            tuple(Text(line[index], _style(row)) for row, line in zip(rows, cells, strict=True)),
            "left" if index == last else "right",
        )
        for index in range(1, last + 1)
    ]


def render_terminal(checked: CheckedTables, console: Console) -> None:
    """Print each table with its notes below it, then how many rows agree."""
    glyphs = Glyphs.of(console)
    for name, rows in checked.by_table.items():
        marks = _marks(rows)
        cells = _marked_cells(rows, marks)
        columns = _columns(rows, cells)
        staying = _STAYING if console.is_terminal else _STAYING[:1]
        choices = tuple(tuple(columns[index] for index in kept) for kept in staying)
        print_text(console, Text(name, "bold"))
        print_named_rows(console, glyphs, _HEADS[0], [line[0] for line in cells], Arrangements(choices))
        for note, mark in marks.items():
            print_text(console, Text(glyphs.clean(note), "dim"), f"{mark.strip()} ")
        console.print()
    print_text(console, Text(checked.tally()))


def render_markdown(checked: CheckedTables) -> str:
    """The tables as Markdown, each with its notes below it."""
    lines: list[str] = []
    for name, rows in checked.by_table.items():
        marks = _marks(rows)
        cells = [[prose(cell) for cell in line] for line in _marked_cells(rows, marks)]
        lines += [f"## {name}", "", *markdown_table(_HEADS, cells, "<>>>>>><"), ""]
        lines += [line for note, mark in marks.items() for line in (prose(f"{mark.strip()} {note}"), "")]
    return "\n".join([*lines, checked.tally()])


def render_csv(checked: CheckedTables) -> str:
    """One line per row of the papers."""
    lines = [_flat(row) for row in checked.rows]
    return csv_text(_CSV_COLUMNS, lines)


_CSV_COLUMNS = (
    *("table", "network", "classes", "input_size", "skip_strides", "published_params", "params"),
    *("published_computations", "computations", "accuracy", "agrees", "note"),
)


def _flat(row: CheckedRow) -> dict[str, object]:
    data = row.to_json()
    size = data["input_size"]
    own = {
        "input_size": f"{size[1]}x{size[2]}" if size else None,
        "published_params": data["params"]["published"],
        "params": data["params"]["ours"],
        "published_computations": data["computations"]["published"],
        "computations": data["computations"]["ours"],
    }
    return {key: own[key] if key in own else data[key] for key in _CSV_COLUMNS}
