"""The rows of a benchmark as CSV."""

from __future__ import annotations

from typing import Any

from kswap.benchmarks.result import Benchmark, Row
from kswap.codec import encode
from kswap.report.csv_text import csv_text


def render_csv(found: Benchmark) -> str:
    """A line per row, nested values in columns such as ``params.original``; quartiles are left out."""
    rows = [_flat(row) for row in found.rows]
    return csv_text(rows[0] if rows else (), rows)


def _flat(row: Row) -> dict[str, Any]:
    data = encode(row)
    data["input_size"] = "x".join(map(str, row.input_size))
    data["seconds"] = {"original": row.seconds.original.median, "rewritten": row.seconds.rewritten.median}
    flat: dict[str, Any] = {}
    for key, value in data.items():
        flat |= {f"{key}.{inner}": item for inner, item in value.items()} if isinstance(value, dict) else {key: value}
    return flat
