"""``kswap export``: a saved model as a file for other programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kswap.cli.options import console, parse_size, status
from kswap.cli.pictures import trust_option
from kswap.runtimes.formats import FORMATS, check_format

if TYPE_CHECKING:
    from kswap.runtimes.export import Exported


@click.command()
@click.argument("directory", metavar="DIR")
@click.option("--to", type=click.Choice(tuple(FORMATS)), required=True, help="The format.")
@click.option("--out", metavar="FILE", help="Where to write; else DIR's name with the suffix of the format, here.")
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True, help="Images at a time, fixed.")
@click.option("--input-size", metavar="SIZE", help="224, 224,320 or 3,224,320; else that of the conversion.")
@click.option("--as-is", is_flag=True, help="The blocks as they were trained, compact; else plain convolutions.")
@click.option(
    "--autotune/--no-autotune",
    default=True,
    show_default=True,
    help="Choose the form of each block by measuring, else by an estimate.",
)
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Threads that are measured with.")
@click.option("--force", is_flag=True, help="Overwrite the file.")
@click.option("--format", "format_", type=click.Choice(["rich", "json"]), default="rich", show_default=True)
@trust_option
def export(
    directory: str,
    to: str,
    out: str | None,
    batch: int,
    input_size: str | None,
    as_is: bool,
    autotune: bool,
    threads: int | None,
    force: bool,
    format_: str,
    trust_source: bool,
) -> None:
    """A saved model as one file with fixed shapes, compared with PyTorch.

    DIR is a directory that kswap saved. Its blocks are optimised for the runtime of the format: norms folded, plain
    convolutions only, which may store more parameters than the compact blocks do; forms that `kswap optimize` noted for
    this runtime and input are taken. What was written is read again
    and run on random inputs; when its outputs are not those of PyTorch, nothing is left behind.
    """
    size = parse_size(input_size)
    chosen = check_format(to)
    with status(f"loading {directory}"):
        import torch

        from kswap.loading import load
        from kswap.runtimes.export import check_export, export_model
        from kswap.sources.inputs import call_for

        conversion = load(directory, device="cpu", trust_source=trust_source)
        path = check_export(to, out or f"{Path(directory).resolve().name}{chosen.suffix}", force)
        model = conversion.model
        shape = conversion.plan.input_size
        if size is not None:
            shape = call_for(model, conversion.source, size=size).sample_shape
        inputs = (torch.randn(batch, *shape, generator=torch.Generator().manual_seed(0)),)
    if not as_is:
        from kswap.inference.optimize import optimize_for_inference
        from kswap.inference.store import recorded_implementations

        found = recorded_implementations(directory, chosen.target, inputs[0].shape) if autotune else None
        with status("choosing the form of each block"):
            model = optimize_for_inference(model, inputs, chosen.target, autotune, threads, found)
    with status(f"writing {path.name}"):
        exported = export_model(model, inputs, to, path, force=force)
    compact = sum(parameter.numel() for parameter in conversion.model.parameters())
    shapes = [list(x.shape) for x in inputs]
    if format_ == "json":
        click.echo(json.dumps({**exported.to_json(), "params_compact": compact, "inputs": shapes}, indent=1))
    else:
        _show(exported, compact, shapes)


def _show(exported: Exported, compact: int, shapes: list[list[int]]) -> None:
    params = f"{exported.params:,}"
    if exported.params > compact:
        params += f", grown from {compact:,} compact ones: fewer operators, more weights"
    elif exported.params < compact:
        params += f", of {compact:,} as trained"
    out = console()
    for label, text in (
        ("file", f"{exported.path} ({exported.bytes:,} bytes)"),
        ("input", ", ".join("x".join(map(str, shape)) for shape in shapes)),
        ("parameters", params),
        ("operators", ", ".join(f"{count} {name}" for name, count in exported.operators.items())),
        ("largest error", f"{exported.error:.1e} of the largest output, against PyTorch, run by {exported.runtime}"),
    ):
        out.print(f"{label:<14} {text}", markup=False, soft_wrap=True)
