"""``kswap optimize``: the quickest implementation of each block, measured and recorded."""

from __future__ import annotations

from pathlib import Path

import click

from kswap.cli.formats import format_option, show
from kswap.cli.options import parse_size, status
from kswap.cli.pictures import trust_option
from kswap.progress import progress_bar
from kswap.runtimes.targets import TARGETS


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--target", type=click.Choice(tuple(TARGETS)), default="eager", show_default=True, help="What runs it.")
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True, help="Samples per pass.")
@click.option("--input-size", metavar="SIZE", help="224, 224,320 or 3,224,320; else that of the conversion.")
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Measure with N threads.")
@click.option("--autotune/--no-autotune", default=True, show_default=True, help="Measure implementations, or estimate.")
@click.option("--native", is_flag=True, help="Try kswap's own kernel too (eager): compiled once, by your C++ compiler.")
@format_option("optimization")
@trust_option
def optimize(
    directory: Path,
    target: str,
    batch: int,
    input_size: str | None,
    threads: int | None,
    autotune: bool,
    native: bool,
    format_: str,
    trust_source: bool,
) -> None:
    """Find the quickest implementation of each block of a saved model.

    Norms are folded and each block becomes plain layers: one dense layer, grouped ones, or one of each. The
    implementations are recorded in DIR/optimized.json beside the compact weights; kswap.load_optimized(DIR, TARGET)
    and `kswap export` build the quick model from them.

    \b
    kswap optimize DIR
    kswap optimize DIR --target onnxruntime --batch 8 --threads 1
    kswap optimize DIR --native
    """
    size = parse_size(input_size)
    if native and target == "eager":
        native = _kernel_is_ready()
    with progress_bar(f"optimising for {target}", total=None) as bar:
        from kswap.inference.store import optimize_directory

        def watched(block: str, total: int) -> None:
            bar.advance(note=block, total=total)

        made = optimize_directory(
            directory, target, batch, size, autotune, threads, trust_source, watched, native or None
        )
    show(made.optimization, format_)
    click.echo(
        f"recorded in {directory}/optimized.json: kswap.load_optimized({str(directory)!r}, {target!r})", err=True
    )


def _kernel_is_ready() -> bool:
    """Compile the native kernel; where that fails, one line says why, and the command goes on without it."""
    with status("compiling the native kernel"):
        from kswap.native.operator import obstacle

        reason = obstacle(build=True)
    if reason is not None:
        click.echo(f"without the native kernel: {reason}", err=True)
    return reason is None
