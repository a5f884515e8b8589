"""``kswap papers``: the tables of the papers, checked."""

from __future__ import annotations

import click

from kswap.cli.formats import format_option, show
from kswap.cli.progress import tracked
from kswap.errors import ReportError, excerpt


@click.command()
@click.argument("table", required=False)
@format_option("papers")
def papers(table: str | None, format_: str) -> None:
    """Print the tables of the papers beside our figures.

    Every network is planned again. TABLE is a part of a table's name ("2022 paper, Table 5"). Exit status 1
    where a figure differs and no reason is known.
    """
    from kswap.papers.tables import CheckedTables, check, published_rows

    rows = published_rows(table)
    if not rows:
        names = ", ".join(dict.fromkeys(row.table for row in published_rows()))
        raise ReportError(f"no table is called '{excerpt(table)}': there are {names}")
    checked = CheckedTables(check(rows, lambda networks: tracked(networks, "planning")))
    show(checked, format_)
    if checked.unexplained:
        click.echo(f"{len(checked.unexplained)} rows differ for no known reason", err=True)
        raise click.exceptions.Exit(1)
