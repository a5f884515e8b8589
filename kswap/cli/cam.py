"""``kswap cam``: class activation maps over a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kswap.cli.options import status
from kswap.cli.pictures import adjusted, device_option, preprocessing_options, trust_option

if TYPE_CHECKING:
    from kswap.analysis.cam import Cam


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="DIR...")
@click.option("--image", type=click.Path(path_type=Path), required=True, metavar="FILE", help="The picture.")
@click.option(
    "--class", "class_index", type=click.IntRange(min=0), metavar="N", help="Which class; else each model's likeliest."
)
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="FILE.png", help="Written as PNG.")
@click.option("--method", type=click.Choice(["cam", "gradcam"]), default="cam", show_default=True)
@click.option("--baseline", is_flag=True, help="Also the original of the first DIR, with its published weights.")
@preprocessing_options
@device_option
@trust_option
def cam(
    models: tuple[str, ...],
    image: Path,
    class_index: int | None,
    out: Path,
    method: str,
    baseline: bool,
    preprocessing: str,
    resize: str | None,
    crop: float | None,
    input_size: str | None,
    device: str,
    trust_source: bool,
) -> None:
    """Show where a model sees a class.

    DIR is a directory that kswap saved, or a MODEL as for convert, which is built with its published weights.
    Several stand side by side, such as a baseline and its conversion.
    """
    if out.suffix.lower() != ".png":
        raise click.BadParameter(f"'{out}' is no PNG: let its name end in .png", param_hint="--out")
    with status(f"looking at {image}"):
        from kswap.analysis.cam import cam_of
        from kswap.analysis.figure import figure, save_figure
        from kswap.analysis.loaded_model import baseline_of, subject_of
        from kswap.data.decoding import read_picture

        picture = read_picture(image)
        subjects = [subject_of(model, device, trust_source=trust_source) for model in models]
        if baseline:
            subjects.insert(0, baseline_of(models[0], device))
        made = []
        for subject in subjects:
            asked = adjusted(subject.preprocessing, preprocessing, resize, crop, input_size)
            made.append(cam_of(subject.prepared_by(asked), picture, class_index, method))
        save_figure(figure(made), out)
    for entry in made:
        click.echo(_summary(entry))
    click.echo(f"wrote {out}", err=True)


def _summary(made: Cam) -> str:
    height, width = made.heat.shape
    how = "" if made.linear or made.method != "cam" else ", by slope: layers stand between pool and classifier"
    return f"{made.title}: class {made.class_index}, {made.probability:.1%}; {made.method} {width}x{height}{how}"
