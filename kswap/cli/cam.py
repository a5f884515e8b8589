"""``kswap cam``: class activation maps over a picture."""

from __future__ import annotations

from pathlib import Path

import click

from kswap.cli.formats import format_option, show
from kswap.cli.options import LOAD_STEPS, builder_arguments, working
from kswap.cli.pictures import adjusted, device_option, preprocessing_options, trained_options, trust_option


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="DIR...")
@click.option("--image", type=click.Path(path_type=Path), required=True, metavar="FILE", help="The picture.")
@click.option(
    "--class",
    "class_index",
    type=click.IntRange(min=0),
    metavar="N",
    help="Which class; else the most probable of each.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="FILE.png", help="Written as PNG.")
@click.option("--method", type=click.Choice(["cam", "gradcam"]), default="cam", show_default=True)
@click.option("--baseline", is_flag=True, help="Also the original of the first DIR, with its published weights.")
@trained_options
@preprocessing_options
@device_option
@format_option("cams")
@trust_option
def cam(
    models: tuple[str, ...],
    image: Path,
    class_index: int | None,
    out: Path,
    method: str,
    baseline: bool,
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
    """Draw class activation maps: where in a picture a model sees a class.

    DIR is a directory that kswap saved, or a MODEL as for convert, which is built with its published weights.
    Several are drawn side by side, such as a baseline and its conversion. --weights are those of the --baseline, or of
    each MODEL that is given by name.

    \b
    kswap cam DIR --image cat.png --out cam.png
    kswap cam DIR --baseline --image cat.png --class 281 --out cam.png
    """
    if out.suffix.lower() != ".png":
        raise click.BadParameter(f"'{out}' must end in .png", param_hint="--out")
    builder = builder_arguments(model_kwargs, None)
    with working(f"looking at {image}", (LOAD_STEPS - 1) * (len(models) + baseline) + 2):
        from kswap.analysis.cam import Cams, cam_of
        from kswap.analysis.figure import figure, save_figure
        from kswap.analysis.loaded_model import baseline_of, load_model
        from kswap.data.decoding import read_picture
        from kswap.progress import step

        picture = read_picture(image)
        loaded = []
        if baseline:
            if num_classes is not None:
                raise click.UsageError("--num-classes is not for --baseline: that has the classes of its DIR")
            if builder:
                raise click.UsageError("--model-kwarg is not for --baseline: that is built as its DIR was")
            loaded.append(baseline_of(models[0], device, weights))
        named = [name for name in models if not Path(name).is_dir()] or models
        for name in models:
            own = (weights, num_classes, builder) if name in named and not baseline else (None, None, None)
            loaded.append(load_model(name, device, None, trust_source, *own))
        step("looking at it")
        maps = []
        for model in loaded:
            asked = adjusted(model.preprocessing, preprocessing, resize, crop, input_size)
            maps.append(cam_of(model.prepared_by(asked), picture, class_index, method))
        save_figure(figure(maps), out)
    show(Cams(tuple(maps)), format_)
    click.echo(f"wrote {out}", err=True)
