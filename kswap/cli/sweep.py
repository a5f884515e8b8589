"""``kswap sweep``: convert timm's models, one after another, and write down what became of each."""

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
    help="One row a model, written as they come.",
)
@click.option("--resume", is_flag=True, help="Go on where FILE.csv ends: models with a row are left out.")
@click.option("--again", is_flag=True, help="With --resume: models with faults are tried again.")
@click.option("--ch", type=click.IntRange(min=1), default=16, show_default=True, help="Channels per group.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Models at a time.")
@click.option("--seconds-per-model", type=click.FloatRange(min=1), default=180, show_default=True)
@click.option("--memory", type=click.FloatRange(min=1), default=6, show_default=True, help="GiB for each job.")
@click.option("--minutes", type=click.FloatRange(min=0), help="Stop after so long; --resume goes on later.")
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
    """Convert timm's models and hold each against its original.

    All models with pointwise convolutions, or those that PATTERN means (resnet*, or a part of the name),
    from small to large: forward, backward, save and load, features_only, and timm's methods. The largest are
    checked without weights. Exit status 1 when a model fails.
    """
    from kswap.coverage.pool import Limits
    from kswap.coverage.pool import sweep as rows_of
    from kswap.model_table.sweep_row import append_row, read_rows
    from kswap.model_table.table import matching, read_table

    table = {name: row for name, row in read_table().items() if row.pointwise_convolutions}
    names = sorted(matching(table, pattern), key=lambda name: table[name].params)
    done: dict[str, SweepRow] = {}
    if out.exists() and not resume:
        raise click.UsageError(f"{out} exists already: go on with --resume, or choose another file")
    if out.exists():
        done = {name: row for name, row in read_rows(out).items() if row.passed or not again}
    left = [name for name in names if name not in done]
    limits = Limits(seconds_per_model, memory, _threads(jobs))
    rows = {name: done[name] for name in names if name in done}
    with _Bar(len(left)) as bar:
        for row in rows_of(left, ch, jobs, limits, bar.started):
            append_row(out, row)
            rows[row.model] = row
            bar.finished(row)
            if minutes is not None and bar.minutes > minutes:
                break
    failed = [row for row in rows.values() if not row.passed]
    click.echo(f"{len(rows)} of {len(names)} models in {out}, {len(failed)} with faults", err=True)
    if failed:
        raise click.exceptions.Exit(1)


def _threads(jobs: int) -> int:
    import os

    return max(1, (os.cpu_count() or 1) // (2 * jobs))


class _Bar:
    """A progress bar on standard error, with the faults above it as they come."""

    def __init__(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True, highlight=False),
        )
        self._task = self._progress.add_task("sweep", total=total)

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    @property
    def minutes(self) -> float:
        return (self._progress.tasks[0].elapsed or 0.0) / 60

    def started(self, name: str) -> None:
        self._progress.update(self._task, description=name)

    def finished(self, row: SweepRow) -> None:
        self._progress.advance(self._task)
        if not row.passed:
            why = row.error or f"drop-in {row.drop_in}, features_only {row.features_only}"
            self._progress.console.print(f"{row.model}: {why}", markup=False, soft_wrap=True)
