"""The numbers of a comparison that a condition may name: ``kswap diff --fail-if 'params.delta > 10K'``."""

from __future__ import annotations

from typing import Any

from kswap.report.diff import ReportDiff, diff_reports
from kswap.report.report import Change, Report


def figures_of(diff: ReportDiff) -> dict[str, Any]:
    """Totals of the converted models, those of the originals, and how many sites and settings differ.

    Each total has ``before``, ``after``, ``ratio`` and ``delta``.
    """
    plain = diff.to_json()
    return {
        **plain["totals"],
        "outside": plain["outside"],
        "originals": plain["originals"],
        "same": diff.same,
        "same_originals": diff.same_originals and not diff.origin,
        "provenance": len(diff.provenance),
        "settings": len(diff.settings),
        "changed": len(diff.changed),
        "unchanged": diff.unchanged,
        "only_before": len(diff.only_before),
        "only_after": len(diff.only_after),
        "errors": len(diff.errors),
    }


def blank_figures() -> dict[str, Any]:
    """The figures of two reports about nothing: they have every path that a condition may name.

    >>> blank_figures()["params"]["delta"]
    0
    """
    none = Change(0, 0)
    nothing = Report("", "", "", 1, "", (), none, none, none, none, drop_in=True, notes=())
    return figures_of(diff_reports(nothing, nothing))
