"""``kswap profile``: how long each step of a conversion takes on this machine."""

from __future__ import annotations

import click

from kswap.cli.formats import format_option, show


@click.command()
@click.argument("model", default="efficientnet_b7")
@click.option("--ch", type=click.IntRange(min=1), default=16, show_default=True, help="Channels per group.")
@format_option("profile")
def profile(model: str, ch: int, format_: str) -> None:
    """Time each step of a conversion on this machine.

    Help, imports, building, planning and converting of MODEL (as for convert; by default efficientnet_b7), once each.
    """
    from kswap.cli.options import status

    with status(f"timing {model}"):
        from kswap.benchmarks.profile import profile as profile_of

        measured = profile_of(model, ch)
    show(measured, format_)
