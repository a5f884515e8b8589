"""``kswap study transfer``: a trained network made small in several ways."""

from __future__ import annotations

from pathlib import Path

import click

from kswap.cli.formats import format_option, show
from kswap.cli.options import builder_arguments


@click.command()
@click.argument("model", default="tf_efficientnet_lite0")
@click.option("--weights", type=click.Path(path_type=Path), metavar="FILE", help="The trained weights of MODEL.")
@click.option("--pretrained", is_flag=True, help="The published weights of MODEL.")
@click.option("--num-classes", type=click.IntRange(min=1), help="Classes of the classifier.")
@click.option("--model-kwarg", "model_kwargs", multiple=True, metavar="KEY=VALUE", help="For the model's builder.")
@click.option("--data", required=True, metavar="DATA", help="The pictures: a folder, a zip or a name as for evaluate.")
@click.option("--train-split", default="train", show_default=True, metavar="NAME", help="To learn from.")
@click.option("--val-split", default="val", show_default=True, metavar="NAME", help="To measure accuracy on.")
@click.option("--side", type=click.IntRange(min=1), default=96, show_default=True, help="Height and width in pixels.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, metavar="DIR", help="Results, resumed."
)
@click.option("--method", "methods", multiple=True, metavar="NAME", help="Only these methods; may be repeated.")
@click.option("--share", "shares", type=float, multiple=True, help="Only these shares of 0.4, 0.2, 0.14 and 0.1.")
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Seeds at a share of 0.2.")
@click.option("--images", type=click.IntRange(min=1), default=12_000, show_default=True, help="Seen in distillation.")
@click.option("--early", type=click.IntRange(min=1), default=2_000, show_default=True, help="Measured on the way.")
@click.option(
    "--long", "long_images", type=click.IntRange(min=0), default=40_000, show_default=True, help="Of the best; 0: none."
)
@click.option("--minutes", type=click.FloatRange(min=0), metavar="N", help="Begin nothing new after N minutes.")
@format_option("transfer-study")
def transfer(
    model: str,
    weights: Path | None,
    pretrained: bool,
    num_classes: int | None,
    model_kwargs: tuple[str, ...],
    data: str,
    train_split: str,
    val_split: str,
    side: int,
    out: Path,
    methods: tuple[str, ...],
    shares: tuple[float, ...],
    seeds: int,
    images: int,
    early: int,
    long_images: int,
    minutes: float | None,
    format_: str,
) -> None:
    """Compare ways to make a trained network small: accuracy, parameters, latency.

    MODEL with its trained weights is made small by every method at every share of its parameters, distilled from
    itself, and measured on the way. Each case leaves a file in DIR; the command continues what it finds there. Two
    pictures are written into DIR.

    \b
    kswap study transfer --weights FILE --num-classes 10 --data imagenette.zip --out DIR
    kswap study transfer resnet50 --pretrained --data photos --out DIR --method budget --method pruned --minutes 60
    """
    if (weights is None) != pretrained:
        raise click.UsageError("say where the trained weights come from: --weights FILE or --pretrained, one of them")
    from kswap.malloc import keep_freed_memory

    keep_freed_memory()
    from kswap.studies.transfer.run import transfer_study
    from kswap.studies.transfer.settings import Settings

    settings = Settings(
        model=model,
        data=data,
        model_kwargs=builder_arguments(model_kwargs, num_classes),
        weights=None if weights is None else str(weights),
        train_split=train_split,
        validation_split=val_split,
        side=side,
        seeds=seeds,
        images=images,
        early=early,
        long_images=long_images,
    )
    show(transfer_study(settings, out, methods, shares, minutes), format_)
