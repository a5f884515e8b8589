"""``kswap bench``: original and rewritten model side by side, in time, memory and bytes."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import click

from kswap.benchmarks.request import OPTION, BenchmarkRequest, Option
from kswap.cli.formats import format_option, show
from kswap.cli.lists import Belongs, ListCommand, is_number, is_one_of, typed
from kswap.cli.options import parse_size
from kswap.cli.pictures import device_option, trust_option
from kswap.errors import DeployError

Command = TypeVar("Command", bound=Callable[..., Any])

_FIELDS = {field.name: field for field in dataclasses.fields(BenchmarkRequest) if OPTION in field.metadata}
_TYPES = typing.get_type_hints(BenchmarkRequest)


def _option_of(name: str) -> Option:
    found: Option = _FIELDS[name].metadata[OPTION]
    return found


def _is_list(name: str) -> bool:
    return typing.get_origin(_TYPES[name]) is tuple


_TARGETS = _option_of("targets").choices


class _Lists(ListCommand):
    """Options that take every number or target that follows."""

    lists: ClassVar[Mapping[str, Belongs]] = {
        _option_of(name).flag: is_one_of(_TARGETS) if name == "targets" else is_number
        for name in _FIELDS
        if _is_list(name)
    }


def _request_options(command: Command) -> Command:
    """An option for each field of :class:`BenchmarkRequest` that says how it is asked for."""
    for name in reversed(_FIELDS):
        command = click.option(_option_of(name).flag, name, **_settings(name))(command)
    return command


def _settings(name: str) -> dict[str, Any]:
    """What click has to know of the option of a field. Lists have no default here: the request has it."""
    option, default, kind = _option_of(name), _FIELDS[name].default, _TYPES[name]
    known: dict[str, Any] = {"help": option.help, "metavar": option.metavar}
    if option.default_text is not None:
        known["help"] += f"  [default: {option.default_text}]"
    if kind is bool:
        return {"help": option.help, "is_flag": True, "flag_value": not default, "default": default}
    if option.choices:
        known["type"] = click.Choice(option.choices)
    elif kind is float:
        known["type"] = click.FloatRange(min=0, min_open=True)
    elif name == "input_size":
        known["callback"] = lambda _context, _parameter, text: parse_size(text)
    else:
        known["type"] = click.IntRange(min=option.least)
    if _is_list(name):
        return known | {"multiple": True}
    return known | ({"default": default, "show_default": True} if default is not None else {})


@click.command(cls=_Lists)
@click.argument("models", metavar="MODEL_OR_DIR...", nargs=-1, required=True)
@_request_options
@device_option
@format_option("benchmark")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.json", help="Write the numbers there too."
)
@trust_option
@click.pass_context
def bench(ctx: click.Context, /, format_: str, out: Path | None, **options: Any) -> None:
    """Time models against their originals, both optimised alike.

    Each MODEL (as for convert) with each --ch, and each DIR that kswap saved, at each --batch in each of --targets.
    Both sides run in turns in one process, and so does a second copy of the original: what the copies differ by is
    noise, and a difference that is no greater is called none. In eager mode the models are timed as converted too.

    \b
    kswap bench efficientnet_b0 --batch 1 16 --threads 1
    kswap bench resnet50 mobilenetv3_large_100 --ch 16 32 --targets eager onnxruntime --format md
    """
    if out is not None and not out.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no directory {out.parent} to write it into", param_hint="--out")
    given = {name: value for name, value in options.items() if value is not None and value != ()}
    if options["train"] and not options["targets"]:
        given["targets"] = ()
    from kswap.benchmarks.run import run_in_process

    found = run_in_process(BenchmarkRequest(**given, command=typed(ctx)))
    if out is not None:
        from kswap.files import write_text
        from kswap.report.renderers import text_of

        write_text(out, text_of(found, "json"), DeployError)
    show(found, format_)
