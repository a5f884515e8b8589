"""The progress bar of every command that takes long."""

from __future__ import annotations

import contextvars
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress


_STEPS: contextvars.ContextVar[StepBar | None] = contextvars.ContextVar("kswap_steps", default=None)


class ProgressBar:
    """A bar on standard error. Without a terminal nothing is drawn, and :meth:`log` still writes its lines."""

    def __init__(self, progress: Progress, label: str, total: float | None) -> None:
        self._progress = progress
        self._task = progress.add_task(label, total=total, note="")

    def advance(self, steps: float = 1, note: str = "", total: float | None = None) -> None:
        """Move the bar on by ``steps`` and show ``note`` at its end; ``total`` sets how many steps there are."""
        self._progress.update(self._task, advance=steps, note=note, total=total, refresh=True)

    def label(self, text: str) -> None:
        """Show ``text`` in front of the bar: what is being done now."""
        self._progress.update(self._task, description=text, refresh=True)

    def log(self, line: str) -> None:
        """Write a line above the bar."""
        self._progress.console.print(line, markup=False, soft_wrap=True)


@contextmanager
def progress_bar(label: str, total: float | None, *, shown: bool = True, steady: bool = True) -> Iterator[ProgressBar]:
    """A bar that disappears at the end.

    Args:
        label: The text in front of the bar.
        total: How many steps there are; ``None`` where :meth:`ProgressBar.advance` tells it later.
        shown: ``False`` draws nothing.
        steady: Whether a thread redraws the bar between steps, so that its clock runs. ``False`` draws on each call
            only: such a thread would take time from what is measured.

    >>> with progress_bar("reading", total=2) as bar:
    ...     bar.advance()
    ...     bar.advance(note="done")
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True, highlight=False)
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=console,
        transient=True,
        disable=not (shown and console.is_interactive),
        auto_refresh=steady,
    )
    with progress:
        yield ProgressBar(progress, label, total)


class StepBar:
    """A bar over work whose steps say their names by :func:`step`."""

    def __init__(self, bar: ProgressBar, label: str, total: int) -> None:
        self._bar = bar
        self._label = label
        self._left = total
        self._begun = False

    def step(self, name: str) -> None:
        """End the step of before, and begin the one called ``name``."""
        if self._begun and self._left > 0:
            self._bar.advance()
            self._left -= 1
        self._begun = True
        self._bar.label(f"{self._label}: {name}")


@contextmanager
def steps(label: str, total: int) -> Iterator[None]:
    """A bar that the steps of the work inside move on, wherever they are: see :func:`step`.

    >>> with steps("converting", total=2):
    ...     step("tracing")
    ...     step("planning")
    """
    with progress_bar(label, total) as bar:
        token = _STEPS.set(StepBar(bar, label, total))
        try:
            yield
        finally:
            _STEPS.reset(token)


def step(name: str) -> None:
    """Say that the step called ``name`` begins; heard where a caller shows :func:`steps`, and else nothing."""
    bar = _STEPS.get()
    if bar is not None:
        bar.step(name)
