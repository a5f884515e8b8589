"""The report in a terminal, and as plain ASCII in a pipe or a log."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console
from rich.text import Text

from kswap.report.glyphs import Glyphs
from kswap.report.report import Change, Report, SiteRow
from kswap.report.site_table import (
    EXACT,
    Arrangements,
    Column,
    column,
    is_roomy,
    pairs,
    print_hanging,
    print_listed,
    print_sites,
    what_is_left,
)
from kswap.report.wording import TOTAL_LABELS, compact, drop_in, settings, sites_by_reason, tally


def _arrangements(report: Report, glyphs: Glyphs, roomy: bool) -> Arrangements:
    rows = report.replaced
    changes = [Change(r.params_before, r.params_after) for r in rows]

    def words(head: str, cell: Callable[[SiteRow], str]) -> Column:
        return column(head, [glyphs.clean(cell(row)) for row in rows], style="dim")

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
    console.print(Text("Replaced", "bold"))
    names = [row.name for row in report.replaced]
    print_sites(console, glyphs, names, _arrangements(report, glyphs, is_roomy(console)))
    console.print()


def _print_kept(report: Report, console: Console, glyphs: Glyphs) -> None:
    console.print(Text("Kept", "bold"))
    for reason, rows in sites_by_reason(report.kept).items():
        print_hanging(console, glyphs, "  ", Text.assemble(glyphs.clean(reason), (f"  ({len(rows)})", "dim")))
        print_listed(console, glyphs, [row.name for row in rows])
    console.print()


def _print_totals(report: Report, console: Console, glyphs: Glyphs) -> None:
    table = glyphs.table()
    table.add_column("")
    for head in ("before", "after"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("left", no_wrap=True, overflow="crop")
    form: Callable[[int], str] = "{:,}".format if console.width >= EXACT else compact
    bar = 40 if is_roomy(console) else 16 if console.width >= EXACT else 0
    for key, change in report.totals.items():
        after = Text(form(change.after), "bold")
        table.add_row(TOTAL_LABELS[key], form(change.before), after, what_is_left(glyphs, change.ratio, bar))
    console.print(table)
    console.print()


def _print_remarks(report: Report, console: Console, glyphs: Glyphs) -> None:
    if report.notes:
        console.print(Text("Notes", "bold"))
        for note in report.notes:
            print_hanging(console, glyphs, f"  {glyphs.bullet} ", Text(glyphs.clean(note)))
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
