"""Reports and comparisons in a notebook: a fragment of HTML with tables, safe whatever names are in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup

from kswap.errors import visible
from kswap.report.diff import ReportDiff, delta
from kswap.report.diff_wording import origin_lines, plan_texts, summary, total_rows
from kswap.report.provenance_wording import provenance_rows
from kswap.report.report import Change, Report
from kswap.report.wording import TOTAL_LABELS, drop_in_text, percent, plural, report_settings, signed, tally

LEFT, RIGHT = "text-align:left", "text-align:right"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], sides: str) -> Markup:
    """A table whose columns are left (``<``) or right (``>``); its style is in it, and reaches nothing else."""

    def cells(tag: str, texts: Sequence[str]) -> Markup:
        cell = Markup(f'<{tag} style="{{}}">{{}}</{tag}>')
        styles = (RIGHT if side == ">" else LEFT for side in sides)
        return Markup("").join(cell.format(style, visible(text)) for style, text in zip(styles, texts, strict=True))

    head = Markup("<thead><tr>{}</tr></thead>").format(cells("th", heads)) if any(heads) else ""
    body = Markup("\n").join(Markup("<tr>{}</tr>").format(cells("td", row)) for row in rows)
    return Markup("<table>{}<tbody>\n{}\n</tbody></table>").format(head, body)


def _folded(title: str, content: Markup) -> Markup:
    return Markup("<details><summary>{}</summary>{}</details>").format(visible(title), content)


def _paragraph(text: str) -> Markup:
    return Markup("<p>{}</p>").format(visible(text))


def _fragment(title: str, parts: Iterable[Markup]) -> str:
    head = Markup("<p><b>{}</b></p>").format(visible(title))
    return str(Markup("\n").join((Markup("<div>"), head, *parts, Markup("</div>"))))


def report_fragment(report: Report) -> str:
    """A report: totals, and folded the sites, what was kept with the reason, the notes, and where it comes from."""
    totals = [
        (TOTAL_LABELS[key], f"{change.before:,}", f"{change.after:,}", percent(change.ratio))
        for key, change in report.totals.items()
    ]
    replaced = [
        (
            row.name,
            f"{row.in_channels}→{row.out_channels}",
            row.short(),
            f"{row.params_before:,} → {row.params_after:,}",
            percent(Change(row.params_before, row.params_after).ratio),
        )
        for row in report.replaced
    ]
    chosen = " · ".join(f"{key} {value}" for key, value in report_settings(report, "×").items())
    parts = [_paragraph(chosen), _table(("", "before", "after", "left"), totals, "<>>>"), _paragraph(tally(report))]
    if replaced:
        table = _table(("site", "channels", "plan", "parameters", "left"), replaced, "<><>>")
        parts.append(_folded(f"Replaced: {plural(len(replaced), 'site')}", table))
    if report.kept:
        kept = _table(("site", "reason"), [(row.name, row.reason) for row in report.kept], "<<")
        parts.append(_folded(f"Kept: {plural(len(report.kept), 'site')}", kept))
    if report.notes:
        parts.append(_folded("Notes", Markup("").join(map(_paragraph, report.notes))))
    if report.provenance:
        parts.append(_folded("Provenance", _table(("", ""), provenance_rows(report.provenance), "<<")))
    return _fragment(report.model, [*parts, _paragraph(f"drop-in: {drop_in_text(report)}")])


def diff_fragment(diff: ReportDiff) -> str:
    """A comparison: what differs in short, the totals, and folded the sites that changed."""
    totals = [
        (label, f"{change.before:,}", f"{change.after:,}", signed(delta(change)), percent(change.ratio))
        for label, change in total_rows(diff)
    ]
    parts = [_paragraph(summary(diff))]
    if asked := origin_lines(diff):
        parts.append(_table(("", ""), asked, "<<"))
    if settings := [(s.name, s.before, s.after) for s in (*diff.provenance, *diff.settings)]:
        parts.append(_table(("what differs", "first", "second"), settings, "<<<"))
    parts.append(_table(("converted model", "first", "second", "difference", "ratio"), totals, "<>>>>"))
    if diff.changed:
        changed = [(change.name, *plan_texts(change), signed(delta(change.params))) for change in diff.changed]
        table = _table(("site", "first", "second", "parameters"), changed, "<<<>")
        parts.append(_folded(f"Changed: {plural(len(changed), 'site')}", table))
    models = " → ".join(dict.fromkeys((diff.before.model, diff.after.model)))
    return _fragment(models, parts)
