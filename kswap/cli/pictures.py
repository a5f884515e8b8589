"""Options of the commands that show pictures to a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kswap.cli.options import model_kwarg_option, parse_size, weights_option
from kswap.data.resizing import RESIZES

if TYPE_CHECKING:
    from kswap.data.preprocessing import Preprocessing

Command = TypeVar("Command", bound=Callable[..., Any])

WAYS = ("model", "papers", "imagenet")

trust_option = click.option(
    "--trust-source", is_flag=True, help="Run the code of your own that a saved model was built by."
)
device_option = click.option(
    "--device", default="auto", show_default=True, metavar="auto|cpu|cuda", help="Where the model runs."
)


data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where downloaded pictures are kept; else torch's cache.",
)


def data_options(command: Command) -> Command:
    """The pictures of a command: ``data`` is a tuple of paths and names, and ``data_dir`` where downloads are kept."""
    data = click.option(
        "--data",
        multiple=True,
        required=True,
        metavar="DATA",
        help="The pictures: a folder, a zip, torchvision:NAME or hf-datasets:OWNER/NAME. May be repeated for what "
        "forms one set.",
    )
    return data(data_dir_option(command))


def evaluation_options(held_out_of: str) -> Callable[[Command], Command]:
    """Labelled pictures to measure accuracy on; without, the held-out split of what ``held_out_of`` names."""

    def with_options(command: Command) -> Command:
        for option in reversed(
            (
                click.option(
                    "--eval-data",
                    metavar="DATA",
                    help=f"Labelled pictures to measure accuracy on; else the held-out split of {held_out_of}.",
                ),
                click.option("--eval-split", metavar="NAME", help="Which split of these."),
                click.option(
                    "--eval-limit",
                    type=click.IntRange(min=1),
                    default=1000,
                    show_default=True,
                    metavar="N",
                    help="At most N of these, evenly over all.",
                ),
            )
        ):
            command = option(command)
        return command

    return with_options


def trained_options(command: Command) -> Command:
    """A file of weights for a MODEL that is given by name, and how that is built."""
    classes = click.option(
        "--num-classes", type=click.IntRange(min=1), metavar="N", help="Classes that FILE was trained for."
    )
    return weights_option(classes(model_kwarg_option(command)))


def preprocessing_options(command: Command) -> Command:
    """How pictures become inputs, where that differs from what the model states."""
    size = click.option("--input-size", metavar="SIZE", help="224, 224,320 or 3,224,320; else the model's own.")
    return picture_options(size(command))


def picture_options(command: Command) -> Command:
    """As :func:`preprocessing_options`, for commands with an option for the input size already."""
    for option in reversed(
        (
            click.option(
                "--preprocessing",
                type=click.Choice(WAYS),
                default="model",
                show_default=True,
                help="The model's own; the papers' (divided by 255, whole picture); ImageNet's mean and deviation.",
            ),
            click.option("--resize", type=click.Choice(RESIZES), help="nearest repeats pixels, as the papers do."),
            click.option(
                "--crop", type=float, metavar="SHARE", help="Share of the side that is kept; 1 crops nothing."
            ),
        )
    ):
        command = option(command)
    return command


def adjusted(own: Preprocessing, way: str, resize: str | None, crop: float | None, size: str | None) -> Preprocessing:
    """``own`` with what the options ask for. Raises :class:`kswap.errors.ModelError` for a value out of its range."""
    made = {"model": lambda: own, "papers": own.papers, "imagenet": own.imagenet}[way]()
    changes: dict[str, Any] = {}
    if resize is not None:
        changes["resize"] = resize
    if crop is not None:
        changes["crop"] = crop
    sides = parse_size(size)
    if sides is not None:
        changes["input_size"] = sides if len(sides) == 3 else (own.input_size[0], *sides)
    if not changes:
        return made
    return replace(made, **changes, origin=f"{made.origin}, changed by options")
