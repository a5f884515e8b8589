"""How long each step from a model's name to its conversion takes on this machine."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from rich.console import Console
from rich.text import Text

from kswap.isolation import isolated_python
from kswap.report.glyphs import Glyphs
from kswap.report.paragraph import print_text
from kswap.report.table import column, print_columns

T = TypeVar("T")


@dataclass(frozen=True)
class Profile:
    """Seconds of each step for ``model`` at ``ch`` channels per group, each measured once."""

    model: str
    ch: int
    seconds: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        seconds = {step: round(value, 4) for step, value in self.seconds.items()}
        return {"model": self.model, "ch": self.ch, "seconds": seconds}


def profile(name: str, ch: int) -> Profile:
    """Time help, imports, building, planning and converting of a model, in this order.

    ``"convert"`` is :func:`kswap.convert` on a model that is built: copy, trace, plan, splice, initialise, and one
    run to check the output shapes. Raises :class:`kswap.errors.KswapError` subclasses.
    """
    seconds: dict[str, float] = {}

    def timed(step: str, action: Callable[[], T]) -> T:
        start = time.perf_counter()
        result = action()
        seconds[step] = time.perf_counter() - start
        return result

    help_command = isolated_python("from kswap.cli.main import main; main(['--help'])")
    timed("kswap --help, in a process of its own", lambda: subprocess.run(help_command, capture_output=True))
    timed("import torch, timm, kswap", _import_all)

    from kswap import conversion
    from kswap.sources.builders import build
    from kswap.sources.source import parse_source

    source = parse_source(name)
    empty = timed("build without weights (meta device)", lambda: build(source, meta=True))
    timed("plan on the meta device", lambda: conversion.plan(empty, ch=ch))
    model = timed("build with weights", lambda: build(source))
    timed("plan", lambda: conversion.plan(model, ch=ch))
    timed("convert", lambda: conversion.convert(model, ch=ch, device="cpu"))
    return Profile(source.title, ch, seconds)


def _import_all() -> None:
    import timm  # noqa: F401

    import kswap.conversion  # noqa: F401


def render_terminal(profile: Profile, console: Console) -> None:
    """Print a row per step."""
    glyphs = Glyphs.of(console)
    print_text(console, Text.assemble((glyphs.clean(profile.model), "bold"), f"  Ch={profile.ch}"))
    print_columns(
        console,
        glyphs,
        [
            column("step", list(profile.seconds)),
            column("seconds", [f"{value:.3f}" for value in profile.seconds.values()], "right"),
        ],
    )
