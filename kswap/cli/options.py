"""Options that several commands share, and what they mean."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kswap.errors import PlanError, excerpt
from kswap.planner.alignment import MOST_LANES
from kswap.planner.input_size import check_input_size
from kswap.planner.kinds import BLOCK_KINDS
from kswap.planner.schemes import SCHEMES
from kswap.planner.site_plan import PLACEMENTS

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

Command = TypeVar("Command", bound=Callable[..., Any])

# Arguments of kswap.convert and kswap.plan, which a builder's arguments stand beside.
_OWN_ARGUMENTS = {
    "model",
    "ch",
    "scheme",
    "rules",
    "plan",
    "example_input",
    "device",
    "seed",
    "pretrained",
    "input_size",
    "skip_strides",
    "linear",
    "optimizer",
    "kind",
    "rank",
    "init",
    "calibration",
    "images",
    "placement",
    "progress",
    "weights",
    "narrow",
    "budget",
    "ch_fraction",
    "align",
}

scheme_option = click.option(
    "--scheme",
    type=click.Choice(list(SCHEMES)),
    default="v2",
    show_default=True,
    help="How groups are chosen.",
)

weights_option = click.option(
    "--weights",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Trained weights of your own: safetensors, or a state dict of torch.save.",
)

align_option = click.option(
    "--align",
    type=click.IntRange(min=2, max=MOST_LANES),
    metavar="N",
    help="Channels and filters of groups in multiples of N, where they allow it: 16 suits ONNX Runtime.",
)


# Of one model or of several.
building_options = (
    click.option("--num-classes", type=click.IntRange(min=0), help="Classes of the classifier."),
    click.option("--rules", metavar="PRESET|FILE", help="Which sites, and how: see `kswap rules`."),
    click.option("--linear", is_flag=True, help="Linear layers too: the same map on the last dimension."),
    click.option("--input-size", metavar="SIZE", help="224, 224,320 or 3,224,320; else the model's own."),
    click.option(
        "--skip-strides",
        type=click.IntRange(min=0),
        default=0,
        metavar="N",
        help="Stride 1 in the first N strided stages, for small images.",
    ),
)

model_kwarg_option = click.option(
    "--model-kwarg",
    "model_kwargs",
    multiple=True,
    metavar="KEY=VALUE",
    help="For the model's builder, such as drop_path_rate=0.2; may be repeated.",
)


def model_options(command: Command) -> Command:
    """MODEL and all that says how to build and plan it."""
    for option in reversed(
        (
            click.argument("model"),
            click.option("--ch", type=click.IntRange(min=1), default=16, show_default=True, help="Channels per group."),
            click.option(
                "--ch-fraction",
                type=click.FloatRange(0, 1, min_open=True, max_open=True),
                metavar="SHARE",
                help="Instead of --ch: this share of each layer's input channels.",
            ),
            scheme_option,
            click.option(
                "--kind",
                type=click.Choice(list(BLOCK_KINDS)),
                default="grouped",
                show_default=True,
                help="What replaces a convolution.",
            ),
            click.option(
                "--rank",
                type=click.IntRange(min=1),
                metavar="N",
                help="Rank of low-rank blocks; without it, about the weights of grouped blocks.",
            ),
            align_option,
            click.option(
                "--init",
                default="fresh",
                show_default=True,
                metavar="fresh|project",
                help="Weights of the blocks: drawn, or fitted to the trained layers.",
            ),
            click.option(
                "--placement",
                type=click.Choice(PLACEMENTS),
                help="Norm and activation inside the block, or after it; else as --init needs it.",
            ),
            *building_options,
            click.option(
                "--narrow",
                type=click.FloatRange(0, 1, min_open=True, max_open=True),
                metavar="SHARE",
                help="First leave this share of the channels between expansions and projections, in multiples of 8.",
            ),
            model_kwarg_option,
        )
    ):
        command = option(command)
    return command


def builder_arguments(pairs: tuple[str, ...], num_classes: int | None) -> dict[str, Any]:
    """Keyword arguments for the builder: values are JSON where they can be, else text.

    >>> builder_arguments(("drop_path_rate=0.2", "act_layer=relu"), 10)
    {'drop_path_rate': 0.2, 'act_layer': 'relu', 'num_classes': 10}
    """
    arguments: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise click.BadParameter(f"'{excerpt(pair)}' is not KEY=VALUE", param_hint="--model-kwarg")
        if key in _OWN_ARGUMENTS:
            message = f"{key} is kswap's own: there is an option for it, and the builder cannot be given it"
            raise click.BadParameter(message, param_hint="--model-kwarg")
        try:
            arguments[key] = json.loads(value)
        except ValueError:
            arguments[key] = {"True": True, "False": False, "None": None}.get(value, value)
        except RecursionError:
            raise click.BadParameter(
                f"the value of {excerpt(key)} is nested too deeply", param_hint="--model-kwarg"
            ) from None
    if num_classes is not None:
        arguments["num_classes"] = num_classes
    return arguments


def parse_size(text: str | None) -> tuple[int, ...] | None:
    """One, two or three numbers as (height, width) or (channels, height, width).

    >>> parse_size("224"), parse_size("1,28,28"), parse_size(None)
    ((224, 224), (1, 28, 28), None)
    """
    if text is None:
        return None
    parts = [part.strip() for part in text.replace("x", ",").split(",")]
    # isdecimal() takes digits of all scripts; nine digits are more than any input has.
    if len(parts) > 3 or not all(part.isascii() and part.isdecimal() and len(part) <= 9 for part in parts):
        message = f"'{excerpt(text)}' is not a size: write 224, 224,320 or 3,224,320"
        raise click.BadParameter(message, param_hint="--input-size")
    numbers = [int(part) for part in parts]
    return check_input_size(numbers * 2 if len(numbers) == 1 else numbers, "--input-size", PlanError)


def check_settings_against_rules(ctx: click.Context, rules: str | None, scheme: str) -> None:
    """Refuse ``--scheme``, ``--ch``, ``--kind``, ``--rank`` and ``--align`` that the head of the rule file overrides.

    And a ``--ch`` beside ``--ch-fraction``.
    """
    stated = ctx.get_parameter_source("ch") is click.core.ParameterSource.COMMANDLINE
    if stated and ctx.params.get("ch_fraction") is not None:
        raise click.UsageError("--ch and --ch-fraction both say how many channels a group has: leave one out", ctx)
    if rules is None:
        return
    from kswap.rules import load_rules

    defaults = load_rules(rules, scheme=scheme).defaults
    for name in ("scheme", "ch", "kind", "rank", "align"):
        given = ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        asked, stated = ctx.params[name], getattr(defaults, name)
        if given and stated is not None and stated != asked:
            message = f"--{name} {asked} contradicts the rules {rules}, which set {name} = {stated}; leave one out"
            raise click.UsageError(message, ctx)


def console() -> Console:
    """Where reports go."""
    from rich.console import Console

    return Console(highlight=False)


# Steps of a conversion, of a plan and of loading, as kswap.progress.step names them, with the import of torch.
CONVERT_STEPS, PLAN_STEPS, LOAD_STEPS = 8, 5, 4


@contextmanager
def working(label: str, count: int) -> Iterator[None]:
    """A bar over ``count`` steps on standard error, where that is a terminal; the first is the import of torch."""
    from kswap.progress import step, steps

    with steps(label, count):
        step("loading torch")
        yield


def status(text: str) -> Status:
    """A spinner on standard error while something takes a moment; silent where that is no terminal."""
    from rich.console import Console

    return Console(stderr=True).status(text)
