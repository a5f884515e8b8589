"""The words that all renderers of a comparison share."""

from __future__ import annotations

from kswap.report.diff import ReportDiff, SiteChange
from kswap.report.report import Change
from kswap.report.wording import TOTAL_LABELS, plural


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


def plan_texts(change: SiteChange) -> tuple[str, str]:
    """Both plans in short; where they read the same, the second says what else differs."""
    first, second = change.before.short(), change.after.short()
    return (first, second) if first != second else (first, f"{second}, other {', '.join(change.fields)}")
