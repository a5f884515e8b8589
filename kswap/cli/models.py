"""``kswap models``: which timm models gain most."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kswap.cli.options import console

if TYPE_CHECKING:
    from kswap.model_table.table import ModelRow


_ORDERS: dict[str, Callable[[ModelRow], Any]] = {
    "name": lambda row: row.name,
    "share": lambda row: -row.share,
    "ratio": lambda row: (row.sweep.ratio or 1.0) if row.sweep else 1.0,
    "params": lambda row: -row.params,
}


@click.command()
@click.argument("pattern", required=False)
@click.option("--refresh", is_flag=True, help="Count with the timm that is installed, not from kswap's table.")
@click.option(
    "--sweep", type=click.Path(path_type=Path), metavar="FILE.csv", help="Show what `kswap sweep` wrote there."
)
@click.option("--sort", type=click.Choice(["name", "share", "ratio", "params"]), default="name", show_default=True)
@click.option("--format", "format_", type=click.Choice(["rich", "json", "csv"]), default="rich", show_default=True)
def models(pattern: str | None, refresh: bool, sweep: Path | None, sort: str, format_: str) -> None:
    """List timm models, their pointwise share, and what is left of them.

    The share is that of the parameters in dense 1x1 convolutions; ratio is parameters after / before at
    Ch=16 (v2), as `kswap sweep` found it. PATTERN is a glob (resnet*) or a part of the name.
    """
    from kswap.model_table.sweep_row import read_rows
    from kswap.model_table.table import matching, merged, read_table, write_table

    table = read_table()
    if sweep is not None:
        table = merged(table, read_rows(sweep))
    if refresh:
        import timm

        swept = {name: row.sweep for name, row in table.items() if row.sweep}
        counted = {row.name: row for row in _measured(matching(timm.list_models(), pattern))}
        rows = list(merged(counted, swept).values())
    else:
        rows = [table[name] for name in matching(table, pattern)]
    rows = sorted(rows, key=_ORDERS[sort])
    if format_ == "csv":
        click.echo(write_table(rows), nl=False)
    elif format_ == "json":
        click.echo(json.dumps([_to_json(row) for row in rows], indent=1))
    else:
        _show(rows)


def _measured(names: list[str]) -> list[ModelRow]:
    from rich.console import Console
    from rich.progress import track

    from kswap.model_table.table import measure

    return [measure(name) for name in track(names, "counting", console=Console(stderr=True), transient=True)]


def _to_json(row: ModelRow) -> dict[str, Any]:
    swept = row.sweep.to_json() | {"ratio": round(row.sweep.ratio or 0.0, 4)} if row.sweep else None
    return vars(row) | {"share": round(row.share, 4), "sweep": swept}


def _swept(row: ModelRow) -> tuple[str, str, str, str]:
    """Parameters after, their ratio, path, and whether drop-in."""
    found = row.sweep
    if found is None:
        return "", "", "", ""
    if found.error:
        return "", "", found.path, "failed"
    drop_in = "nothing to replace" if found.note else found.drop_in.partition(":")[0]
    return f"{found.params_after:,}", f"{found.ratio or 0:.1%}", found.path, drop_in


def _show(rows: list[ModelRow]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("model", overflow="fold")
    for label in ("parameters", "1x1", "share", "after", "ratio"):
        table.add_column(label, justify="right")
    table.add_column("path")
    table.add_column("drop-in")
    for row in rows:
        counts = (f"{row.params:,}", str(row.pointwise_convolutions), f"{row.share:.1%}")
        table.add_row(row.name, *counts, *_swept(row))
    out = console()
    out.print(table)
    with_any = sum(row.pointwise_convolutions > 0 for row in rows)
    swept = [row.sweep for row in rows if row.sweep]
    passed = sum(found.passed for found in swept)
    text = f"\n{len(rows)} models, {with_any} with pointwise convolutions; {len(swept)} swept, {passed} without fault"
    out.print(text, markup=False, soft_wrap=True)
