"""Python processes that import no module of the current directory, which may hold anything."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ENVIRONMENT = threading.Lock()


def isolated_python(code: str) -> list[str]:
    """The command that runs ``code`` in a fresh Python process, which finds its modules where this one does.

    The current directory is not searched, unless it is in ``PYTHONPATH``.

    >>> isolated_python("print(1)")[1:3]
    ['-P', '-c']
    """
    path = [entry for entry in sys.path if os.path.isabs(entry)]
    own = str(Path(__file__).resolve().parents[1])  # found through a relative entry where it is not in `path`
    if own not in path:
        path.append(own)
    return [sys.executable, "-P", "-c", f"import sys; sys.path[:] = {path!r}; {code}"]


@contextmanager
def isolated_children() -> Iterator[None]:
    """Python processes that :mod:`multiprocessing` starts inside do not search the current directory as they start.

    The variable ``PYTHONSAFEPATH`` says so to them, and is restored; threads wait for each other.
    """
    with _ENVIRONMENT:
        before = os.environ.get("PYTHONSAFEPATH")
        os.environ["PYTHONSAFEPATH"] = "1"
        try:
            yield
        finally:
            if before is None:
                del os.environ["PYTHONSAFEPATH"]
            else:
                os.environ["PYTHONSAFEPATH"] = before
