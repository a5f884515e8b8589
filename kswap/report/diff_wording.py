"""The words that all renderers of a comparison share."""

from __future__ import annotations

from kswap.report.diff import ReportDiff, SiteChange
from kswap.report.projection_wording import error_text
from kswap.report.report import Change
from kswap.report.wording import TOTAL_LABELS, percent, plural

ACCURACY_HEADS = ("stage", "first", "second", "difference", "images", "data")
ERROR_HEADS = ("site", "first", "second", "difference")


def summary(diff: ReportDiff) -> str:
    """One line that says how much differs."""
    if diff.same:
        return f"no differences ({plural(diff.unchanged, 'site')} compared)"
    parts = [f"{plural(len(diff.changed), 'site')} changed", f"{diff.unchanged} unchanged"]
    if diff.only_before:
        parts.append(f"{len(diff.only_before)} only in the first")
    if diff.only_after:
        parts.append(f"{len(diff.only_after)} only in the second")
    if diff.errors:
        parts.append(f"{plural(len(diff.errors), 'site')} with another error")
    return ", ".join(parts)


def total_rows(diff: ReportDiff) -> list[tuple[str, Change]]:
    """The totals of the converted models and, where they differ, of the originals."""
    rows = [(TOTAL_LABELS[key], change) for key, change in diff.totals.items()]
    if not diff.same_originals:
        rows += [(f"{TOTAL_LABELS[key]}, original", change) for key, change in diff.originals.items()]
    return rows


def plan_texts(change: SiteChange) -> tuple[str, str]:
    """Both plans in short; where they read the same, the second says what else differs."""
    first, second = change.before.short(), change.after.short()
    return (first, second) if first != second else (first, f"{second}, other {', '.join(change.fields)}")


def error_cells(diff: ReportDiff) -> list[tuple[str, ...]]:
    """The cells under :data:`ERROR_HEADS`, a row per site whose errors differ."""
    return [(c.name, error_text(c.before), error_text(c.after), f"{c.after - c.before:+.3f}") for c in diff.errors]


def accuracy_cells(diff: ReportDiff) -> list[tuple[str, ...]]:
    """The cells under :data:`ACCURACY_HEADS`, a row per stage; differences are in points."""
    rows = []
    for change in diff.accuracies:
        both = [value for value in (change.before, change.after) if value]
        shares = [percent(value.top1) if value else "-" for value in (change.before, change.after)]
        points = f"{100 * (both[1].top1 - both[0].top1):+.1f}" if len(both) == 2 else "-"
        images = " and ".join(dict.fromkeys(f"{value.images:,}" for value in both))
        rows.append((change.stage, *shares, points, images, change.data or "-"))
    return rows
