"""What runs the long trials of a scan."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from kswap.errors import KswapError, StudyError


@dataclass(frozen=True)
class Outcome:
    """What became of the request with a number: its value, or the error that the user can mend."""

    number: int
    value: Any = None
    error: KswapError | None = None


class Executor(Protocol):
    """Calls a function in other processes."""

    def check(self) -> None:
        """Raises :class:`kswap.errors.KswapError` where it cannot run here, before any work begins."""

    def run(self, function: Callable[[Any], Any], requests: Sequence[Any]) -> Generator[Outcome, None, None]:
        """Call ``function`` with each of ``requests``, and yield outcomes in the order in which they are done.

        Function and requests go to other processes: the function is one of a module, and takes and returns JSON
        values. Errors that are no :class:`kswap.errors.KswapError` are raised. What still runs when the iterator is
        closed is ended.
        """


@dataclass(frozen=True)
class Settings:
    """Where and how many trials run at a time.

    Args:
        workers: At most so many; ``None`` is one on this machine, and as many as there is room for on a cluster.
        address: Of a cluster; ``"local"`` starts one on this machine.
        device: What the trials train on: ``"auto"``, ``"cpu"`` or ``"cuda"``.
    """

    workers: int | None = None
    address: str = "local"
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise StudyError(f"workers must be at least 1, not {self.workers}")
