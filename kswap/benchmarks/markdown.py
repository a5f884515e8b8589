"""A benchmark as Markdown, ready for a README: one table, and one line that says where it was measured."""

from __future__ import annotations

from kswap.benchmarks.result import Benchmark, Row
from kswap.report.markdown import code, prose, table
from kswap.timing import Comparison, Spread

_HEADS = ("model", "Ch", "target", "batch", "ratio", "95%", "verdict", "original, ms", "rewritten, ms")
_SIDES = "<><>>><>>"


def render_markdown(found: Benchmark) -> str:
    """A GitHub table of all rows, the ratio first of all figures, and below it machine, versions, date, command."""
    has_memory = any(row.memory_original is not None for row in found.rows)
    heads = (*_HEADS, "weights, MB", "parameters stored", *(("memory, MiB",) if has_memory else ()))
    sides = _SIDES + ">>" + ">" * has_memory
    lines = table(heads, [_cells(row, has_memory) for row in found.rows], sides)
    command = f" {code(found.command)}." if found.command else ""
    where = f"{found.machine.hardware()}; {found.machine.software()}; {found.machine.date}"
    says = "; ".join(found.remarks())
    return "\n".join((*lines, "", f"{prose(where)}.{command} {prose(says[0].upper() + says[1:])}.")) + "\n"


def _cells(row: Row, has_memory: bool) -> tuple[str, ...]:
    verdict = row.comparison.verdict
    cells = (
        prose(row.model),
        str(row.ch),
        row.setting,
        str(row.batch),
        f"**{ratio(row.comparison)}**",
        interval(row.comparison, "–"),
        f"**{verdict}**" if verdict == "slower" else verdict,
        spread(row.seconds_original, "–"),
        spread(row.seconds_rewritten, "–"),
        weights(row, "→"),
        f"{row.params.original:,} → {row.params.stored:,}",
    )
    return (*cells, memory(row, "→")) if has_memory else cells


def ratio(found: Comparison) -> str:
    """``1.45``.

    >>> ratio(Comparison.of([2.0] * 6, [1.0] * 6, [2.0] * 6))
    '2.00'
    """
    return f"{found.ratio:.2f}"


def interval(found: Comparison, dash: str) -> str:
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


def weights(row: Row, arrow: str) -> str:
    """MB on disk: the original, as converted, and as stored to run where that differs."""
    sizes = row.weights_bytes
    numbers = [sizes.original, sizes.converted, *([sizes.stored] if sizes.stored != sizes.converted else [])]
    return f" {arrow} ".join(f"{size / 1e6:.1f}" for size in numbers)


def memory(row: Row, arrow: str) -> str:
    """MiB at the peak, original and rewritten; nothing where it was not measured."""
    if row.memory_original is None or row.memory_rewritten is None:
        return ""
    return f"{row.memory_original / 2**20:.0f} {arrow} {row.memory_rewritten / 2**20:.0f}"
