"""The words that all renderers of a comparison share."""

from __future__ import annotations

from kswap.report.diff import ReportDiff, SiteChange, delta
from kswap.report.projection_wording import error_text
from kswap.report.provenance_wording import NO_PROVENANCE, asked_text
from kswap.report.report import Change
from kswap.report.wording import TOTAL_LABELS, percent, plural, signed

ACCURACY_HEADS = ("stage", "first", "second", "difference", "images", "data")
ERROR_HEADS = ("site", "first", "second", "difference")


def summary(diff: ReportDiff) -> str:
    """One line that says how much differs; different originals come first."""
    if diff.same:
        return f"no differences ({plural(diff.unchanged, 'site')} compared)"
    parts = [f"{plural(len(diff.changed), 'site')} changed", f"{diff.unchanged} unchanged"]
    if not diff.same_originals or diff.origin:
        parts.insert(0, originals_text(diff))
    if diff.outside.before != diff.outside.after:
        parts.append(f"{signed(delta(diff.outside))} parameters outside of the sites")
    if diff.only_before:
        parts.append(f"{len(diff.only_before)} only in the first")
    if diff.only_after:
        parts.append(f"{len(diff.only_after)} only in the second")
    if diff.errors:
        parts.append(f"{plural(len(diff.errors), 'site')} with another error")
    return ", ".join(parts)


def one_line(diff: ReportDiff) -> str:
    """What a comparison comes to, on one line: the models, parameters and MACs, and what differs."""
    models = " and ".join(dict.fromkeys((diff.before.model, diff.after.model)))
    counts = [
        f"{change.before:,} and {change.after:,} {TOTAL_LABELS[key]} ({percent(change.ratio)})"
        for key, change in diff.totals.items()
        if key in ("params", "macs")
    ]
    return f"{models}: {', '.join(counts)}, {summary(diff)}"


def originals_text(diff: ReportDiff) -> str:
    """In what the originals differ: their arguments where the reports have them, else their parameters."""
    named = [f"{change.name} {change.before} and {change.after}" for change in diff.origin]
    if not named:
        params = diff.originals["params"]
        named = [f"{params.before:,} and {params.after:,} parameters"] if delta(params) else ["their counts"]
    return f"the originals differ ({', '.join(named)})"


def origin_lines(diff: ReportDiff) -> tuple[tuple[str, str], ...]:
    """``first`` and ``second`` with the command and the date of each report, where it has them."""
    reports = (("first", diff.before.provenance), ("second", diff.after.provenance))
    if not any(origin for _, origin in reports):
        return ()
    return tuple((name, asked_text(origin) if origin else NO_PROVENANCE) for name, origin in reports)


def total_rows(diff: ReportDiff) -> list[tuple[str, Change]]:
    """The totals of the converted models and, where they differ, of the originals."""
    rows = [(TOTAL_LABELS[key], change) for key, change in diff.totals.items()]
    if diff.outside.before != diff.outside.after:
        rows.append(("parameters outside of the sites", diff.outside))
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
