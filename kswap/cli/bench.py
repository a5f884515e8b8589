"""``kswap bench``: original and rewritten model side by side, in time, memory and bytes."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterable
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kswap.cli.options import console, parse_size
from kswap.cli.pictures import device_option, trust_option
from kswap.errors import DeployError, nearest
from kswap.runtimes.targets import TARGETS

if TYPE_CHECKING:
    from rich.console import Console, JustifyMethod
    from rich.table import Table

    from kswap.benchmarks.result import Benchmark, Row
    from kswap.report.glyphs import Glyphs

_CHOICES = (*TARGETS, "all")

_LISTS = ("--batch", "--ch", "--targets")
_COMMAND = "kswap.bench.command"
_COLOURS = {"faster": "bold green", "slower": "bold red", "no difference": "yellow", "too few rounds": "yellow"}


def _belongs(option: str, word: str) -> bool:
    """Whether ``word`` goes on with the list of ``option``: a number, or the name of a target."""
    if option != "--targets":
        return re.fullmatch(r"[\d.,]+", word) is not None
    parts = word.split(",")
    if all(part in _CHOICES for part in parts):
        return True
    # A misspelt target is not the name of a model.
    return bool(nearest(word, _CHOICES, 1)) and not re.search(r"[/._]", word)


def spread_lists(arguments: Iterable[str]) -> list[str]:
    """``--batch 1 16`` and ``--batch 1,16`` as ``--batch 1 --batch 16``, and the same for ``--ch`` and ``--targets``.

    >>> spread_lists(["--batch", "1", "16", "resnet50", "--targets", "eager,cuda"])
    ['--batch', '1', '--batch', '16', 'resnet50', '--targets', 'eager', '--targets', 'cuda']
    """
    words = list(arguments)
    made: list[str] = []
    while words:
        word = words.pop(0)
        option, equals, value = word.partition("=")
        if word == "--":
            return [*made, word, *words]
        if option not in _LISTS:
            made.append(word)
            continue
        values = [value] if equals else [words.pop(0)] if words else []
        if not values:
            made.append(option)  # click says what is missing
        while words and not words[0].startswith("-") and _belongs(option, words[0]):
            values.append(words.pop(0))
        for part in (part for text in values for part in text.split(",")):
            made += [option, part]
    return made


class _Lists(click.Command):
    """Options that take every number or target that follows, and a note of the command as it was typed."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_COMMAND] = shlex.join(["kswap", "bench", *args])
        return super().parse_args(ctx, spread_lists(args))


@click.command(cls=_Lists)
@click.argument("models", metavar="MODEL_OR_DIR...", nargs=-1, required=True)
@click.option(
    "--ch",
    type=click.IntRange(min=1),
    multiple=True,
    default=(16,),
    metavar="N...",
    help="Channels per group.  [default: 16]",
)
@click.option("--scheme", type=click.Choice(["v1", "v2"]), default="v2", show_default=True)
@click.option("--num-classes", type=click.IntRange(min=0), help="Classes of the classifier.")
@click.option("--input-size", metavar="SIZE", help="224, 224,320 or 3,224,320; else the model's own.")
@click.option(
    "--batch",
    "batches",
    type=click.IntRange(min=1),
    multiple=True,
    default=(1,),
    metavar="N...",
    help="Samples a pass.  [default: 1]",
)
@click.option(
    "--targets",
    type=click.Choice(_CHOICES),
    multiple=True,
    metavar="NAME...",
    help=f"{', '.join(TARGETS)}, or all that are installed.  [default: eager]",
)
@click.option(
    "--slice",
    "slice_",
    type=click.IntRange(min=1),
    metavar="N",
    help="Time larger batches also in slices of N samples, whose activations stay in cache.",
)
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="For one pass; else what the runtime takes.")
@device_option
@click.option("--train", is_flag=True, help="Training steps in eager mode; passes too only where --targets is given.")
@click.option("--rounds", type=click.IntRange(min=1), metavar="N", help="So many, instead of a time.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    help="For one comparison; 15 to 60 rounds are made.",
)
@click.option("--no-memory", is_flag=True, help="Leave out the peaks of memory: each takes a process of its own.")
@click.option("--no-autotune", is_flag=True, help="Estimate the form of each layer instead of measuring it.")
@click.option("--format", "format_", type=click.Choice(["rich", "json", "md"]), default="rich", show_default=True)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.json", help="Write the numbers there too."
)
@trust_option
@click.pass_context
def bench(
    ctx: click.Context,
    models: tuple[str, ...],
    ch: tuple[int, ...],
    scheme: str,
    num_classes: int | None,
    input_size: str | None,
    batches: tuple[int, ...],
    targets: tuple[str, ...],
    slice_: int | None,
    threads: int | None,
    device: str,
    train: bool,
    rounds: int | None,
    seconds: float,
    no_memory: bool,
    no_autotune: bool,
    format_: str,
    out: Path | None,
    trust_source: bool,
) -> None:
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
    from kswap.benchmarks.run import Request, measured_apart

    found = measured_apart(
        Request(
            models=models,
            ch=tuple(dict.fromkeys(ch)),
            scheme=scheme,
            batches=tuple(dict.fromkeys(batches)),
            targets=targets or (() if train else ("eager",)),
            slice=slice_,
            threads=threads,
            device=device,
            train=train,
            rounds=rounds,
            seconds=seconds,
            num_classes=num_classes,
            input_size=parse_size(input_size),
            memory=not no_memory,
            autotune=not no_autotune,
            trust_source=trust_source,
            command=ctx.meta[_COMMAND],
        )
    )
    text = json.dumps(found.to_json(), indent=1)
    if out is not None:
        _write(out, text)
    if format_ == "json":
        click.echo(text)
    elif format_ == "md":
        from kswap.benchmarks.markdown import render_markdown

        click.echo(render_markdown(found), nl=False)
    else:
        show(found, console())


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise DeployError(f"{path} cannot be written: {error.strerror}; choose another --out") from error


