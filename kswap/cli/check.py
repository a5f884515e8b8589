"""``kswap check``: saved conversions held against the budgets of a project."""

from __future__ import annotations

from pathlib import Path

import click

from kswap.cli.formats import format_option, show

SITES_OF_WHY = 10


@click.command()
@click.argument("places", nargs=-1, metavar="[DIR]...", type=click.Path(path_type=Path))
@click.option(
    "--budget",
    "budget_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A TOML file; else the [tool.kswap.budget] of the nearest pyproject.toml.",
)
@click.option("--why", is_flag=True, help=f"Show the {SITES_OF_WHY} sites that cost most where a limit is exceeded.")
@format_option("check")
def check(places: tuple[Path, ...], budget_file: Path | None, why: bool, format_: str) -> None:
    """Hold saved conversions against a budget; exit status 1 where one is over it.

    DIR is a directory that kswap saved, or a JSON report; without one, the directories that the budget names.

    \b
    [tool.kswap.budget]        in pyproject.toml, or a file of its own without this line
    params = 0.2               up to 1: a share of the original
    macs = "150M"
    bytes = "2.5MB"            of the saved weights
    ms = 6.5                   milliseconds, or "80%" of the original's
    target = "onnxruntime"     where ms are measured
    [[tool.kswap.budget.for]]  another budget for some models, or some directories
    model = "efficientnet_b*"
    params = "16%"

    \b
    kswap check small
    kswap check small --budget budget.toml --why --format md
    """
    from kswap.checks.budget_file import read_budget
    from kswap.checks.checking import check as check_against

    done = check_against(read_budget(budget_file), places, SITES_OF_WHY if why else 0)
    show(done, format_)
    if not done.passed:
        click.echo(f"Failed: {done.summary}", err=True)
        raise click.exceptions.Exit(1)
