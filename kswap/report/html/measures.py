"""What a page can measure sites by: parameters, MACs, and whatever else the report knows of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from kswap.report.report import Change, Report

WORDS = {"params": "parameters", "macs": "MACs", "bytes": "bytes on disk"}


@dataclass(frozen=True)
class Measure:
    """One measure of every site, before and after, and of what is not at a site."""

    key: str
    word: str
    sites: tuple[tuple[int, int], ...]
    rest: tuple[int, int]
    total: Change


def measures_of(report: Report) -> tuple[Measure, ...]:
    """The measures that the report has, the one that it is about first."""
    totals = {"params": report.params, "macs": report.macs, "bytes": report.bytes}
    made = tuple(_measure(report, key, WORDS[key], total) for key, total in totals.items() if total is not None)
    return made if report.timed is None else (*made, _times(report, report.timed))


def _times(report: Report, timed: str) -> Measure:
    """Times of blocks, of which the whole is their sum: nothing else was measured by itself."""
    none = _measure(report, "microseconds", f"microseconds in {timed}", Change(0, 0))
    before, after = (sum(counts[side] for counts in none.sites) for side in (0, 1))
    return replace(none, total=Change(before, after))


def _measure(report: Report, key: str, word: str, total: Change) -> Measure:
    sites = tuple((getattr(row, f"{key}_before") or 0, getattr(row, f"{key}_after") or 0) for row in report.sites)
    before, after = (sum(counts[side] for counts in sites) for side in (0, 1))
    return Measure(key, word, sites, (max(total.before - before, 0), max(total.after - after, 0)), total)
