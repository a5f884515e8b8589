"""``kswap layer``: one pointwise convolution, explained."""

from __future__ import annotations

import json

import click

from kswap.cli.options import console


@click.command()
@click.argument("in_channels", type=click.IntRange(min=1))
@click.argument("out_channels", type=click.IntRange(min=1))
@click.option("--ch", type=click.IntRange(min=1), default=16, show_default=True, help="Channels per group.")
@click.option("--scheme", type=click.Choice(["v1", "v2"]), default="v2", show_default=True)
@click.option("--no-second-layer", is_flag=True, help="K alone, without L.")
@click.option("--format", "format_", type=click.Choice(["rich", "json"]), default="rich", show_default=True)
def layer(in_channels: int, out_channels: int, ch: int, scheme: str, no_second_layer: bool, format_: str) -> None:
    """Explain the plan of one pointwise convolution.

    It has IN_CHANNELS inputs and OUT_CHANNELS filters.
    """
    from kswap.planner import plan_layer
    from kswap.report.layer import render_layer

    made = plan_layer(in_channels, out_channels, ch, scheme, second_layer=not no_second_layer)
    if format_ == "json":
        click.echo(json.dumps(made.to_json(), indent=1))
    else:
        render_layer(made, console())
