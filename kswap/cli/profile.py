"""``kswap profile``: how long each step of the road takes on this machine."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

import click

from kswap.cli.options import console

T = TypeVar("T")


@click.command()
@click.argument("model", default="efficientnet_b7")
@click.option("--ch", type=click.IntRange(min=1), default=16, show_default=True)
@click.option("--format", "format_", type=click.Choice(["rich", "json"]), default="rich", show_default=True)
def profile(model: str, ch: int, format_: str) -> None:
    """Time each step of the road on this machine.

    Help, imports, building, planning and rewriting of MODEL (a timm name), once each.
    """
    from kswap.cli.options import status

    with status(f"timing {model}"):
        seconds = _measure(model, ch)
    if format_ == "json":
        click.echo(json.dumps({key: round(value, 4) for key, value in seconds.items()}, indent=1))
        return
    from rich.table import Table

    table = Table("step", "seconds", box=None, pad_edge=False)
    table.columns[1].justify = "right"
    for step, value in seconds.items():
        table.add_row(step, f"{value:.3f}")
    console().print(table)


def _timed(seconds: dict[str, float], step: str, action: Callable[[], T]) -> T:
    start = time.perf_counter()
    result = action()
    seconds[step] = time.perf_counter() - start
    return result


def _measure(name: str, ch: int) -> dict[str, float]:
    """Seconds a step. Planning and rewriting are on a model that is built already."""
    seconds: dict[str, float] = {}
    help_command = [sys.executable, "-c", "from kswap.cli.main import main; main(['--help'])"]
    _timed(seconds, "kswap --help (a process of its own)", lambda: subprocess.run(help_command, capture_output=True))

    def import_all() -> Any:
        import timm

        import kswap.conversion

        return timm, kswap.conversion

    _timed(seconds, "import torch, timm, kswap", import_all)
    import kswap
    from kswap.graph.initialisers import FRESH
    from kswap.graph.splice import splice_
    from kswap.sources.builders import build
    from kswap.sources.source import parse_source

    source = parse_source(name)
    empty = _timed(seconds, "build without weights (meta device)", lambda: build(source, meta=True))
    _timed(seconds, "plan on the meta device", lambda: kswap.plan(empty, ch=ch))
    model = _timed(seconds, "build with weights", lambda: build(source))
    plan = _timed(seconds, "plan", lambda: kswap.plan(model, ch=ch))

    def rewrite() -> None:
        for done in splice_(model, plan):
            FRESH.initialise(done)

    _timed(seconds, "rewrite (splice and initialise)", rewrite)
    seconds["plan and rewrite together"] = seconds["plan"] + seconds["rewrite (splice and initialise)"]
    return seconds