def show(found: Benchmark, out: Console) -> None:
    """A table for each model and ``ch``, and below them what a reader has to know."""
    from rich.text import Text

    from kswap.report.glyphs import Glyphs

    glyphs = Glyphs.of(out)
    if not out.is_terminal:
        out.width = max(out.width, 200)  # nobody wraps a log
    for _, group in groupby(found.rows, lambda row: (row.model, row.ch, row.scheme)):
        rows = list(group)
        _print_head(rows[0], out, glyphs)
        out.print(_fitting(rows, out, glyphs))
        out.print()
    machine = found.machine
    lines = (*found.remarks(), machine.hardware(), machine.software(), machine.date, found.command)
    for line in filter(None, lines):
        out.print(Text(f"{glyphs.bullet} {glyphs.clean(line)}", "dim"), soft_wrap=not out.is_terminal)


def _print_head(row: Row, out: Console, glyphs: Glyphs) -> None:
    from rich.text import Text

    size = glyphs.times.join(str(n) for n in row.input_size)
    counts = (
        f"parameters {row.params.original:,} {glyphs.arrow} {row.params.converted:,}",
        f"MACs {row.macs_original / 1e6:,.0f} M {glyphs.arrow} {row.macs_converted / 1e6:,.0f} M",
    )
    title = Text.assemble((glyphs.clean(row.model), "bold"), f"  Ch={row.ch} {row.scheme} {size}")
    out.print(title, overflow="fold")
    out.print(Text(f" {glyphs.dot} ".join(counts), "dim"), overflow="fold")


def _fitting(rows: list[Row], out: Console, glyphs: Glyphs) -> Table:
    """The table with as many columns as the console has room for; the last ones go first."""
    from rich.text import Text

    from kswap.benchmarks import markdown as cells

    columns: list[tuple[str, JustifyMethod, Callable[[Row], Any]]] = [
        ("ratio", "right", lambda row: Text(cells.ratio(row.comparison), "bold")),
        ("95%", "right", lambda row: cells.interval(row.comparison, glyphs.dash)),
        ("verdict", "left", lambda row: Text(row.comparison.verdict, _COLOURS[row.comparison.verdict])),
        ("target", "left", lambda row: row.setting),
        ("batch", "right", lambda row: str(row.batch)),
        ("original, ms", "right", lambda row: cells.spread(row.seconds_original, glyphs.dash)),
        ("rewritten, ms", "right", lambda row: cells.spread(row.seconds_rewritten, glyphs.dash)),
        ("memory, MiB", "right", lambda row: cells.memory(row, glyphs.arrow)),
        ("weights, MB", "right", lambda row: cells.weights(row, glyphs.arrow)),
        ("parameters stored", "right", lambda row: f"{row.params.stored:,}"),
    ]
    if all(row.memory_original is None for row in rows):
        columns = [column for column in columns if column[0] != "memory, MiB"]
    while True:
        table = glyphs.table()
        for head, justify, _ in columns:
            table.add_column(head, justify=justify, no_wrap=True)
        for row in rows:
            table.add_row(*(cell(row) for _, _, cell in columns))
        if len(columns) <= 4 or out.measure(table, options=out.options.update(width=1000)).maximum <= out.width:
            return table
        columns.pop()
