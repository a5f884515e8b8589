"""A check on a terminal, as Markdown for a pull request, and as CSV."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from kswap.checks.result import LABELS, Check, CheckedConversion, CheckedLimit, Costly
from kswap.report.csv_text import csv_text
from kswap.report.glyphs import Glyphs
from kswap.report.markdown import code, collapsed, prose, table
from kswap.report.paragraph import print_record
from kswap.report.table import Arrangements, Column, column, print_columns, print_named_rows
from kswap.report.wording import compact, percent

COLUMNS = ("place", "model", "quantity", "limit", "most", "now", "before", "passed")


def _verdict(limit: CheckedLimit) -> str:
    return "ok" if limit.passed else f"over by {limit.shown(limit.now - limit.most)}"


def _part_cells(part: Costly) -> tuple[str, str, str]:
    return compact(part.cost), percent(part.share), part.plan


def _print_one(one: CheckedConversion, console: Console, glyphs: Glyphs) -> None:
    print_record(console, Text.assemble((glyphs.clean(one.place), "bold"), f"  {glyphs.clean(one.model)}"))
    verdicts = [Text(_verdict(limit), "green" if limit.passed else "bold yellow") for limit in one.limits]
    columns = [
        column("", [limit.label for limit in one.limits]),
        column("at most", [limit.asked for limit in one.limits], "right"),
        column("now", [limit.shown(limit.now) for limit in one.limits], "right"),
        Column("", tuple(verdicts)),
    ]
    print_columns(console, glyphs, columns)
    console.print()
    for key, parts in one.why.items():
        console.print(Text(f"Most {LABELS[key]}", "bold"))
        costs, shares, plans = zip(*map(_part_cells, parts), strict=True)
        shown = [column(LABELS[key], costs, "right"), column("of all", shares, "right")]
        shown.append(column("plan", [glyphs.clean(plan) for plan in plans]))
        print_named_rows(console, glyphs, "site", [part.name for part in parts], Arrangements.shrinking(console, shown))
        console.print()


def render_terminal(check: Check, console: Console) -> None:
    """Print every limit with what it is now, what costs most where that was asked for, and how it went."""
    glyphs = Glyphs.of(console)
    for one in check.conversions:
        _print_one(one, console, glyphs)
    if check.measured:
        print_record(console, Text(check.measured, "dim"))
    print_record(console, Text(glyphs.clean(check.summary), "green" if check.passed else "bold yellow"))


def render_markdown(check: Check) -> str:
    """The check as GitHub-flavoured Markdown, ending with one line break."""
    lines = [f"### kswap check: {prose(check.summary)}", ""]
    rows = [
        (
            code(one.place),
            limit.label,
            limit.asked,
            limit.shown(limit.now),
            _verdict(limit) if limit.passed else f"❌ **{_verdict(limit)}**",
        )
        for one in check.conversions
        for limit in one.limits
    ]
    lines += [*table(["", "", "at most", "now", ""], rows, "<<>><"), ""]
    for one in check.conversions:
        for key, parts in one.why.items():
            cells = ((code(part.name), *_part_cells(part)) for part in parts)
            named = [(name, cost, share, prose(plan)) for name, cost, share, plan in cells]
            body = table(["site", LABELS[key], "of all", "plan"], named, "<>><")
            lines += collapsed(f"Most {LABELS[key]} of {prose(one.place)}", body)
    notes = [f"Budgets: {code(check.file)}."] + ([f"{prose(check.measured)}."] if check.measured else [])
    return "\n".join([*lines, f"<sub>{' '.join(notes)}</sub>", ""])


def render_csv(check: Check) -> str:
    """One row per limit."""
    rows: list[dict[str, Any]] = [
        {"place": one.place, "model": one.model} | {key: limit.to_json()[key] for key in COLUMNS[2:]}
        for one in check.conversions
        for limit in one.limits
    ]
    return csv_text(COLUMNS, rows)
