"""A comparison of two reports as one HTML page."""

from __future__ import annotations

from kswap.report.diff import ReportDiff
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
from kswap.report.html.page import page
from kswap.report.html.sites import anchors_of
from kswap.report.kinds import glossary_of


def render_html(diff: ReportDiff) -> str:
    """The comparison as one HTML page in the style of the report."""
    return page(
        "diff.html.j2",
        diff=diff,
        models=list(dict.fromkeys((diff.before.model, diff.after.model))),
        summary=summary(diff),
        asked=origin_lines(diff),
        plan_texts=plan_texts,
        anchors=anchors_of(change.name for change in diff.changed),
        totals=total_rows(diff),
        accuracy_heads=ACCURACY_HEADS,
        accuracies=accuracy_cells(diff),
        error_heads=ERROR_HEADS,
        errors=error_cells(diff),
        only=[("first", diff.only_before), ("second", diff.only_after)],
        glossary=glossary_of(diff.before, diff.after),
    )
