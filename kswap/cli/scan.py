"""``kswap scan``: many networks in one process, and which of them are worth having."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import click

from kswap.cli.formats import format_option, show
from kswap.cli.lists import Belongs, ListCommand, is_number, is_one_of, typed
from kswap.cli.options import align_option, builder_arguments, building_options, model_kwarg_option, parse_size
from kswap.cli.pictures import data_dir_option
from kswap.planner.kinds import BLOCK_KINDS
from kswap.planner.schemes import SCHEMES
from kswap.runtimes.targets import TARGETS

Command = TypeVar("Command", bound=Callable[..., Any])

# Options that mean something only beside another one.
_NEEDING = {
    "latency": ("batch", "threads", "rounds", "no_autotune"),
    "train": ("data", "data_dir", "epochs", "seed", "device", "workers", "ray"),
}
_WORDS = {"latency": "times: add --latency TARGET", "train": "training: add --train RECIPE"}


class _Lists(ListCommand):
    """Options that take every Ch, scheme or kind that follows."""

    lists: ClassVar[Mapping[str, Belongs]] = {
        "--ch": is_number,
        "--scheme": lambda word: is_one_of(tuple(SCHEMES))(word) or re.fullmatch(r"v\d+", word) is not None,
        "--kind": is_one_of(tuple(BLOCK_KINDS)),
    }


def _network_options(command: Command) -> Command:
    """Which networks: the grid, and how each is built and planned."""
    for option in reversed(
        (
            click.option(
                "--ch",
                type=click.IntRange(min=1),
                multiple=True,
                metavar="N...",
                help="Channels per group.  [default: 4 8 16 32]",
            ),
            click.option(
                "--scheme",
                type=click.Choice(tuple(SCHEMES)),
                multiple=True,
                metavar="NAME...",
                help=f"How groups are chosen: {', '.join(SCHEMES)}.  [default: v2]",
            ),
            click.option(
                "--kind",
                type=click.Choice(tuple(BLOCK_KINDS)),
                multiple=True,
                metavar="NAME...",
                help=f"What replaces a convolution: {', '.join(BLOCK_KINDS)}.  [default: grouped]",
            ),
            align_option,
            *building_options,
            model_kwarg_option,
        )
    ):
        command = option(command)
    return command


def _latency_options(command: Command) -> Command:
    """Whether and how passes are timed."""
    for option in reversed(
        (
            click.option(
                "--latency",
                type=click.Choice(tuple(TARGETS)),
                help="Time a pass of every network beside one of its original there.",
            ),
            click.option(
                "--batch", type=click.IntRange(min=1), metavar="N", help="Samples of that pass.  [default: 1]"
            ),
            click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Threads of that pass."),
            click.option(
                "--rounds", type=click.IntRange(min=1), metavar="N", help="Of that; else 15 to 60, for 10 seconds."
            ),
            click.option(
                "--no-autotune",
                is_flag=True,
                help="For that, estimate the implementation of each block instead of measuring.",
            ),
        )
    ):
        command = option(command)
    return command


def _training_options(command: Command) -> Command:
    """Whether, how and where networks are trained."""
    for option in reversed(
        (
            click.option(
                "--train",
                metavar="RECIPE",
                help="Train every network and the original by this recipe, a name or a TOML file: see `kswap train`.",
            ),
            click.option(
                "--data",
                multiple=True,
                metavar="DATA",
                help="The pictures: a folder, a zip, torchvision:NAME or hf-datasets:OWNER/NAME; may be repeated.",
            ),
            data_dir_option,
            click.option("--epochs", type=float, metavar="N", help="Passes over the training pictures."),
            click.option("--seed", type=int, metavar="N", help="Of weights and order.  [default: 0]"),
            click.option("--device", metavar="auto|cpu|cuda", help="Where to train.  [default: auto]"),
            click.option(
                "--workers",
                type=click.IntRange(min=1),
                metavar="N",
                help="Networks at a time.  [default: 1; with --ray what there is room for]",
            ),
            click.option(
                "--ray", metavar="ADDRESS", help="Train on a Ray cluster: an address, auto, or local to start one here."
            ),
        )
    ):
        command = option(command)
    return command


@click.command(cls=_Lists)
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@_network_options
@_latency_options
@_training_options
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="A file per trial, continued; the result in all formats.",
)
@click.option("--figure", type=click.Path(path_type=Path), metavar="FILE.png", help="A picture of the result.")
@format_option("scan")
@click.pass_context
def scan(ctx: click.Context, /, models: tuple[str, ...], format_: str, figure: Path | None, **options: Any) -> None:
    """Plan each MODEL with every Ch, scheme and kind, and mark the Pareto front.

    MODEL is what `kswap convert` takes. Every model is traced once, and planned as often as is asked for. With
    --latency each network is timed beside its original, with --train it is trained, and so is the original, in
    processes of this machine or on a Ray cluster. What has its file in DIR is not done again, and more values may be
    asked for later.

    \b
    kswap scan efficientnet_b0 --ch 4 8 16 32 --scheme v1 v2
    kswap scan efficientnet_b0 resnet50 --kind grouped low-rank --out scan
    kswap scan mobilenetv3_large_100 --latency onnxruntime --threads 1 --figure scan.png
    kswap scan efficientnet_b0 --train quick --data photos --epochs 4 --workers 2 --out scan
    kswap scan efficientnet_b0 --train modern --data /shared/photos --ray auto --out /shared/scan
    """
    for other, names in _NEEDING.items():
        for name in names if options[other] is None else ():
            if options[name] not in (None, False, ()):
                raise click.UsageError(f"--{name.replace('_', '-')} is for {_WORDS[other]}, or leave it out", ctx)
    builder = builder_arguments(options.pop("model_kwargs"), options.pop("num_classes"))
    size = parse_size(options.pop("input_size"))
    autotune, out = not options.pop("no_autotune"), options["out"]
    from kswap.scans.figure import check_figure, save_figure

    if figure is not None:
        check_figure(figure)
    if options["latency"] is not None:
        from kswap.malloc import keep_freed_memory

        keep_freed_memory()
    from kswap.scans.scan import scan as run
    from kswap.scans.store import store

    given = {name: value for name, value in options.items() if value not in (None, ())}
    found = run(models, **given, input_size=size, autotune=autotune, command=typed(ctx), **builder)
    if figure is not None:
        save_figure(found, figure)
    if out is not None:
        store(found, out)
    show(found, format_)
    if out is not None:
        click.echo(f"all formats in {out}; the same command goes on there", err=True)
