"""The record of optimising for a terminal, as JSON, Markdown or CSV."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from kswap.codec import encode
from kswap.inference.record import Optimization, OptimizedBlock
from kswap.report.csv_text import csv_text
from kswap.report.glyphs import Glyphs
from kswap.report.markdown import prose, table
from kswap.report.output import json_text
from kswap.report.paragraph import print_text
from kswap.report.table import Column, print_columns

_HEADS = ("block", "implementation", "parameters", "stored", "ms", "ms dense")


def render_terminal(optimization: Optimization, console: Console) -> None:
    """A row per block, and what became of the whole model."""
    glyphs = Glyphs.of(console)
    heads = _heads(optimization)
    styles = ["dim" if block.is_dense else "" for block in optimization.layers]
    rows = [_cells(block) for block in optimization.layers]
    columns = [
        Column(
            head,
            tuple(Text(glyphs.clean(row[number]), style) for row, style in zip(rows, styles, strict=True)),
            "left" if number < 2 else "right",
        )
        for number, head in enumerate(heads)
    ]
    if rows:
        print_columns(console, glyphs, columns)
        console.print()
    for line in _summary(optimization, glyphs.arrow):
        print_text(console, Text(line))


def render_json(optimization: Optimization) -> str:
    """The record as JSON text."""
    return json_text(encode(optimization))


def render_markdown(optimization: Optimization) -> str:
    """The same as GitHub-flavoured Markdown."""
    heads = _heads(optimization)
    rows = [[prose(cell) for cell in _cells(block)[: len(heads)]] for block in optimization.layers]
    lines = [f"- {prose(line)}" for line in _summary(optimization, "→")]
    return "\n".join([*table(heads, rows, "<<>>>>"[: len(heads)]), "", *lines, ""])


def render_csv(optimization: Optimization) -> str:
    """A line per block; times in milliseconds."""
    rows: list[dict[str, Any]] = []
    for block in optimization.layers:
        name, implementation, _, _, chosen, dense = _cells(block)
        numbers = (block.params_before, block.params_after, chosen, dense)
        rows.append(dict(zip(_HEADS, (name, implementation, *numbers), strict=True)))
    return csv_text(_HEADS, rows)


def _heads(optimization: Optimization) -> tuple[str, ...]:
    return _HEADS if optimization.autotuned else _HEADS[:4]


def _cells(block: OptimizedBlock) -> tuple[str, ...]:
    """All cells of a block; the times are empty where nothing was measured."""
    chosen = block.seconds.get(str(block.implementation))
    first = next(iter(block.seconds.values()), None)  # the dense layer is tried first
    times = ("" if seconds is None else f"{1000 * seconds:.3f}" for seconds in (chosen, first))
    return (block.name, str(block.implementation), f"{block.params_before:,}", f"{block.params_after:,}", *times)


def _summary(done: Optimization, arrow: str) -> list[str]:
    shape = "x".join(str(n) for n in done.input_shape)
    grown = done.params_after / max(done.params_before, 1)
    lines = [
        f"{len(done.layers)} blocks for {done.target} at {shape}, {'measured' if done.autotuned else 'estimated'}: "
        f"{done.dense} as one dense layer, {done.norms_folded} norms folded",
        f"parameters in memory: {done.params_before:,} {arrow} {done.params_after:,} ({grown:.2f} times what was "
        f"trained); on disk they stay {done.params_before:,}",
        f"MACs: {done.macs_before:,} {arrow} {done.macs_after:,}",
    ]
    if done.seconds:
        tried = ", ".join(f"{label} {1000 * seconds:.2f}" for label, seconds in done.seconds.items())
        lines.append(f"the whole model in ms, by how its implementations were chosen: {tried}")
    return [*lines, f"outputs differ by {done.error:.1e} of the largest"]
