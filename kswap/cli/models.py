"""``kswap models``: which timm models gain most."""

from __future__ import annotations

from pathlib import Path

import click

from kswap.cli.formats import format_option, show
from kswap.cli.progress import tracked


@click.command()
@click.argument("pattern", required=False)
@click.option("--refresh", is_flag=True, help="Count with the timm that is installed, not from kswap's table.")
@click.option(
    "--sweep", type=click.Path(path_type=Path), metavar="FILE.csv", help="Show what `kswap sweep` wrote there."
)
@click.option("--sort", type=click.Choice(["name", "share", "ratio", "params"]), default="name", show_default=True)
@format_option("models")
def models(pattern: str | None, refresh: bool, sweep: Path | None, sort: str, format_: str) -> None:
    """List timm models, their pointwise share, and what is left of them.

    The share is that of the parameters in dense 1x1 convolutions; ratio is parameters after / before at
    Ch=16 (v2), as `kswap sweep` found it. PATTERN is a glob (resnet*) or a part of the name.
    """
    from kswap.model_table.sweep_row import read_rows
    from kswap.model_table.table import ModelTable, matching, measure, merged, read_table

    known = read_table()
    if sweep is not None:
        known = merged(known, read_rows(sweep))
    if refresh:
        import timm

        from kswap.sources.source import CONVERTED

        swept = {name: row.sweep for name, row in known.items() if row.sweep}
        names = matching(timm.list_models(exclude_filters=f"{CONVERTED}*"), pattern)
        counted = [measure(name) for name in tracked(names, "counting")]
        rows = tuple(merged({row.name: row for row in counted}, swept).values())
    else:
        rows = tuple(known[name] for name in matching(known, pattern))
    show(ModelTable(rows).sorted_by(sort), format_)
