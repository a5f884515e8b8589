"""Options that several commands share, and what they mean."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kswap.planner.kinds import BLOCK_KINDS
from kswap.planner.schemes import SCHEMES

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

Command = TypeVar("Command", bound=Callable[..., Any])

scheme_option = click.option(
    "--scheme",
    type=click.Choice(list(SCHEMES)),
    default="v2",
    show_default=True,
    help="How groups are chosen.",
)


def model_options(command: Command) -> Command:
    """MODEL and all that says how to build and plan it."""
    for option in reversed(
        (
            click.argument("model"),
            click.option("--ch", type=click.IntRange(min=1), default=16, show_default=True, help="Channels per group."),
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
            click.option(
                "--model-kwarg",
                "model_kwargs",
                multiple=True,
                metavar="KEY=VALUE",
                help="For the model's builder, such as drop_path_rate=0.2; may be repeated.",
            ),
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
            raise click.BadParameter(f"'{pair}' is not KEY=VALUE", param_hint="--model-kwarg")
        try:
            arguments[key] = json.loads(value)
        except ValueError:
            arguments[key] = {"True": True, "False": False, "None": None}.get(value, value)
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
    parts = text.replace("x", ",").split(",")
    if not all(part.strip().isdigit() and int(part) > 0 for part in parts) or len(parts) > 3:
        raise click.BadParameter(f"'{text}' is not a size: write 224, 224,320 or 3,224,320", param_hint="--input-size")
    numbers = tuple(int(part) for part in parts)
    return numbers * 2 if len(numbers) == 1 else numbers


def check_settings_against_rules(ctx: click.Context, rules: str | None, scheme: str) -> None:
    """Refuse ``--scheme``, ``--ch``, ``--kind`` and ``--rank`` that the head of the rule file overrides."""
    if rules is None:
        return
    from kswap.rules import load_rules

    defaults = load_rules(rules, scheme=scheme).defaults
    for name in ("scheme", "ch", "kind", "rank"):
        given = ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        asked, stated = ctx.params[name], getattr(defaults, name)
        if given and stated is not None and stated != asked:
            message = f"--{name} {asked} contradicts the rules {rules}, which set {name} = {stated}; leave one out"
            raise click.UsageError(message, ctx)


def console() -> Console:
    """Where reports go."""
    from rich.console import Console

    return Console(highlight=False)


def status(text: str) -> Status:
    """A spinner on standard error while something takes a moment; silent where that is no terminal."""
    from rich.console import Console

    return Console(stderr=True).status(text)
