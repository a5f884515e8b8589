"""``kswap distill``: a saved conversion learns from its original."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from kswap.cli.formats import format_option, show
from kswap.cli.options import LOAD_STEPS, working
from kswap.cli.pictures import (
    adjusted,
    data_options,
    device_option,
    evaluation_options,
    preprocessing_options,
    trust_option,
)

Command = TypeVar("Command", bound=Callable[..., Any])


keep_option = click.option(
    "--keep",
    type=click.Choice(("last", "best")),
    default="last",
    show_default=True,
    help="The weights of the end, or the most accurate ones on the way.",
)


def training_options(command: Command) -> Command:
    """How long to train, by which recipe, and what accuracy is measured on."""
    for option in reversed(
        (
            click.option("--images", type=click.IntRange(min=1), metavar="N", help="Images to see in training."),
            click.option("--epochs", type=float, metavar="N", help="Passes over all pictures, instead of --images."),
            click.option(
                "--recipe",
                default="distill",
                show_default=True,
                metavar="NAME|FILE",
                help="How to train: distill, distill-quick, or a TOML file.",
            ),
            click.option("--lr", type=float, metavar="X", help="Learning rate, instead of the recipe's."),
            click.option("--split", metavar="NAME", help="Folder of the data to train on; else train, or all."),
            evaluation_options("the data"),
            click.option("--seed", type=int, default=0, show_default=True, help="Makes the run reproducible."),
            click.option("--restart", is_flag=True, help="Start an unfinished run anew, instead of continuing it."),
        )
    ):
        command = option(command)
    return command


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--teacher", metavar="MODEL|DIR", help="A name, or a saved directory; else the original of DIR.")
@click.option(
    "--teacher-weights",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Trained weights of the teacher, instead of published ones: safetensors, or a state dict of torch.save.",
)
@data_options
@training_options
@keep_option
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="The result; else DIR-distilled.")
@click.option("--force", is_flag=True, help="Overwrite a directory that kswap saved before.")
@preprocessing_options
@device_option
@format_option("distillation")
@trust_option
def distill(
    directory: Path,
    teacher: str | None,
    data: tuple[str, ...],
    data_dir: Path | None,
    preprocessing: str,
    resize: str | None,
    crop: float | None,
    input_size: str | None,
    restart: bool,
    out: Path | None,
    format_: str,
    device: str,
    trust_source: bool,
    **options: Any,
) -> None:
    """Train a saved conversion to answer as its original does.

    DIR is a directory that kswap saved. The pictures need no labels and may lie in any arrangement, in a folder or a
    zip; --data and --eval-data take names of public sets too. Where there are labels, accuracy is shown.

    A run that was stopped, in whatever way, continues when the command is called again. Until it is done,
    OUT.distilling holds its state.

    \b
    kswap distill small --teacher efficientnet_b0 --data photos
    kswap distill small --teacher-weights trained.pth --data photos
    kswap distill small --teacher big --data imagenette.zip --images 12000 --out smart
    """
    from kswap.malloc import keep_freed_memory

    keep_freed_memory()
    target = out if out is not None else directory.with_name(f"{directory.name}-distilled")
    with working(f"loading {directory}", LOAD_STEPS):
        import kswap
        from kswap.analysis.loaded_model import load_model
        from kswap.analysis.preparation import trained_with
        from kswap.data.opening import image_set, picture_set

        pictures = picture_set(data, options["split"], data_dir)
        if options["eval_data"] is not None:
            options["eval_data"] = image_set(options["eval_data"], options["eval_split"], data_dir)
        conversion = kswap.load(directory, device=device, trust_source=trust_source)
        own = load_model(conversion).preprocessing
        prepared = adjusted(trained_with(directory) or own, preprocessing, resize, crop, input_size)
    changed = None if prepared == own else prepared
    click.echo(f"pictures: {prepared}", err=True)
    done = kswap.distill(
        conversion,
        teacher,
        pictures,
        **options,
        out=target,
        resume=not restart,
        device=device,
        preprocessing=changed,
        trust_source=trust_source,
    )
    show(done, format_)
    click.echo(f"saved in {target}: load it with kswap.load({str(target)!r})", err=True)
