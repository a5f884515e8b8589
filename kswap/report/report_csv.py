"""The sites of a report as CSV: one row per site, one column per field, K and L flattened."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from kswap.planner.layout import LAYOUT_KEYS
from kswap.report.csv_text import csv_text
from kswap.report.report import Report, SiteRow


def _columns() -> list[str]:
    """The JSON keys of a site, with ``k`` and ``l`` as ``k_groups`` and so on."""
    names: list[str] = []
    for field in fields(SiteRow):
        names += [f"{field.name}_{key}" for key in LAYOUT_KEYS] if field.name in ("k", "l") else [field.name]
    return names


def flat_row(row: SiteRow) -> dict[str, Any]:
    """A site as one flat mapping; what is absent is ``None``, and empty in the CSV."""
    plain = row.to_json()
    for label in ("k", "l"):
        layout = plain.pop(label) or {}
        plain |= {f"{label}_{key}": layout.get(key) for key in LAYOUT_KEYS}
    return plain


COLUMNS = tuple(_columns())


def render_csv(report: Report) -> str:
    """All sites of the report, replaced and kept, in the order of the network."""
    return csv_text(COLUMNS, map(flat_row, report.sites))
