"""``kswap export --quantize int8``: the options for it, and what it does once the model is ready."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kswap.cli.pictures import adjusted, data_dir_option, evaluation_options, picture_options
from kswap.errors import KswapError

if TYPE_CHECKING:
    from torch import nn

    from kswap.converted import Conversion
    from kswap.data.picture_set import LabelledPictures, PictureSet
    from kswap.data.preprocessing import Preprocessing
    from kswap.quantization.result import QuantizedExport

Command = TypeVar("Command", bound=Callable[..., Any])

# Steps of an export in int8, as kswap.progress.step names them.
STEPS = 7


def quantize_options(command: Command) -> Command:
    """How to quantise, and the pictures for it; they go on to :func:`export_quantized` by their names."""
    for option in reversed(
        (
            click.option("--quantize", type=click.Choice(("int8",)), help="Weights and activations of 8 bits."),
            click.option(
                "--calibrate",
                multiple=True,
                metavar="DATA",
                help="Pictures that the ranges of int8 are taken from: as --data of `kswap evaluate`, labels not "
                "needed. May be repeated.",
            ),
            click.option("--split", metavar="NAME", help="Folder of these to calibrate on; else train, or all."),
            click.option(
                "--calibration-images",
                type=click.IntRange(min=1),
                default=256,
                show_default=True,
                metavar="N",
                help="How many of them, evenly over all.",
            ),
            evaluation_options("those of --calibrate"),
            data_dir_option,
        )
    ):
        command = option(command)
    return picture_options(command)


def check_quantize_options(quantize: str | None, half: bool, options: dict[str, Any]) -> None:
    """Refuse options that contradict each other or would do nothing."""
    if quantize and half:
        raise click.UsageError("--half and --quantize both say how numbers are stored: leave one out")
    if quantize and not options["calibrate"]:
        raise click.UsageError("--quantize needs pictures to take its ranges from: pass --calibrate DATA")
    context = click.get_current_context()
    for name in options:
        stated = context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        if stated and not quantize:
            raise click.UsageError(f"--{name.replace('_', '-')} is for int8: pass --quantize int8, or leave it out")


@dataclass(frozen=True)
class Int8Pictures:
    """The pictures of an export in int8: those of the calibration, those asked for to measure accuracy, and how both
    become inputs."""

    calibration: PictureSet
    labelled: LabelledPictures | None
    preprocessing: Preprocessing


def open_pictures(
    directory: str, conversion: Conversion, input_size: str | None, options: dict[str, Any]
) -> Int8Pictures:
    """What the options name, prepared as when DIR was trained, changed by what the options ask for."""
    from kswap.analysis.loaded_model import load_model
    from kswap.analysis.preparation import trained_with
    from kswap.data.opening import image_set, picture_set

    own = trained_with(Path(directory)) or load_model(conversion).preprocessing
    place, labelled = options["data_dir"], None
    if options["eval_data"] is not None:
        labelled = image_set(options["eval_data"], options["eval_split"], place)
    return Int8Pictures(
        picture_set(options["calibrate"], options["split"], place),
        labelled,
        adjusted(own, options["preprocessing"], options["resize"], options["crop"], input_size),
    )


def export_quantized(
    directory: str, model: nn.Module, pictures: Int8Pictures, options: dict[str, Any], **given: Any
) -> QuantizedExport:
    """Write ``model``, which comes from DIR, as an int8 file; ``given`` are further arguments of ``export_int8``."""
    from kswap.graph.random_state import preserved_random_state
    from kswap.loading import original_of
    from kswap.progress import steps
    from kswap.quantization.int8 import export_int8, held_out

    prepared = pictures.preprocessing
    click.echo(f"pictures: {prepared}", err=True)
    measured = held_out(model, prepared, pictures.calibration, pictures.labelled, options["eval_split"])
    original: nn.Module | str
    try:
        with preserved_random_state(0):  # what the directory has no weights for is drawn, the same in each run
            original = original_of(directory)[1].eval()
    except KswapError as error:
        original = str(error)
    with steps("int8", STEPS):
        return export_int8(
            model,
            pictures=pictures.calibration,
            preprocessing=prepared,
            measured_on=measured,
            original=original,
            images=options["calibration_images"],
            eval_limit=options["eval_limit"],
            **given,
        )
