"""A comparison of two reports on a terminal, and as plain ASCII in a pipe or a log."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console
from rich.text import Text

from kswap.report.diff import ReportDiff, SettingChange, SiteChange, delta
from kswap.report.diff_wording import (
    ACCURACY_HEADS,
    ERROR_HEADS,
    accuracy_cells,
    error_cells,
    one_line,
    origin_lines,
    plan_texts,
    summary,
    total_rows,
)
from kswap.report.glyphs import Glyphs
from kswap.report.paragraph import print_names, print_record
from kswap.report.report import Change, SiteRow
from kswap.report.table import (
    GROWS_STYLE,
    LONG,
    Arrangements,
    Column,
    change_cells,
    column,
    print_first_fitting,
    print_named_rows,
)
from kswap.report.wording import compact, percent, signed


def _style(change: Change) -> str:
    return GROWS_STYLE if delta(change) > 0 else "green" if delta(change) < 0 else "dim"


def _signed_compact(number: int) -> str:
    return ("+" if number > 0 else "") + compact(number)


def _print_totals(diff: ReportDiff, console: Console, glyphs: Glyphs) -> None:
    labels = [label for label, _ in total_rows(diff)]
    changes = [change for _, change in total_rows(diff)]

    def columns(form: Callable[[int], str], difference: Callable[[int], str]) -> list[Column]:
        moved = tuple(Text(difference(delta(change)), _style(change)) for change in changes)
        return [
            column("converted model", labels),
            column("first", [form(change.before) for change in changes], "right"),
            column("second", [form(change.after) for change in changes], "right"),
            Column("difference", moved, "right"),
            column("ratio", [percent(change.ratio) for change in changes], "right"),
        ]

    exact, short = columns("{:,}".format, signed), columns(compact, _signed_compact)
    print_first_fitting(console, glyphs, [exact, short, short[:-1]] if console.is_terminal else [exact])
    console.print()


def _print_settings(title: str, settings: tuple[SettingChange, ...], console: Console, glyphs: Glyphs) -> None:
    console.print(Text(title, "bold"))
    names = [glyphs.clean(setting.name) for setting in settings]
    width = max([8, *(len(name) + 1 for name in names)])
    for name, setting in zip(names, settings, strict=True):
        values = f"{glyphs.clean(setting.before)} {glyphs.arrow} {glyphs.clean(setting.after)}"
        print_record(console, Text(values), f"  {name:<{width}}")
    console.print()


def _changed_arrangements(changes: tuple[SiteChange, ...], glyphs: Glyphs, console: Console) -> Arrangements:
    first = column("first", [plan_texts(change)[0] for change in changes])
    second = column("second", [glyphs.clean(plan_texts(change)[1]) for change in changes])
    moved = Column(
        "difference",
        tuple(Text(_signed_compact(delta(change.params)), _style(change.params)) for change in changes),
        "right",
    )
    befores, afters = [c.params.before for c in changes], [c.params.after for c in changes]
    params = column("parameters", change_cells(glyphs, befores, afters))
    fields = column("fields", [", ".join(change.fields) for change in changes], style="dim")
    barer = ((second, moved), (second,)) if console.is_terminal else ()
    return Arrangements(main=((first, second, moved), *barer), extra=(params, fields))


def _print_accuracies(diff: ReportDiff, console: Console, glyphs: Glyphs) -> None:
    console.print(Text("Top-1 accuracy", "bold"))
    cells = [[glyphs.clean(cell) for cell in row] for row in zip(*accuracy_cells(diff), strict=True)]
    columns = [
        column(head, made, "left" if head in ("stage", "data") else "right")
        for head, made in zip(ACCURACY_HEADS, cells, strict=True)
    ]
    choices = [columns, columns[:5], columns[:4], columns[:3]] if console.is_terminal else [columns]
    print_first_fitting(console, glyphs, choices)
    console.print()


def _print_errors(diff: ReportDiff, console: Console, glyphs: Glyphs) -> None:
    console.print(Text(f"Error of the fit ({len(diff.errors)})", "bold"))
    names, *cells = zip(*error_cells(diff), strict=True)
    columns = [column(head, made, "right") for head, made in zip(ERROR_HEADS[1:], cells, strict=True)]
    print_named_rows(console, glyphs, "site", names, Arrangements.shrinking(console, columns, fewest=2))
    console.print()


def _print_only(title: str, rows: tuple[SiteRow, ...], console: Console, glyphs: Glyphs) -> None:
    console.print(Text(f"{title} ({len(rows)})", "bold"))
    print_names(console, glyphs, [row.name for row in rows])
    console.print()


def render_terminal(diff: ReportDiff, console: Console) -> None:
    """Print the comparison; plain ASCII where the console is not a terminal."""
    glyphs = Glyphs.of(console)
    models = list(dict.fromkeys(glyphs.clean(report.model) for report in (diff.before, diff.after)))
    print_record(console, Text(f" {glyphs.arrow} ".join(models), "bold"))
    print_record(console, Text(glyphs.clean(summary(diff))))
    for name, asked in origin_lines(diff):
        print_record(console, Text(glyphs.clean(asked), "dim"), f"{name:<7}")
    console.print()
    if diff.same:
        return
    if diff.provenance:
        _print_settings("Provenance that differs", diff.provenance, console, glyphs)
    _print_totals(diff, console, glyphs)
    if diff.settings:
        _print_settings("Settings that differ", diff.settings, console, glyphs)
    if diff.accuracies:
        _print_accuracies(diff, console, glyphs)
    if diff.changed:
        console.print(Text(f"Changed ({len(diff.changed)})", "bold"))
        names = [change.name for change in diff.changed]
        print_named_rows(console, glyphs, "site", names, _changed_arrangements(diff.changed, glyphs, console))
        console.print()
    if diff.errors:
        _print_errors(diff, console, glyphs)
    if diff.only_before:
        _print_only("Only in the first", diff.only_before, console, glyphs)
    if diff.only_after:
        _print_only("Only in the second", diff.only_after, console, glyphs)
    if sum(map(len, (diff.changed, diff.errors, diff.only_before, diff.only_after))) >= LONG:
        print_record(console, Text(glyphs.clean(one_line(diff)), "bold"))
