"""A lock on a directory, which says that a process works in it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no locks on directories
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def directory_lock(directory: Path, wait: bool = False) -> Iterator[bool | None]:
    """Hold a lock on ``directory``; it is gone with the process, however that ends.

    The value is true where the lock is held, false where another process holds it (never with ``wait``, which waits
    until that has ended), and ``None`` where the system or the file system has no such locks.
    Raises :class:`OSError` where the directory cannot be opened.
    """
    if fcntl is None:
        yield None
        return
    number = os.open(directory, os.O_RDONLY)
    try:
        yield _locked(number, wait)
    finally:
        os.close(number)


def _locked(number: int, wait: bool) -> bool | None:
    try:
        fcntl.flock(number, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
