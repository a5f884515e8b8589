"""Long runs in a directory: settings that are checked, and a file per trial. What has its file is not run again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

from kswap.codec import decode, encode
from kswap.errors import KswapError, wording
from kswap.files import read_json, write_text

T = TypeVar("T")


def write_value(path: Path, value: object, error: type[KswapError]) -> None:
    """Write a value as JSON, whole or not at all, and make its directory where there is none. Raises ``error``."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as wrong:
        raise error(f"{path.parent} cannot be made: {wrong.strerror}; choose another {_out()}") from wrong
    write_text(path, json.dumps(encode(value), indent=1), error)


def read_value(path: Path, kind: type[T], error: type[KswapError]) -> T:
    """Read a value that :func:`write_value` wrote. Raises ``error``."""
    return decode(kind, read_json(path, error), str(path), error)


def claim(path: Path, settings: T, error: type[KswapError], what: str) -> None:
    """Write ``settings`` to ``path`` where there are none yet.

    Args:
        path: The file of the settings, in the directory of the run.
        settings: What decides the results of the trials.
        error: The class of the exception for a run with other settings, which are named.
        what: What the run is, for messages: ``"study"``.
    """
    if not path.exists():
        write_value(path, settings, error)
        return
    found, asked = encode(read_value(path, type(settings), error)), encode(settings)
    other = [name for name in asked if found.get(name) != asked[name]]
    if other:
        raise error(
            f"{path.parent} holds a {what} with other settings ({', '.join(other)}): give those, or choose another "
            f"{_out()}"
        )


def _out() -> str:
    return wording("directory", "--out")
