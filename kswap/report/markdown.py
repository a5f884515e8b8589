"""The report as Markdown, made for a pull request: totals in sight, the long table folded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from kswap.report.kinds import glossary_of
from kswap.report.report import Change, Report, SiteRow
from kswap.report.wording import TOTAL_LABELS, drop_in, percent, plural, settings, sites_by_reason, tally

BAR_CELLS = 20


def one_line(text: str) -> str:
    """``text`` with everything that cannot be printed made a space: a line break would end a table row."""
    return "".join(c if c.isprintable() else " " for c in text)


def prose(text: str) -> str:
    r"""``text`` so that Markdown shows it as it is.

    >>> prose("<b>*x*</b> | y")
    '&lt;b&gt;\\*x\\*&lt;/b&gt; | y'
    """
    plain = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # An underscore inside a word is no emphasis; escaping it would only spoil the raw text.
    return re.sub(r"([\\`*\[\]#~]|(?<!\w)_|_(?!\w))", r"\\\1", plain)


def code(text: str) -> str:
    """``text`` as a code span.

    >>> code("a`b")
    '``a`b``'
    """
    plain = one_line(text)
    fence = "`" * (max((len(run) for run in re.findall("`+", plain)), default=0) + 1)
    gap = " " if plain.startswith("`") or plain.endswith("`") or not plain else ""
    return f"{fence}{gap}{plain}{gap}{fence}"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], sides: str) -> list[str]:
    """Lines of a table of cells that are Markdown already; ``sides`` holds ``>`` or ``<`` for each column."""
    marks = ["--:" if side == ">" else ":--" for side in sides]
    # A bare pipe would end the cell, also inside a code span.
    lines = ([cell.replace("|", "\\|") for cell in cells] for cells in (heads, marks, *rows))
    return ["| " + " | ".join(cells) + " |" for cells in lines]


def folded(summary: str, lines: Iterable[str]) -> list[str]:
    """``lines`` behind a line that opens them."""
    return ["<details>", f"<summary>{summary}</summary>", "", *lines, "", "</details>", ""]


def bar(ratio: float) -> str:
    filled = max(round(min(ratio, 1.0) * BAR_CELLS), 1) if ratio > 0 else 0
    return "█" * filled + "░" * (BAR_CELLS - filled)


def arrow(change: Change) -> str:
    """``4,020,358 → 623,226``."""
    return f"{change.before:,} → {change.after:,}"


def _site_cells(row: SiteRow) -> list[str]:
    params = Change(row.params_before, row.params_after)
    macs = Change(row.macs_before, row.macs_after)
    growing = " ⚠" if row.grows else ""
    channels = f"{row.in_channels}→{row.out_channels}"
    return [code(row.name), channels, code(row.short()), arrow(params), percent(params.ratio) + growing, arrow(macs)]


def _replaced(report: Report) -> list[str]:
    heads = ["site", "channels", "plan", "parameters", "left", "MACs"]
    lines = table(heads, map(_site_cells, report.replaced), "<><>>>")
    return folded(f"Replaced: {plural(len(report.replaced), 'site')}", lines)


def _kept(report: Report) -> list[str]:
    rows = [
        (prose(reason), str(len(rows)), ", ".join(code(row.name) for row in rows))
        for reason, rows in sites_by_reason(report.kept).items()
    ]
    return folded(
        f"Kept: {plural(len(report.kept), 'site')}, with the reason", table(["reason", "sites", "names"], rows, "<><")
    )


def render_markdown(report: Report) -> str:
    """The report as GitHub-flavoured Markdown, ending with one line break."""
    totals = [
        (
            TOTAL_LABELS[key],
            f"{change.before:,}",
            f"**{change.after:,}**",
            percent(change.ratio),
            code(bar(change.ratio)),
        )
        for key, change in report.totals.items()
    ]
    chosen = " · ".join(f"{key} {code(value)}" for key, value in settings(report, "×").items())
    lines = [
        f"### kswap: {code(report.model)} keeps {percent(report.params.ratio)} of its parameters",
        "",
        f"{chosen} · kswap {prose(report.kswap)}",
        "",
        *table(["", "before", "after", "left", ""], totals, "<>>><"),
        "",
        f"**{tally(report)}.** Drop-in: {drop_in(report)}.",
        "",
    ]
    if report.notes:
        lines += ["**Notes**", "", *(f"- {prose(note)}" for note in report.notes), ""]
    if report.replaced:
        lines += _replaced(report)
    if report.kept:
        lines += _kept(report)
    return "\n".join([*lines, f"<sub>{prose(glossary_of(report))}</sub>", ""])
