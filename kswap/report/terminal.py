"""The report in a terminal, and as plain ASCII in a pipe or a log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console, JustifyMethod
from rich.text import Text

from kswap.report.glyphs import Glyphs
from kswap.report.report import Change, Report, SiteRow
from kswap.report.wording import TOTAL_LABELS, compact, drop_in, percent, settings, sites_by_reason, tally

ROOMY = 120  # columns from which there is space for longer bars
EXACT = 76  # columns from which the totals are exact
SHORTEST_NAME = 12
BAR_STYLE = "cyan"
GROWS_STYLE = "bold yellow"


@dataclass(frozen=True)
class Column:
    """One column of the table of sites, with its cells made."""

    head: str
    cells: tuple[Text, ...]
    justify: JustifyMethod = "left"

    @property
    def width(self) -> int:
        return max(len(self.head), *(cell.cell_len for cell in self.cells))


def pairs(glyphs: Glyphs, befores: list[int], afters: list[int]) -> list[str]:
    """``before -> after`` of many rows in short, with the arrows in one column."""
    left, right = [compact(n) for n in befores], [compact(n) for n in afters]
    wide_left, wide_right = max(map(len, left)), max(map(len, right))
    return [f"{a.rjust(wide_left)} {glyphs.arrow} {b.rjust(wide_right)}" for a, b in zip(left, right, strict=True)]


def what_is_left(glyphs: Glyphs, ratio: float, width: int) -> Text:
    """The ratio as a percentage and a bar; what grows is marked."""
    style = GROWS_STYLE if ratio > 1 else BAR_STYLE
    number = (f"{percent(ratio):>6}", style if ratio > 1 else "")
    return Text.assemble(number, " ", (glyphs.bar(ratio, width), style)) if width else Text.assemble(number)


@dataclass(frozen=True)
class Arrangements:
    """Columns behind the name: ``main`` from the richest to the barest choice, ``extra`` while there is room."""

    main: tuple[tuple[Column, ...], ...]
    extra: tuple[Column, ...]


def _arrangements(report: Report, glyphs: Glyphs, roomy: bool) -> Arrangements:
    rows = report.replaced
    changes = [Change(r.params_before, r.params_after) for r in rows]

    def column(head: str, cells: list[str], justify: JustifyMethod = "left") -> Column:
        return Column(head, tuple(map(Text, cells)), justify)

    def words(head: str, cell: Callable[[SiteRow], str]) -> Column:
        return Column(head, tuple(Text(glyphs.clean(cell(row)), "dim") for row in rows))

    def left(width: int) -> Column:
        return Column("left", tuple(what_is_left(glyphs, change.ratio, width) for change in changes))

    channels = column("channels", [f"{r.in_channels}{glyphs.arrow}{r.out_channels}" for r in rows], "right")
    plan = column("plan", [r.short() for r in rows])
    params = column("parameters", pairs(glyphs, [c.before for c in changes], [c.after for c in changes]))
    extra = [
        column("MACs", pairs(glyphs, [r.macs_before for r in rows], [r.macs_after for r in rows])),
        column("stride", [str(r.stride) for r in rows], "right"),
        words("norm", lambda r: r.norm or "none"),
        words("activation", lambda r: r.activation or "none"),
        words("role", lambda r: r.role),
    ]
    # What differs between sites is worth more than what is the same everywhere.
    if any(r.placement != "absorbed" for r in rows):
        extra.insert(0, words("placement", lambda r: r.placement))
    if any(r.scheme != report.scheme for r in rows):
        extra.insert(0, words("scheme", lambda r: r.scheme))
    if any(r.ch != report.ch for r in rows):
        extra.insert(0, column("ch", [str(r.ch) for r in rows], "right"))
    return Arrangements(
        main=(
            (channels, plan, params, left(8 if roomy else 3)),
            (channels, plan, params, left(0)),
            (plan, params, left(0)),
            (plan, params),
            (plan,),
        ),
        extra=tuple(extra),
    )


def _print_replaced(report: Report, console: Console, glyphs: Glyphs) -> None:
    roomy = console.width >= ROOMY
    gap = 2 if roomy else 1
    names = [row.name for row in report.replaced]
    longest = max(len(glyphs.clean(name)) for name in names)
    arrangements = _arrangements(report, glyphs, roomy)

    def room(columns: list[Column]) -> int:
        """What ``columns`` leave for the name."""
        return console.width - sum(column.width + gap for column in columns)

    def tells_sites_apart(width: int) -> bool:
        return width >= SHORTEST_NAME and len({glyphs.shorten(name, width) for name in names}) == len(names)

    # A column less is better than two sites that look the same.
    fitting = [list(main) for main in arrangements.main if tells_sites_apart(room(list(main)))]
    columns = fitting[0] if fitting else list(arrangements.main[-1])
    for column in arrangements.extra:
        if room([*columns, column]) >= longest:
            columns.append(column)
    width = max(min(longest, room(columns)), SHORTEST_NAME)
    table = glyphs.table(gap)
    table.add_column("site", no_wrap=True, overflow="crop")
    for column in columns:
        table.add_column(column.head, justify=column.justify, no_wrap=True, overflow="crop")
    for index, name in enumerate(names):
        table.add_row(Text(glyphs.shorten(name, width)), *(column.cells[index] for column in columns))
    console.print(Text("Replaced", "bold"))
    console.print(table)
    console.print()


def print_listed(console: Console, glyphs: Glyphs, names: list[str]) -> None:
    """Names behind each other, broken between names only."""
    line = " " * 4
    for index, name in enumerate(names):
        word = glyphs.clean(name) + ("," if index < len(names) - 1 else "")
        if line.strip() and len(line) + len(word) > console.width:
            console.print(Text(line.rstrip(), "dim"), soft_wrap=True)
            line = " " * 4
        line += word + " "
    console.print(Text(line.rstrip(), "dim"), soft_wrap=True)


def _print_kept(report: Report, console: Console, glyphs: Glyphs) -> None:
    console.print(Text("Kept", "bold"))
    for reason, rows in sites_by_reason(report.kept).items():
        console.print(Text.assemble(f"  {glyphs.clean(reason)}", (f"  ({len(rows)})", "dim")))
        print_listed(console, glyphs, [row.name for row in rows])
    console.print()


def _print_totals(report: Report, console: Console, glyphs: Glyphs) -> None:
    table = glyphs.table()
    table.add_column("")
    for head in ("before", "after"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("left", no_wrap=True, overflow="crop")
    form: Callable[[int], str] = "{:,}".format if console.width >= EXACT else compact
    bar = 40 if console.width >= ROOMY else 16 if console.width >= EXACT else 0
    for key, change in report.totals.items():
        table.add_row(
            TOTAL_LABELS[key],
            form(change.before),
            Text(form(change.after), "bold"),
            what_is_left(glyphs, change.ratio, bar),
        )
    console.print(table)
    console.print()


def _print_remarks(report: Report, console: Console, glyphs: Glyphs) -> None:
    if report.notes:
        console.print(Text("Notes", "bold"))
        bullet = "-" if glyphs.ascii_only else "•"
        for note in report.notes:
            grid = glyphs.table()
            grid.show_header, grid.box = False, None
            grid.add_row(f"  {bullet}", Text(glyphs.clean(note)))
            console.print(grid)
        console.print()
    style = "green" if report.drop_in else "yellow"
    console.print(Text.assemble(("drop-in: ", "bold"), (drop_in(report), style)))


def render_terminal(report: Report, console: Console) -> None:
    """Print the report: headline, totals, replaced sites, kept sites with reasons, notes.

    The table of sites takes as many columns as the console's width allows, and shortens names in front
    rather than wrapping them. Where the console is not a terminal, everything is plain ASCII.
    """
    glyphs = Glyphs.of(console)
    head = Text.assemble((glyphs.clean(report.model), "bold"), ("  kswap " + glyphs.clean(report.kswap), "dim"))
    console.print(head, overflow="fold")
    chosen = f" {glyphs.dot} ".join(f"{key} {value}" for key, value in settings(report, glyphs.times).items())
    console.print(Text(glyphs.clean(chosen)), overflow="fold")
    console.print()
    _print_totals(report, console, glyphs)
    console.print(Text(tally(report)))
    console.print()
    if report.replaced:
        _print_replaced(report, console, glyphs)
    if report.kept:
        _print_kept(report, console, glyphs)
    _print_remarks(report, console, glyphs)
