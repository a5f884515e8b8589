"""A benchmark as Markdown, ready for a README: one table, and one line that says where it was measured."""

from __future__ import annotations

from kswap.benchmarks.cells import blocks, ceiling, interval, memory, ratio, spread, weights
from kswap.benchmarks.result import Benchmark, Row
from kswap.report.markdown import code, prose, table

_HEADS = ("model", "Ch", "target", "batch", "ratio", "95%", "verdict")
_SIDES = "<><>>><"


def render_markdown(found: Benchmark) -> str:
    """A GitHub table of all rows, the ratio first of all figures, and below it machine, versions, date, command."""
    has_memory, has_ceiling = found.has_memory, found.has_ceiling
    heads = (
        *_HEADS,
        *(("ceiling",) if has_ceiling else ()),
        *("original, ms", "rewritten, ms", "weights, MB", "parameters stored"),
        *(("memory, MiB",) if has_memory else ()),
    )
    sides = _SIDES + ">" * (len(heads) - len(_HEADS))
    lines = table(heads, [_cells(row, has_ceiling, has_memory) for row in found.rows], sides)
    command = f" {code(found.command)}." if found.command else ""
    where = f"{found.machine.hardware()}; {found.machine.software()}; {found.machine.date}"
    says = "; ".join(found.remarks())
    return "\n".join((*lines, "", f"{prose(where)}.{command} {prose(says[0].upper() + says[1:])}.")) + "\n"


def _cells(row: Row, has_ceiling: bool, has_memory: bool) -> tuple[str, ...]:
    verdict = row.comparison.verdict
    cells = (
        prose(row.model),
        blocks(row),
        row.setting,
        str(row.batch),
        f"**{ratio(row.comparison)}**",
        interval(row.comparison, "–"),
        f"**{verdict}**" if verdict == "slower" else verdict,
        *((ceiling(row),) if has_ceiling else ()),
        spread(row.seconds.original, "–"),
        spread(row.seconds.rewritten, "–"),
        weights(row, "→"),
        f"{row.params.original:,} → {row.params.stored:,}",
    )
    return (*cells, memory(row, "→")) if has_memory else cells
