"""Loops of commands with a progress bar."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def tracked(items: Sequence[T], label: str) -> Iterator[T]:
    """``items`` one after the other, with a progress bar on standard error."""
    from kswap.progress import progress_bar

    with progress_bar(label, total=len(items)) as bar:
        for item in items:
            yield item
            bar.advance()
