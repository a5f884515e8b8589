"""``kswap study families``: the smallest network of each family of timm, timed against its original."""

from __future__ import annotations

from pathlib import Path

import click

from kswap.cli.formats import format_option, show
from kswap.cli.lists import ListCommand, typed
from kswap.runtimes.targets import TARGETS


@click.command(cls=ListCommand)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, metavar="DIR", help="Results, resumed."
)
@click.option("--family", "families", multiple=True, metavar="NAME", help="Only these families; may be repeated.")
@click.option(
    "--target",
    "targets",
    type=click.Choice(tuple(TARGETS)),
    multiple=True,
    help="May be repeated.  [default: onnxruntime and eager]",
)
@click.option("--ch", type=click.IntRange(min=1), default=16, show_default=True, help="Channels per group.")
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True, help="Samples per pass.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads of one pass.")
@click.option("--rounds", type=click.IntRange(min=1), metavar="N", help="Else 15 to 60, for 10 seconds.")
@click.option("--no-autotune", is_flag=True, help="Estimate the implementation of each block instead of measuring.")
@click.option(
    "--most-gmacs",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    help="Leave out families whose smallest network has more billions of MACs.",
)
@click.option("--minutes", type=click.FloatRange(min=0), metavar="N", help="Begin nothing new after N minutes.")
@format_option("family-study")
@click.pass_context
def families(
    ctx: click.Context,
    /,
    out: Path,
    families: tuple[str, ...],
    targets: tuple[str, ...],
    ch: int,
    batch: int,
    threads: int,
    rounds: int | None,
    no_autotune: bool,
    most_gmacs: float,
    minutes: float | None,
    format_: str,
) -> None:
    """Time the smallest network of each family of timm against its original.

    A family is a file of timm.models; networks in which nothing would be replaced are left out. Each family leaves a
    file in DIR; the command continues what it finds there. A picture is written into DIR.

    \b
    kswap study families --out DIR
    kswap study families --out DIR --family resnet --family mobilenetv3 --minutes 60
    """
    from kswap.studies.families.run import family_study
    from kswap.studies.families.settings import Settings

    chosen = {"targets": targets} if targets else {}
    settings = Settings(
        **chosen, ch=ch, batch=batch, threads=threads, rounds=rounds, autotune=not no_autotune, most_gmacs=most_gmacs
    )
    command = typed(ctx).replace("kswap", "kswap study", 1)
    show(family_study(settings, out, families, minutes, command), format_)
