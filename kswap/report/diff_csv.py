"""A comparison of two reports as CSV."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kswap.report.csv_text import csv_text
from kswap.report.diff import ReportDiff
from kswap.report.report_csv import flat_row

COLUMNS = ("kind", "name", "field", "before", "after")


def _rows(diff: ReportDiff) -> Iterator[tuple[Any, ...]]:
    origins = (diff.before.provenance, diff.after.provenance)
    if any(origins):
        for key in ("command", "date"):
            yield "provenance", key, "", *(getattr(origin, key) if origin else None for origin in origins)
    for kind, settings in (("provenance", diff.provenance), ("setting", diff.settings)):
        for setting in settings:
            yield kind, setting.name, "", setting.before, setting.after
    for kind, totals in (("total", diff.totals), ("original", diff.originals)):
        for key, change in totals.items():
            yield kind, key, "", change.before, change.after
    yield "total", "outside", "", diff.outside.before, diff.outside.after
    for accuracy in diff.accuracies:
        shares = [value.top1 if value else None for value in (accuracy.before, accuracy.after)]
        yield "accuracy", accuracy.stage, accuracy.data, *shares
    for error in diff.errors:
        yield "error", error.name, "fit_error", error.before, error.after
    for site in diff.changed:
        before, after = flat_row(site.before), flat_row(site.after)
        for key in before:
            if before[key] != after[key] and key != "fit_error":
                yield "changed", site.name, key, before[key], after[key]
    for row in diff.only_before:
        yield "only_before", row.name, "plan", row.short(), None
    for row in diff.only_after:
        yield "only_after", row.name, "plan", None, row.short()


def rows_of(diff: ReportDiff) -> tuple[tuple[str, ...], list[dict[str, Any]]]:
    """The columns, and a row per difference: kind, name, field, before, after; totals always."""
    return COLUMNS, [dict(zip(COLUMNS, row, strict=True)) for row in _rows(diff)]


def render_csv(diff: ReportDiff) -> str:
    """The rows of :func:`rows_of`."""
    return csv_text(*rows_of(diff))
