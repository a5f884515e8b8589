"""A comparison of two reports, for a terminal, as Markdown, CSV or HTML."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.text import Text

from kswap.report.csv_text import csv_text
from kswap.report.diff import ReportDiff, SiteChange, delta
from kswap.report.glyphs import Glyphs
from kswap.report.kinds import glossary_of
from kswap.report.markdown import code, folded, prose, table
from kswap.report.paragraph import print_names, print_text
from kswap.report.report import Change, SiteRow
from kswap.report.sites_csv import flat
from kswap.report.table import (
    GROWS_STYLE,
    Arrangements,
    Column,
    column,
    pairs,
    print_first_fitting,
    print_named_rows,
)
from kswap.report.wording import TOTAL_LABELS, compact, percent, plural, signed

CSV_COLUMNS = ("kind", "name", "field", "before", "after")


def summary(diff: ReportDiff) -> str:
    """One line that says how much differs."""
    if diff.same:
        return f"no differences ({plural(diff.unchanged, 'site')} compared)"
    parts = [f"{plural(len(diff.changed), 'site')} changed", f"{diff.unchanged} unchanged"]
    if diff.only_before:
        parts.append(f"{len(diff.only_before)} only in the first")
    if diff.only_after:
        parts.append(f"{len(diff.only_after)} only in the second")
    return ", ".join(parts)


def total_rows(diff: ReportDiff) -> list[tuple[str, Change]]:
    """The totals of the converted models and, where they differ, of the originals."""
    rows = [(TOTAL_LABELS[key], change) for key, change in diff.totals.items()]
    if not diff.same_originals:
        rows += [(f"{TOTAL_LABELS[key]}, original", change) for key, change in diff.originals.items()]
    return rows


def plans(change: SiteChange) -> tuple[str, str]:
    """Both plans in short; where they read the same, the second says what else differs."""
    first, second = change.before.short(), change.after.short()
    return (first, second) if first != second else (first, f"{second}, other {', '.join(change.fields)}")


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


def _print_settings(diff: ReportDiff, console: Console, glyphs: Glyphs) -> None:
    console.print(Text("Settings that differ", "bold"))
    for setting in diff.settings:
        values = f"{glyphs.clean(setting.before)} {glyphs.arrow} {glyphs.clean(setting.after)}"
        print_text(console, Text(values), f"  {setting.name:<8}")
    console.print()


def _changed_arrangements(changes: tuple[SiteChange, ...], glyphs: Glyphs, console: Console) -> Arrangements:
    first = column("first", [plans(change)[0] for change in changes])
    second = column("second", [glyphs.clean(plans(change)[1]) for change in changes])
    moved = Column(
        "difference",
        tuple(Text(_signed_compact(delta(change.params)), _style(change.params)) for change in changes),
        "right",
    )
    befores, afters = [c.params.before for c in changes], [c.params.after for c in changes]
    params = column("parameters", pairs(glyphs, befores, afters))
    fields = column("fields", [", ".join(change.fields) for change in changes], style="dim")
    barer = ((second, moved), (second,)) if console.is_terminal else ()
    return Arrangements(main=((first, second, moved), *barer), extra=(params, fields))


def _print_only(title: str, rows: tuple[SiteRow, ...], console: Console, glyphs: Glyphs) -> None:
    console.print(Text(f"{title} ({len(rows)})", "bold"))
    print_names(console, glyphs, [row.name for row in rows])
    console.print()


def render_diff_terminal(diff: ReportDiff, console: Console) -> None:
    """Print the comparison; plain ASCII where the console is not a terminal."""
    glyphs = Glyphs.of(console)
    models = list(dict.fromkeys(glyphs.clean(report.model) for report in (diff.before, diff.after)))
    print_text(console, Text(f" {glyphs.arrow} ".join(models), "bold"))
    print_text(console, Text(summary(diff)))
    console.print()
    if diff.same:
        return
    _print_totals(diff, console, glyphs)
    if diff.settings:
        _print_settings(diff, console, glyphs)
    if diff.changed:
        console.print(Text(f"Changed ({len(diff.changed)})", "bold"))
        names = [change.name for change in diff.changed]
        print_named_rows(console, glyphs, "site", names, _changed_arrangements(diff.changed, glyphs, console))
        console.print()
    if diff.only_before:
        _print_only("Only in the first", diff.only_before, console, glyphs)
    if diff.only_after:
        _print_only("Only in the second", diff.only_after, console, glyphs)


def _change_cells(change: SiteChange) -> list[str]:
    params = change.params
    return [
        code(change.name),
        *map(code, plans(change)),
        f"{params.before:,} → {params.after:,}",
        signed(delta(params)),
    ]


def render_diff_markdown(diff: ReportDiff) -> str:
    """The comparison as GitHub-flavoured Markdown, ending with one line break."""
    models = dict.fromkeys((diff.before.model, diff.after.model))
    lines = [f"### kswap diff: {' → '.join(map(code, models))}", "", f"**{summary(diff)}.**", ""]
    if diff.same:
        return "\n".join(lines)
    totals = [
        (label, f"{c.before:,}", f"{c.after:,}", f"**{signed(delta(c))}**", percent(c.ratio))
        for label, c in total_rows(diff)
    ]
    lines += [*table(["converted model", "first", "second", "difference", "ratio"], totals, "<>>>>"), ""]
    if diff.settings:
        rows = [(prose(s.name), code(s.before), code(s.after)) for s in diff.settings]
        lines += [*table(["setting", "first", "second"], rows, "<<<"), ""]
    if diff.changed:
        heads = ["site", "first", "second", "parameters", "difference"]
        changed = table(heads, map(_change_cells, diff.changed), "<<<>>")
        lines += folded(f"Changed: {plural(len(diff.changed), 'site')}", changed)
    for title, only in (("first", diff.only_before), ("second", diff.only_after)):
        if only:
            listed = [f"- {code(row.name)}" for row in only]
            lines += folded(f"Only in the {title}: {plural(len(only), 'site')}", listed)
    return "\n".join(lines)


def _csv_rows(diff: ReportDiff) -> Iterator[tuple[Any, ...]]:
    for setting in diff.settings:
        yield "setting", setting.name, "", setting.before, setting.after
    for kind, totals in (("total", diff.totals), ("original", diff.originals)):
        for key, change in totals.items():
            yield kind, key, "", change.before, change.after
    for site in diff.changed:
        before, after = flat(site.before), flat(site.after)
        for key in before:
            if before[key] != after[key]:
                yield "changed", site.name, key, before[key], after[key]
    for row in diff.only_before:
        yield "only_before", row.name, "plan", row.short(), None
    for row in diff.only_after:
        yield "only_after", row.name, "plan", None, row.short()


def render_diff_csv(diff: ReportDiff) -> str:
    """A row for each thing that differs: kind, name, field, before, after; totals always."""
    return csv_text(CSV_COLUMNS, (dict(zip(CSV_COLUMNS, row, strict=True)) for row in _csv_rows(diff)))


def render_diff_html(diff: ReportDiff) -> str:
    """The comparison as one HTML page in the style of the report."""
    # jinja2 takes a while to import, and only HTML needs it.
    from kswap.report.html import environment

    made: Callable[..., str] = environment().get_template("diff.html.jinja").render
    return made(
        diff=diff,
        models=list(dict.fromkeys((diff.before.model, diff.after.model))),
        summary=summary(diff),
        glossary=glossary_of(diff.before, diff.after),
        plans=plans,
        totals=total_rows(diff),
        only=[("first", diff.only_before), ("second", diff.only_after)],
    )
