"""``--format``, as the registry of renderers has it, and how a command shows its result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from kswap.report.renderers import RICH, formats_of, render

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


def show(value: object, format_: str) -> None:
    """Print ``value`` on standard output in one of its formats."""
    from kswap.cli.options import console

    render(value, format_, console())
