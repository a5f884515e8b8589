"""The report in a terminal, and as plain ASCII in a pipe or a log."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console, JustifyMethod
from rich.text import Text

from kswap.report.glyphs import Glyphs
from kswap.report.kinds import explanations_of
from kswap.report.paragraph import print_names, print_record
from kswap.report.projection_wording import ACCURACY_HEADS, accuracy_cells, error_text, weights_paragraphs
from kswap.report.provenance import Provenance
from kswap.report.provenance_wording import provenance_rows
from kswap.report.report import Change, Report, SiteRow
from kswap.report.table import (
    LONG,
    Arrangements,
    Column,
    change_cells,
    column,
    is_roomy,
    print_first_fitting,
    print_named_rows,
    what_is_left,
)
from kswap.report.wording import (
    TOTAL_LABELS,
    compact,
    drop_in_text,
    one_line,
    percent,
    plural,
    report_settings,
    sites_by_reason,
    tally,
)

Rows = tuple[SiteRow, ...]


def _arrangements(report: Report, rows: Rows, glyphs: Glyphs, console: Console) -> Arrangements:
    changes = [Change(r.params_before, r.params_after) for r in rows]

    def words(head: str, cell: Callable[[SiteRow], str]) -> Column:
        return column(head, [glyphs.clean(cell(row)) for row in rows], style="dim")

    def left(width: int) -> Column:
        return Column("left", tuple(what_is_left(glyphs, change.ratio, width) for change in changes))

    channels = column("channels", [f"{r.in_channels}{glyphs.arrow}{r.out_channels}" for r in rows], "right")
    plan = column("plan", [r.short() for r in rows])
    params = column("parameters", change_cells(glyphs, [c.before for c in changes], [c.after for c in changes]))
    extra = [
        column("MACs", change_cells(glyphs, [r.macs_before for r in rows], [r.macs_after for r in rows])),
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
    error = (column("error", [error_text(row.fit_error) for row in rows], "right"),) if report.projection else ()
    bars = (left(8 if is_roomy(console) else 3), left(0))
    complete = tuple((channels, plan, params, bar, *error) for bar in bars)
    barer = ((plan, params, left(0), *error), (plan, params, *error), (plan, *error), (plan,))
    return Arrangements(main=(*complete, *(barer if console.is_terminal else ())), extra=tuple(extra))


def _print_weights(report: Report, console: Console, glyphs: Glyphs) -> None:
    console.print(Text("Weights", "bold"))
    for paragraph in weights_paragraphs(report):
        print_record(console, Text(glyphs.clean(paragraph)), "  ")
    console.print()
    if report.projection and report.projection.accuracies:
        cells = zip(*accuracy_cells(report.projection.accuracies), strict=True)
        sides: tuple[JustifyMethod, ...] = ("left", "right", "right", "right", "left")
        columns = [
            column(head, [glyphs.clean(cell) for cell in made], side)
            for head, made, side in zip(ACCURACY_HEADS, cells, sides, strict=True)
        ]
        barer = [columns[:4], columns[:2]] if console.is_terminal else []
        print_first_fitting(console, glyphs, [columns, *barer])
        console.print()


def _print_replaced(report: Report, rows: Rows, console: Console, glyphs: Glyphs) -> None:
    console.print(Text("Replaced", "bold"))
    names = [row.name for row in rows]
    print_named_rows(console, glyphs, "site", names, _arrangements(report, rows, glyphs, console))
    console.print()
    for kind in explanations_of(report):
        print_record(console, Text(glyphs.clean(kind.glossary), "dim"))
    console.print()


def _print_kept(rows: Rows, console: Console, glyphs: Glyphs) -> None:
    console.print(Text("Kept", "bold"))
    if console.is_terminal:
        for reason, group in sites_by_reason(rows).items():
            print_record(console, Text.assemble(glyphs.clean(reason), (f"  ({len(group)})", "dim")), "  ")
            print_names(console, glyphs, [row.name for row in group])
    else:  # a record a line, for grep
        channels = column("channels", [f"{r.in_channels}{glyphs.arrow}{r.out_channels}" for r in rows], "right")
        params = column("parameters", [compact(row.params_after) for row in rows], "right")
        why = column("reason", [glyphs.clean(row.reason) for row in rows])
        columns = Arrangements(((channels, params, why),))
        print_named_rows(console, glyphs, "site", [row.name for row in rows], columns)
    console.print()


def _largest(report: Report, top: int) -> Rows:
    """The ``top`` sites with most parameters, before or after, the largest first."""
    return tuple(sorted(report.sites, key=lambda row: -max(row.params_before, row.params_after))[:top])


def _print_left_out(report: Report, shown: Rows, console: Console) -> None:
    names = {row.name for row in shown}
    others = [row for row in report.sites if row.name not in names]
    share = sum(row.params_before for row in others) / max(sum(row.params_before for row in report.sites), 1)
    text = f"{plural(len(others), 'smaller site')} left out, with {percent(share)} of the parameters that all sites had"
    print_record(console, Text(text, "dim"))
    console.print()


def _print_totals(report: Report, console: Console, glyphs: Glyphs) -> None:
    changes = report.totals.values()

    def columns(form: Callable[[int], str], bar: int) -> list[Column]:
        return [
            column("", [TOTAL_LABELS[key] for key in report.totals]),
            column("before", [form(change.before) for change in changes], "right"),
            column("after", [form(change.after) for change in changes], "right", "bold"),
            Column("left", tuple(what_is_left(glyphs, change.ratio, bar) for change in changes)),
        ]

    bars = (40, 16, 0) if is_roomy(console) else (16, 0)
    choices = [columns("{:,}".format, bar) for bar in bars]
    if console.is_terminal:
        choices.append(columns(compact, 0))
    print_first_fitting(console, glyphs, choices)
    console.print()


def _print_provenance(provenance: Provenance, console: Console, glyphs: Glyphs) -> None:
    console.print(Text("Provenance", "bold"))
    rows = provenance_rows(provenance)
    width = max(len(label) for label, _ in rows)
    for label, value in rows:
        print_record(console, Text(glyphs.clean(value)), f"  {label:<{width}}  ")
    console.print()


def _print_remarks(report: Report, console: Console, glyphs: Glyphs) -> None:
    if report.notes:
        console.print(Text("Notes", "bold"))
        for note in report.notes:
            print_record(console, Text(glyphs.clean(note)), f"  {glyphs.bullet} ")
        console.print()
    style = "green" if report.drop_in else "yellow"
    print_record(console, Text.assemble(("drop-in: ", "bold"), (drop_in_text(report), style)))


def render_terminal(report: Report, console: Console, top: int | None = None) -> None:
    """Print the report: headline, totals, carried-over weights, replaced sites, kept sites with reasons, notes.

    The table of sites has as many columns as the terminal's width allows; names are cut in front rather than
    wrapped. Where the console is not a terminal, everything is plain ASCII, names are whole, and each site and each
    note is one line. A long report ends with one line that sums it up. ``top`` shows that many sites, the largest.
    """
    glyphs = Glyphs.of(console)
    head = Text.assemble((glyphs.clean(report.model), "bold"), ("  kswap " + glyphs.clean(report.kswap), "dim"))
    print_record(console, head)
    chosen = f" {glyphs.dot} ".join(f"{key} {value}" for key, value in report_settings(report, glyphs.times).items())
    print_record(console, Text(glyphs.clean(chosen)))
    console.print()
    _print_totals(report, console, glyphs)
    print_record(console, Text(tally(report)))
    console.print()
    if report.projection:
        _print_weights(report, console, glyphs)
    shown = report.sites if top is None else _largest(report, top)
    if replaced := tuple(row for row in shown if row.replaced):
        _print_replaced(report, replaced, console, glyphs)
    if kept := tuple(row for row in shown if not row.replaced):
        _print_kept(kept, console, glyphs)
    if len(shown) < len(report.sites):
        _print_left_out(report, shown, console)
    if report.provenance:
        _print_provenance(report.provenance, console, glyphs)
    _print_remarks(report, console, glyphs)
    if len(shown) >= LONG:
        console.print()
        print_record(console, Text(glyphs.clean(one_line(report)), "bold"))
