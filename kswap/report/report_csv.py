"""The sites of a report as CSV: one row per site, one column per field, layouts of blocks flattened."""

from __future__ import annotations

from typing import Any

from kswap.planner import BLOCK_KINDS, BlockSettings, plan_block
from kswap.report.csv_text import csv_text
from kswap.report.provenance_wording import provenance_rows
from kswap.report.report import FACT_KEYS, SHAPE_KEYS, Report, SiteRow


def _flat(data: dict[str, Any]) -> dict[str, Any]:
    """``{"k": {"groups": 3}}`` as ``{"k_groups": 3}``."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        flat |= {f"{key}_{part}": number for part, number in value.items()} if isinstance(value, dict) else {key: value}
    return flat


def _columns() -> tuple[str, ...]:
    """The JSON keys of a site, and the flattened keys that a block of each kind has.

    What a fit to data has found is left out: it has a number for every channel.
    """
    fitted = {key for kind in BLOCK_KINDS.values() for key in kind.fitted_keys}
    # A setting is in the JSON of a plan only where it was asked for; here each has its column.
    shapes = [
        dict.fromkeys(kind.setting_keys) | plan_block(64, 64, BlockSettings(kind=name)).shape_to_json()
        for name, kind in BLOCK_KINDS.items()
    ]
    layouts = [_flat({key: shape[key] for key in SHAPE_KEYS if key in shape and key not in fitted}) for shape in shapes]
    return (*FACT_KEYS, *dict.fromkeys(key for layout in layouts for key in layout))


COLUMNS = _columns()


def flat_row(row: SiteRow) -> dict[str, Any]:
    """A site as one flat mapping; what is absent is ``None``, and empty in the CSV."""
    flat = _flat(row.to_json())
    return {key: flat.get(key) for key in COLUMNS}


def rows_of(report: Report) -> tuple[tuple[str, ...], list[dict[str, Any]]]:
    """The columns, and a row per site, replaced and kept, in the order of the network.

    The last columns say where the report comes from, in every row alike, so that rows of several reports can be told
    apart; a report that does not know lacks them.
    """
    rows = provenance_rows(report.provenance) if report.provenance else ()
    asked = {f"provenance_{label.replace(' ', '_')}": value for label, value in rows}
    return (*COLUMNS, *asked), [flat_row(row) | asked for row in report.sites]


def render_csv(report: Report) -> str:
    """The rows of :func:`rows_of`."""
    return csv_text(*rows_of(report))
