"""``kswap optimize``: the quickest form of each block, measured and noted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kswap.cli.options import console, parse_size
from kswap.cli.pictures import trust_option
from kswap.codec import encode
from kswap.runtimes.targets import TARGETS

if TYPE_CHECKING:
    from kswap.inference.store import Optimized


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--target", type=click.Choice(list(TARGETS)), default="eager", show_default=True, help="What will run it."
)
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True, help="At which batch it counts.")
@click.option("--input-size", metavar="SIZE", help="224, 224,320 or 3,224,320; else that of the conversion.")
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Measure with N threads.")
@click.option("--autotune/--no-autotune", default=True, show_default=True, help="Measure each form, or estimate.")
@click.option("--format", "format_", type=click.Choice(["rich", "json"]), default="rich", show_default=True)
@trust_option
def optimize(
    directory: Path,
    target: str,
    batch: int,
    input_size: str | None,
    threads: int | None,
    autotune: bool,
    format_: str,
    trust_source: bool,
) -> None:
    """Find the quickest form of each block of a saved model.

    Norms are folded and each block becomes plain layers: one dense layer, grouped ones, or one of each. The
    forms are noted in DIR/optimized.json beside the compact weights; kswap.load_optimized(DIR, TARGET) and
    `kswap export` build the quick model from them.
    """
    from rich.console import Console
    from rich.progress import Progress

    size = parse_size(input_size)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(f"optimising for {target}", total=None)
        from kswap.inference.store import optimize_directory

        made = optimize_directory(
            directory,
            target,
            batch,
            size,
            autotune,
            threads,
            trust_source,
            watch=lambda name, total: progress.update(task, total=total, advance=1, description=name),
        )
    if format_ == "json":
        click.echo(json.dumps(encode(made.optimization), indent=1))
        return
    _show(made, directory)


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{1000 * seconds:.3f}"


def _show(made: Optimized, directory: Path) -> None:
    from rich.markup import escape
    from rich.table import Table

    done, out = made.optimization, console()
    table = Table(box=None, pad_edge=False)
    table.add_column("block", overflow="fold")
    table.add_column("implementation")
    for label in ("parameters", "stored", *(("ms", "ms dense") if done.autotuned else ())):
        table.add_column(label, justify="right")
    for layer in done.layers:
        measured = [layer.seconds.get(str(layer.implementation)), next(iter(layer.seconds.values()), None)]
        times = measured if done.autotuned else []
        numbers = [f"{layer.params_before:,}", f"{layer.params_after:,}", *(_milliseconds(t) for t in times)]
        table.add_row(escape(layer.name), str(layer.implementation), *numbers, style="dim" if layer.is_dense else None)
    out.print(table)
    shape = "x".join(str(n) for n in done.input_shape)
    how = "measured" if done.autotuned else "estimated"
    grown = done.params_after / done.params_before
    out.print(
        f"\n{len(done.layers)} blocks for {done.target} at {shape}, {how}: {done.dense} as one dense layer, "
        f"{done.norms_folded} norms folded",
        soft_wrap=True,
    )
    out.print(
        f"parameters in memory: {done.params_before:,} -> {done.params_after:,} ({grown:.2f} times what was trained); "
        f"on disk they stay {done.params_before:,}",
        soft_wrap=True,
    )
    out.print(f"MACs: {done.macs_before:,} -> {done.macs_after:,}", soft_wrap=True)
    if done.seconds:
        tried = ", ".join(f"{label} {1000 * seconds:.2f}" for label, seconds in done.seconds.items())
        out.print(f"the whole model in ms, by how its forms were chosen: {tried}", soft_wrap=True)
    out.print(f"outputs differ by {done.error:.1e} of the largest", soft_wrap=True)
    click.echo(
        f"noted in {directory}/optimized.json: kswap.load_optimized({str(directory)!r}, {done.target!r})", err=True
    )
