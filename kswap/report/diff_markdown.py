"""A comparison of two reports as Markdown."""

from __future__ import annotations

from kswap.report.diff import ReportDiff, SiteChange, delta
from kswap.report.diff_wording import (
    ACCURACY_HEADS,
    ERROR_HEADS,
    accuracy_cells,
    error_cells,
    origin_lines,
    plan_texts,
    summary,
    total_rows,
)
from kswap.report.markdown import code, collapsed, prose, table
from kswap.report.wording import percent, plural, signed


def _change_cells(change: SiteChange) -> list[str]:
    params = change.params
    return [
        code(change.name),
        *map(code, plan_texts(change)),
        f"{params.before:,} → {params.after:,}",
        signed(delta(params)),
    ]


def render_markdown(diff: ReportDiff) -> str:
    """The comparison as GitHub-flavoured Markdown, ending with one line break."""
    models = dict.fromkeys((diff.before.model, diff.after.model))
    lines = [f"### kswap diff: {' → '.join(map(code, models))}", "", f"**{prose(summary(diff))}.**", ""]
    if asked := origin_lines(diff):
        lines += [*(f"- {name}: {prose(text)}" for name, text in asked), ""]
    if diff.same:
        return "\n".join(lines)
    rows: list[tuple[str, ...]]
    if diff.provenance:
        rows = [(prose(s.name), code(s.before), code(s.after)) for s in diff.provenance]
        lines += [*table(["provenance", "first", "second"], rows, "<<<"), ""]
    totals = [
        (label, f"{c.before:,}", f"{c.after:,}", f"**{signed(delta(c))}**", percent(c.ratio))
        for label, c in total_rows(diff)
    ]
    lines += [*table(["converted model", "first", "second", "difference", "ratio"], totals, "<>>>>"), ""]
    if diff.settings:
        rows = [(prose(s.name), code(s.before), code(s.after)) for s in diff.settings]
        lines += [*table(["setting", "first", "second"], rows, "<<<"), ""]
    if diff.accuracies:
        rows = [tuple(map(prose, cells)) for cells in accuracy_cells(diff)]
        lines += ["**Top-1 accuracy**", "", *table(ACCURACY_HEADS, rows, "<>>>><"), ""]
    if diff.changed:
        heads = ["site", "first", "second", "parameters", "difference"]
        changed = table(heads, map(_change_cells, diff.changed), "<<<>>")
        lines += collapsed(f"Changed: {plural(len(diff.changed), 'site')}", changed)
    if diff.errors:
        rows = [(code(name), *cells) for name, *cells in error_cells(diff)]
        lines += collapsed(f"Error of the fit: {plural(len(rows), 'site')}", table(ERROR_HEADS, rows, "<>>>"))
    for title, only in (("first", diff.only_before), ("second", diff.only_after)):
        if only:
            listed = [f"- {code(row.name)}" for row in only]
            lines += collapsed(f"Only in the {title}: {plural(len(only), 'site')}", listed)
    return "\n".join(lines)
