"""``--format``, as the registry of renderers has it, and how a command shows its result."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kswap.errors import visible
from kswap.report.renderers import RICH, formats_of, render

if TYPE_CHECKING:
    from kswap.report.report import Report

Command = TypeVar("Command", bound=Callable[..., Any])


def format_option(value: str) -> Callable[[Command], Command]:
    """``--format`` with the formats of the value called ``value`` in :mod:`kswap.report.renderers`."""
    return click.option(
        "--format",
        "format_",
        type=click.Choice(formats_of(value)),
        default=RICH,
        show_default=True,
        help="How the result is printed.",
    )


def show(value: object, format_: str, **options: Any) -> None:
    """Print ``value`` on standard output in one of its formats; ``options`` are those of its terminal renderer."""
    from kswap.cli.options import console

    render(value, format_, console(), **options)


quiet_option = click.option("--quiet", is_flag=True, help="Print one line.")


def length_options(command: Command) -> Command:
    """``--top`` and ``--quiet`` of the commands that print a report; they go on to :func:`show_report`."""
    top = click.option("--top", type=click.IntRange(min=1), metavar="N", help="Show only the N largest sites.")
    return top(quiet_option(command))


def check_length(format_: str, top: int | None, quiet: bool) -> None:
    """Refuse ``--top`` and ``--quiet`` for formats that are always whole."""
    given = "--top" if top is not None else "--quiet" if quiet else ""
    if given and format_ != RICH:
        raise click.UsageError(f"{given} shortens what a terminal shows, and {format_} is always whole: leave one out")
    if top is not None and quiet:
        raise click.UsageError("--quiet prints one line, without sites: leave out --top or --quiet")


def show_line(text: str) -> None:
    """Print one line of a result, without control characters that names out of files may hold."""
    click.echo(visible(text))


def show_report(report: Report, format_: str, top: int | None = None, quiet: bool = False) -> None:
    """Print a report on standard output: whole, its ``top`` largest sites, or one line of it."""
    if quiet:
        from kswap.report.wording import one_line

        show_line(one_line(report))
    elif top is None:
        show(report, format_)
    else:
        show(report, format_, top=top)
