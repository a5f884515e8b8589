"""``kswap models``: which timm models gain most."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from kswap.cli.options import console

if TYPE_CHECKING:
    from kswap.model_table import ModelRow


@click.command()
@click.argument("pattern", required=False)
@click.option("--refresh", is_flag=True, help="Count with the timm that is installed, not from kswap's table.")
@click.option("--sort", type=click.Choice(["name", "share", "params"]), default="name", show_default=True)
@click.option("--format", "format_", type=click.Choice(["rich", "json", "csv"]), default="rich", show_default=True)
def models(pattern: str | None, refresh: bool, sort: str, format_: str) -> None:
    """List timm models and their pointwise share.

    The share is that of the parameters in dense 1x1 convolutions. PATTERN is a glob
    (resnet*) or a part of the name.
    """
    from kswap.model_table import matching, read_table, write_table

    table = read_table()
    if refresh:
        import timm

        rows = _measured(matching(timm.list_models(), pattern))
    else:
        rows = [table[name] for name in matching(table, pattern)]
    orders = {"name": lambda row: row.name, "share": lambda row: -row.share, "params": lambda row: -row.params}
    rows = sorted(rows, key=orders[sort])
    if format_ == "csv":
        click.echo(write_table(rows), nl=False)
    elif format_ == "json":
        click.echo(json.dumps([vars(row) | {"share": round(row.share, 4)} for row in rows], indent=1))
    else:
        _show(rows)


def _measured(names: list[str]) -> list[ModelRow]:
    from rich.console import Console
    from rich.progress import track

    from kswap.model_table import measure

    return [measure(name) for name in track(names, "counting", console=Console(stderr=True), transient=True)]


def _show(rows: list[ModelRow]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("model", overflow="fold")
    for label in ("parameters", "in 1x1 convolutions", "share", "convolutions"):
        table.add_column(label, justify="right")
    for row in rows:
        table.add_row(
            row.name,
            f"{row.params:,}",
            f"{row.pointwise_params:,}",
            f"{row.share:.1%}",
            str(row.pointwise_convolutions),
        )
    out = console()
    out.print(table)
    with_any = sum(row.pointwise_convolutions > 0 for row in rows)
    out.print(f"\n{len(rows)} models, {with_any} with pointwise convolutions", markup=False)
