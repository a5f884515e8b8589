"""The numbers of a row of a benchmark as text, for every renderer."""

from __future__ import annotations

from kswap.benchmarks.result import Row
from kswap.timing import Spread, TimeComparison


def blocks(row: Row) -> str:
    """Channels per group, and what else was asked for: ``16``, ``16 low-rank``, ``16, align 16``."""
    kind = "" if row.kind == "grouped" else f" {row.kind}"
    return f"{row.ch}{kind}" + ("" if row.align is None else f", align {row.align}")


def ratio(found: TimeComparison) -> str:
    """``1.45``.

    >>> ratio(TimeComparison.of([2.0] * 6, [1.0] * 6, [2.0] * 6))
    '2.00'
    """
    return f"{found.ratio:.2f}"


def interval(found: TimeComparison, dash: str) -> str:
    """``1.43-1.47``, or nothing where there is none."""
    return "" if found.low is None or found.high is None else f"{found.low:.2f}{dash}{found.high:.2f}"


def spread(seconds: Spread, dash: str) -> str:
    """Median and quartiles in milliseconds, in three digits or so.

    >>> spread(Spread(0.0123, 0.0121, 0.0128), "-")
    '12.3 (12.1-12.8)'
    """
    median, q1, q3 = (value * 1000 for value in (seconds.median, seconds.q1, seconds.q3))
    digits = 0 if median >= 100 else 1 if median >= 10 else 2
    return f"{median:.{digits}f} ({q1:.{digits}f}{dash}{q3:.{digits}f})"


def ceiling(row: Row) -> str:
    """The ratio if the replaced layers took no time, and the share of time outside of them: ``2.05 (49%)``."""
    found = row.outside
    return "" if found.ceiling is None else f"{found.ceiling:.2f} ({found.share:.0%})"


def weights(row: Row, arrow: str) -> str:
    """MB on disk: the original, as converted, and as stored to run where that differs."""
    sizes = row.weights_bytes
    numbers = [sizes.original, sizes.converted, *([sizes.stored] if sizes.stored != sizes.converted else [])]
    return f" {arrow} ".join(f"{size / 1e6:.1f}" for size in numbers)


def memory(row: Row, arrow: str) -> str:
    """MiB at the peak, original and rewritten; nothing where it was not measured."""
    original, rewritten = row.memory_bytes.original, row.memory_bytes.rewritten
    if original is None or rewritten is None:
        return ""
    return f"{original / 2**20:.0f} {arrow} {rewritten / 2**20:.0f}"
