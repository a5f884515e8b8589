"""``kswap layer``: the block of one pointwise layer, explained."""

from __future__ import annotations

from typing import Any

import click

from kswap.cli.formats import format_option, show
from kswap.planner import BLOCK_KINDS, SCHEMES, BlockSettings, plan_block
from kswap.planner.alignment import MOST_LANES


@click.command()
@click.argument("in_channels", type=click.IntRange(min=1))
@click.argument("out_channels", type=click.IntRange(min=1))
@click.option("--kind", type=click.Choice(list(BLOCK_KINDS)), default="grouped", show_default=True)
@click.option("--ch", type=click.IntRange(min=1), default=16, show_default=True, help="Channels per group.")
@click.option("--scheme", type=click.Choice(list(SCHEMES)), default="v2", show_default=True)
@click.option("--no-second-layer", is_flag=True, help="K alone, without L.")
@click.option("--rank", type=click.IntRange(min=1), help="The rank of --kind low-rank; else about as many weights.")
@click.option(
    "--align", type=click.IntRange(min=2, max=MOST_LANES), help="Channels and filters of groups in multiples of it."
)
@format_option("layer")
def layer(in_channels: int, out_channels: int, format_: str, no_second_layer: bool, **settings: Any) -> None:
    """Explain the plan of one pointwise convolution.

    It has IN_CHANNELS inputs and OUT_CHANNELS filters.

    \b
    kswap layer 1152 320 --ch 16
    kswap layer 1152 192 --align 16
    kswap layer 1152 320 --kind low-rank --rank 24
    """
    chosen = BlockSettings(second_layer=not no_second_layer, **settings)
    show(plan_block(in_channels, out_channels, chosen), format_)
