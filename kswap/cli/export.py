"""``kswap export``: a saved model as a file for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kswap.cli.export_int8 import check_quantize_options, export_quantized, open_pictures, quantize_options
from kswap.cli.formats import format_option, show
from kswap.cli.options import LOAD_STEPS, parse_size, status, working
from kswap.cli.pictures import trust_option
from kswap.progress import progress_bar
from kswap.runtimes.formats import FORMATS, check_format
from kswap.runtimes.formats.destination import check_destination
from kswap.runtimes.formats.format import Variant


@click.command()
@click.argument("directory", metavar="DIR")
@click.option("--to", type=click.Choice(tuple(FORMATS)), required=True, help="The format.")
@click.option("--out", metavar="FILE", help="Where to write; else DIR's name with the suffix of the format, here.")
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True, help="Images at a time.")
@click.option("--dynamic-batch", is_flag=True, help="Take any number of images at a time; --batch is what is measured.")
@click.option("--half", is_flag=True, help="Store weights in float16; inputs and outputs stay float32.")
@click.option("--input-size", metavar="SIZE", help="224, 224,320 or 3,224,320; else that of the conversion.")
@click.option("--as-is", is_flag=True, help="Blocks as they were trained, compact; else plain convolutions.")
@click.option(
    "--autotune/--no-autotune",
    default=True,
    show_default=True,
    help="Choose the implementation of each block by measuring, else by an estimate.",
)
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Measure with N threads.")
@quantize_options
@click.option("--force", is_flag=True, help="Overwrite the file.")
@format_option("export")
@trust_option
def export(
    directory: str,
    to: str,
    out: str | None,
    batch: int,
    dynamic_batch: bool,
    half: bool,
    input_size: str | None,
    as_is: bool,
    autotune: bool,
    threads: int | None,
    quantize: str | None,
    force: bool,
    format_: str,
    trust_source: bool,
    **options: Any,
) -> None:
    """A saved model as one file, compared with PyTorch.

    DIR is a directory that kswap saved. Its blocks are optimised for the runtime of the format: norms folded, plain
    convolutions only, which may store more parameters than the compact blocks do; implementations that
    `kswap optimize` recorded for this runtime and input are used. The file is read again and run on random inputs;
    when its outputs are not those of PyTorch, nothing is left behind.

    \b
    kswap export DIR --to onnx
    kswap export DIR --to openvino --out model.xml --batch 8
    kswap export DIR --to onnx --dynamic-batch --half
    kswap export DIR --to onnx --quantize int8 --calibrate photos
    """
    size = parse_size(input_size)
    check_quantize_options(quantize, half, options)
    chosen = check_format(to)
    chosen.check(Variant(dynamic_batch, half, quantize or ""))
    path = check_destination(to, out or f"{Path(directory).resolve().name}{chosen.suffix}", force)
    with working(f"loading {directory}", LOAD_STEPS):
        import torch

        from kswap.loading import load
        from kswap.runtimes.export import export_model
        from kswap.sources.inputs import call_for

        conversion = load(directory, device="cpu", trust_source=trust_source)
        model = conversion.model
        shape = conversion.plan.input_size
        if size is not None:
            shape = call_for(model, conversion.source, size=size).sample_shape
        if quantize:
            opened = open_pictures(directory, conversion, input_size, options)
            shape = opened.preprocessing.input_size
        inputs = (torch.randn(batch, *shape, generator=torch.Generator().manual_seed(0)),)
    if not as_is:
        from kswap.inference.optimize import optimize_for_inference
        from kswap.inference.store import recorded_implementations

        found = recorded_implementations(directory, chosen.target, inputs[0].shape) if autotune else None
        with progress_bar(f"optimising for {chosen.target}", total=None) as bar:

            def watched(block: str, total: int) -> None:
                bar.advance(note=block, total=total)

            model = optimize_for_inference(
                model, inputs, chosen.target, autotune, threads, found, watched, native=False
            )
    compact = sum(parameter.numel() for parameter in conversion.model.parameters())
    if quantize:
        common = {"batch": batch, "to": to, "path": path, "dynamic_batch": dynamic_batch, "force": force}
        given = common | {"threads": threads, "params_compact": compact}
        show(export_quantized(directory, model, opened, options, **given), format_)
        return
    with status(f"writing {path.name}"):
        exported = export_model(model, inputs, to, path, force, compact, dynamic_batch, half)
    show(exported, format_)
