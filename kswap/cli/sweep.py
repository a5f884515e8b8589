"""``kswap sweep``: convert timm's models and record what became of each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from kswap.model_table.sweep_row import SweepRow


@click.command()
@click.argument("pattern", required=False)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    metavar="FILE.csv",
    help="One row per model, written as they are done.",
)
@click.option("--resume", is_flag=True, help="Continue FILE.csv: models with a row are skipped.")
@click.option("--again", is_flag=True, help="With --resume: models with faults are tried again.")
@click.option("--ch", type=click.IntRange(min=1), default=16, show_default=True, help="Channels per group.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Models at a time.")
@click.option("--seconds-per-model", type=click.FloatRange(1, 86_400), default=180, show_default=True)
@click.option("--memory", type=click.FloatRange(1, 65_536), default=6, show_default=True, help="GiB per job.")
@click.option("--minutes", type=click.FloatRange(min=0), help="Stop after this time; --resume continues.")
def sweep(
    pattern: str | None,
    out: Path,
    resume: bool,
    again: bool,
    ch: int,
    jobs: int,
    seconds_per_model: float,
    memory: float,
    minutes: float | None,
) -> None:
    """Convert timm's models and compare each with its original.

    All models with pointwise convolutions, or those that PATTERN matches (resnet*, or a part of the name),
    from small to large: forward, backward, save and load, features_only, and timm's methods. The largest are
    checked without weights. Exit status 1 when a model fails.

    \b
    kswap sweep "mobilenetv3*" --out sweep.csv
    kswap sweep --out sweep.csv --resume --minutes 60
    """
    import time

    from kswap.coverage.pool import sweep as rows_of
    from kswap.coverage.worker import Limits
    from kswap.model_table.sweep_row import append_row, read_rows
    from kswap.model_table.table import matching, read_table
    from kswap.progress import progress_bar

    table = {name: row for name, row in read_table().items() if row.pointwise_convolutions}
    names = sorted(matching(table, pattern), key=lambda name: table[name].params)
    done: dict[str, SweepRow] = {}
    if out.exists() and not resume:
        raise click.UsageError(f"{out} exists already: continue it with --resume, or choose another file")
    if out.exists():
        done = {name: row for name, row in read_rows(out, resuming=True).items() if row.passed or not again}
    left = [name for name in names if name not in done]
    limits = Limits(seconds_per_model, memory, _threads(jobs))
    rows = {name: done[name] for name in names if name in done}
    start = time.monotonic()
    with progress_bar("sweep", len(left)) as bar:
        for row in rows_of(left, ch, jobs, limits, bar.label):
            append_row(out, row)
            rows[row.model] = row
            bar.advance()
            if not row.passed:
                bar.log(f"{row.model}: {row.error or f'drop-in {row.drop_in}, features_only {row.features_only}'}")
            if minutes is not None and time.monotonic() - start > 60 * minutes:
                break
    failed = [row for row in rows.values() if not row.passed]
    click.echo(f"{len(rows)} of {len(names)} models in {out}, {len(failed)} with faults", err=True)
    if failed:
        raise click.exceptions.Exit(1)


def _threads(jobs: int) -> int:
    import os

    return max(1, (os.cpu_count() or 1) // (2 * jobs))
