"""``kswap evaluate``: accuracy on pictures in class folders."""

from __future__ import annotations

from pathlib import Path

import click

from kswap.cli.formats import format_option, show
from kswap.cli.options import LOAD_STEPS, builder_arguments, working
from kswap.cli.pictures import (
    adjusted,
    data_options,
    device_option,
    preprocessing_options,
    trained_options,
    trust_option,
)


@click.command()
@click.argument("model", metavar="DIR")
@data_options
@click.option("--split", metavar="NAME", help="Which split, where there are several.")
@click.option("--hflip", is_flag=True, help="Add the probabilities of the mirrored picture, as in the papers.")
@click.option("--batch", type=click.IntRange(min=1), default=64, show_default=True, help="Pictures per forward pass.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only N pictures, evenly over all.")
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Processes that read pictures ahead; 0 reads between the passes.",
)
@trained_options
@preprocessing_options
@device_option
@format_option("evaluation")
@trust_option
def evaluate(
    model: str,
    data: tuple[str, ...],
    data_dir: Path | None,
    split: str | None,
    hflip: bool,
    batch: int,
    limit: int | None,
    workers: int,
    weights: Path | None,
    num_classes: int | None,
    model_kwargs: tuple[str, ...],
    preprocessing: str,
    resize: str | None,
    crop: float | None,
    input_size: str | None,
    device: str,
    format_: str,
    trust_source: bool,
) -> None:
    """Measure the accuracy of a saved model on pictures.

    DIR is a directory that kswap saved, or a MODEL as for convert, which is built with its published weights or with
    those of --weights.

    A folder or zip holds SPLIT/CLASS/FILE or CLASS/FILE; the classes in sorted order are those of the model. A zip
    is read in place. Several --data are one set. Sets of torchvision and of Hugging Face are downloaded.

    \b
    kswap evaluate DIR --data test.zip
    kswap evaluate DIR --data photos --split val --limit 1000
    kswap evaluate DIR --data torchvision:CIFAR10 --split test
    kswap evaluate resnet18 --weights mine.safetensors --num-classes 10 --data photos --split val
    """
    from kswap.malloc import keep_freed_memory

    keep_freed_memory()
    builder = builder_arguments(model_kwargs, None)
    with working(f"loading {model}", LOAD_STEPS):
        from kswap.analysis.evaluation import evaluate_loaded, untrained_warning
        from kswap.analysis.loaded_model import load_model
        from kswap.analysis.untrained import untrained_reason
        from kswap.data.opening import image_set

        images = image_set(data, split, data_dir)
        loaded = load_model(model, device, None, trust_source, weights, num_classes, builder)
        loaded = loaded.prepared_by(adjusted(loaded.preprocessing, preprocessing, resize, crop, input_size))
        reason = untrained_reason(loaded.model)
    click.echo(f"pictures: {loaded.preprocessing}", err=True)
    if reason:
        click.echo(f"warning: {untrained_warning(loaded.title, reason)}", err=True)
    show(evaluate_loaded(loaded, images, batch=batch, hflip=hflip, limit=limit, workers=workers), format_)
