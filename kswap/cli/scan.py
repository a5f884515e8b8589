"""``kswap scan``: many networks in one process, and which of them are worth having."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import click

from kswap.cli.formats import format_option, show
from kswap.cli.lists import Belongs, ListCommand, is_number, is_one_of, typed
from kswap.cli.options import builder_arguments, parse_size
from kswap.planner.kinds import BLOCK_KINDS
from kswap.planner.schemes import SCHEMES
from kswap.runtimes.targets import TARGETS

_OF_LATENCY = ("batch", "threads", "rounds", "no_autotune")


class _Lists(ListCommand):
    """Options that take every Ch, scheme or kind that follows."""

    lists: ClassVar[Mapping[str, Belongs]] = {
        "--ch": is_number,
        "--scheme": lambda word: is_one_of(tuple(SCHEMES))(word) or re.fullmatch(r"v\d+", word) is not None,
        "--kind": is_one_of(tuple(BLOCK_KINDS)),
    }


@click.command(cls=_Lists)
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@click.option(
    "--ch",
    type=click.IntRange(min=1),
    multiple=True,
    metavar="N...",
    help="Channels per group.  [default: 4 8 16 32]",
)
@click.option(
    "--scheme",
    type=click.Choice(tuple(SCHEMES)),
    multiple=True,
    metavar="NAME...",
    help=f"How groups are chosen: {', '.join(SCHEMES)}.  [default: v2]",
)
@click.option(
    "--kind",
    type=click.Choice(tuple(BLOCK_KINDS)),
    multiple=True,
    metavar="NAME...",
    help=f"What replaces a convolution: {', '.join(BLOCK_KINDS)}.  [default: grouped]",
)
@click.option("--num-classes", type=click.IntRange(min=0), help="Classes of the classifier.")
@click.option("--rules", metavar="PRESET|FILE", help="Which sites, and how: see `kswap rules`.")
@click.option("--linear", is_flag=True, help="Linear layers too: the same map on the last dimension.")
@click.option("--input-size", metavar="SIZE", help="224, 224,320 or 3,224,320; else each model's own.")
@click.option(
    "--skip-strides",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Stride 1 in the first N strided stages, for small images.",
)
@click.option(
    "--model-kwarg", "model_kwargs", multiple=True, metavar="KEY=VALUE", help="For the builders; may be repeated."
)
@click.option(
    "--latency", type=click.Choice(tuple(TARGETS)), help="Time a pass of every network beside its original there."
)
@click.option("--batch", type=click.IntRange(min=1), metavar="N", help="Samples of that pass.  [default: 1]")
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Threads of that pass.")
@click.option("--rounds", type=click.IntRange(min=1), metavar="N", help="Of that; else 15 to 60, for 10 seconds.")
@click.option(
    "--no-autotune", is_flag=True, help="For that, estimate the implementation of each block instead of measuring."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="A file per trial, continued; the result in all formats.",
)
@click.option("--figure", type=click.Path(path_type=Path), metavar="FILE.png", help="A picture of the result.")
@format_option("scan")
@click.pass_context
def scan(
    ctx: click.Context,
    /,
    models: tuple[str, ...],
    ch: tuple[int, ...],
    scheme: tuple[str, ...],
    kind: tuple[str, ...],
    num_classes: int | None,
    rules: str | None,
    linear: bool,
    input_size: str | None,
    skip_strides: int,
    model_kwargs: tuple[str, ...],
    format_: str,
    out: Path | None,
    figure: Path | None,
    **options: Any,
) -> None:
    """Plan each MODEL with every Ch, scheme and kind, and mark the Pareto front.

    MODEL is what `kswap convert` takes. Every model is traced once, and planned as often as is asked for. With
    --latency each network is timed beside its original. What has its file in DIR is not done again, and more values
    may be asked for later.

    \b
    kswap scan efficientnet_b0 --ch 4 8 16 32 --scheme v1 v2
    kswap scan efficientnet_b0 resnet50 --kind grouped low-rank --out scan
    kswap scan mobilenetv3_large_100 --latency onnxruntime --threads 1 --figure scan.png
    """
    of_latency = [
        f"--{name.replace('_', '-')}" for name in ("batch", "threads", "rounds", "no_autotune") if options[name]
    ]
    if of_latency and options["latency"] is None:
        raise click.UsageError(f"{of_latency[0]} is for times: add --latency TARGET, or leave it out", ctx)
    builder = builder_arguments(model_kwargs, num_classes)
    size = parse_size(input_size)
    from kswap.scans.figure import check_figure, save_figure
    from kswap.scans.scan import scan as run
    from kswap.scans.store import store

    if figure is not None:
        check_figure(figure)
    if options["latency"] is not None:
        from kswap.malloc import keep_freed_memory

        keep_freed_memory()
    given = {"ch": ch, "scheme": scheme, "kind": kind, "batch": options["batch"]}
    found = run(
        models,
        **{name: value for name, value in given.items() if value},
        rules=rules,
        linear=linear,
        input_size=size,
        skip_strides=skip_strides,
        latency=options["latency"],
        threads=options["threads"],
        rounds=options["rounds"],
        autotune=not options["no_autotune"],
        out=out,
        command=typed(ctx),
        **builder,
    )
    if figure is not None:
        save_figure(found, figure)
    if out is not None:
        store(found, out)
    show(found, format_)
    if out is not None:
        click.echo(f"all formats in {out}; the same command goes on there", err=True)
