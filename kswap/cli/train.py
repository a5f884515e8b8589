"""``kswap train``: a network learns from labelled pictures, converted or left as it is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kswap.cli.formats import format_option, show
from kswap.cli.options import (
    CONVERT_STEPS,
    LOAD_STEPS,
    builder_arguments,
    check_settings_against_rules,
    model_options,
    parse_size,
    weights_option,
    working,
)
from kswap.cli.pictures import adjusted, data_options, device_option, picture_options, trust_option

if TYPE_CHECKING:
    from kswap.converted import Conversion
    from kswap.data.preprocessing import Preprocessing

Command = TypeVar("Command", bound=Callable[..., Any])

# Options that say how a MODEL is converted, by the names of their arguments.
_CONVERSION = (
    "ch",
    "ch_fraction",
    "align",
    "scheme",
    "kind",
    "rank",
    "init",
    "placement",
    "rules",
    "linear",
    "narrow",
)
# Options that say how it is built, converted or not.
_BUILDING = ("num_classes", "input_size", "skip_strides", "model_kwargs", "pretrained", "weights")


def _recipe_options(command: Command) -> Command:
    """How to train, and on what accuracy is measured."""
    for option in reversed(
        (
            click.option(
                "--recipe",
                default="quick",
                show_default=True,
                metavar="NAME|FILE",
                help="How to train: quick, modern, papers, papers-2021, papers-180-epochs, papers-histology, "
                "papers-leaves, or a TOML file.",
            ),
            click.option("--epochs", type=float, metavar="N", help="Passes over the training pictures."),
            click.option("--batch", type=click.IntRange(min=1), metavar="N", help="Images per step, of all processes."),
            click.option("--lr", type=float, metavar="X", help="Learning rate, instead of the recipe's."),
            click.option(
                "--keep",
                type=click.Choice(("last", "best")),
                help="The weights of the end, or the best on the validation pictures; else as the recipe says.",
            ),
            click.option("--split", metavar="NAME", help="The split to train on; else train, where there are several."),
            click.option(
                "--eval-data",
                metavar="DATA",
                help="Validation pictures; else the split val, or pictures held out from training.",
            ),
            click.option("--eval-split", metavar="NAME", help="Which split of these."),
            click.option("--test-data", metavar="DATA", help="Pictures to measure at the end; else the split test."),
            click.option("--test-split", metavar="NAME", help="Which split of these."),
            click.option("--seed", type=int, default=0, show_default=True, help="Makes the run reproducible."),
            click.option(
                "--amp",
                type=click.Choice(("off", "bf16", "fp16")),
                default="off",
                show_default=True,
                help="Mixed precision.",
            ),
            click.option(
                "--workers",
                type=click.IntRange(min=0),
                default=0,
                show_default=True,
                metavar="N",
                help="Processes that read pictures ahead.",
            ),
            click.option("--restart", is_flag=True, help="Start an unfinished run anew, instead of continuing it."),
        )
    ):
        command = option(command)
    return command


@click.command()
@model_options
@click.option("--convert/--no-convert", default=True, help="Convert MODEL first, or train it as it is: a baseline.")
@click.option("--pretrained", is_flag=True, help="Start from published weights.")
@weights_option
@data_options
@_recipe_options
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="The result; else MODEL-trained.")
@click.option("--force", is_flag=True, help="Overwrite a directory that kswap saved before.")
@picture_options
@device_option
@format_option("training")
@trust_option
@click.pass_context
def train(ctx: click.Context, /, **options: Any) -> None:
    """Train MODEL on labelled pictures: converted, as for convert, or as it is.

    MODEL is a name as for convert, or a directory that kswap saved, which is trained further. The classes of a name
    are those of the pictures, unless --num-classes says otherwise; --init project fits on the training pictures.

    A run that was stopped, in whatever way, continues when the command is called again. Until it is done, OUT.training
    holds its state. The result holds the weights, the learning curve (training.png, training.json) and reports.

    \b
    kswap train efficientnet_b0 --ch 16 --data photos --out small
    kswap train efficientnet_b0 --no-convert --data photos --out baseline
    kswap train small --data torchvision:CIFAR10 --recipe modern --epochs 20 --amp bf16
    torchrun --nproc-per-node 2 --no-python kswap train small --data photos --workers 4
    """
    from kswap.malloc import keep_freed_memory

    keep_freed_memory()
    stated = {name for name in (*_CONVERSION, *_BUILDING) if _is_stated(ctx, name)}
    name, directory = options["model"], Path(options["model"]).is_dir()
    _check(ctx, stated, directory, options["convert"])
    target = options["out"] or Path(f"{str(name).rstrip('/').replace('/', '-') if not directory else name}-trained")
    drawn = directory or options["init"] == "fresh"  # fits draw a bar of their own
    with working(f"loading {name}", LOAD_STEPS if directory else CONVERT_STEPS) if drawn else nullcontext():
        import kswap
        from kswap.training.processes import is_first_process

        model = name if directory else _built(options)
        prepared = _preprocessing(ctx, model, options)
    done = kswap.train(
        model,
        options["data"],
        **{key: options[key] for key in ("recipe", "epochs", "batch", "lr", "keep", "split", "force", "data_dir")},
        **{key: options[key] for key in ("eval_data", "eval_split", "test_data", "test_split", "seed", "amp")},
        out=target,
        resume=not options["restart"],
        device=options["device"],
        workers=options["workers"],
        preprocessing=prepared,
        trust_source=options["trust_source"],
    )
    if is_first_process():
        show(done, options["format_"])
        click.echo(f"saved in {target}: load it with kswap.load({str(target)!r})", err=True)


def _is_stated(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def _option(name: str) -> str:
    return {"model_kwargs": "--model-kwarg"}.get(name, f"--{name.replace('_', '-')}")


def _check(ctx: click.Context, stated: set[str], directory: bool, convert: bool) -> None:
    """Refuse options that say something about a conversion that is not done."""
    refused = stated if directory else stated & set(_CONVERSION) if not convert else set()
    listed = ", ".join(sorted(map(_option, refused)))
    if directory and (refused or not convert):
        listed = listed or "--no-convert"
        raise click.UsageError(f"MODEL is a directory, which is trained as it was saved: leave out {listed}", ctx)
    if refused:
        raise click.UsageError(f"--no-convert leaves the model as it is: leave out {listed}", ctx)
    if not directory:
        check_settings_against_rules(ctx, ctx.params["rules"], ctx.params["scheme"])


def _built(options: dict[str, Any]) -> Conversion:
    """MODEL by its name, with the classes of the pictures; the seed decides its fresh weights, too."""
    import kswap
    from kswap.training.baseline import unconverted
    from kswap.training.splits import training_pictures

    pictures = partial(training_pictures, options["data"], options["split"], options["data_dir"])
    arguments = builder_arguments(options["model_kwargs"], options["num_classes"])
    if options["num_classes"] is None and ":" not in options["model"]:  # a factory of the user's may know no classes
        arguments["num_classes"] = len(pictures().classes)
    arguments |= {"input_size": parse_size(options["input_size"]), "skip_strides": options["skip_strides"]}
    arguments |= {key: options[key] for key in ("device", "seed", "pretrained", "weights")}
    if not options["convert"]:
        return unconverted(options["model"], **arguments)
    if options["init"] != "fresh":
        arguments["calibration"] = pictures()
    return kswap.convert(options["model"], **{key: options[key] for key in _CONVERSION}, **arguments)


def _preprocessing(ctx: click.Context, model: Conversion | str, options: dict[str, Any]) -> Preprocessing | None:
    """What the options ask for; ``None`` where they leave it to the recipe."""
    from kswap.analysis.loaded_model import load_model

    if not any(_is_stated(ctx, name) for name in ("preprocessing", "resize", "crop")):
        return None
    own = load_model(model, options["device"], trust_source=options["trust_source"]).preprocessing
    return adjusted(own, options["preprocessing"], options["resize"], options["crop"], None)
