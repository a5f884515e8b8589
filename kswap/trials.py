"""Long runs in a directory: settings that are checked, and a file per trial. What has its file is not run again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from kswap.codec import decode, encode
from kswap.errors import KswapError, excerpt, wording
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
    other = changed(encode(read_value(path, type(settings), error)), encode(settings))
    if other:
        raise error(
            f"{path.parent} holds a {what} with other settings ({other}): give those, or choose another {_out()}"
        )


def changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The settings of ``now`` that were others ``before``, for a message; nothing where there are none.

    >>> changed({"seed": 0, "recipe": {"epochs": 8, "lr": 0.1}}, {"seed": 0, "recipe": {"epochs": 4, "lr": 0.1}})
    'recipe.epochs: 8, now 4'
    """
    return excerpt(", ".join(_changed(before, now, "")), 300)


def _changed(before: Mapping[str, Any], now: Mapping[str, Any], path: str) -> Iterator[str]:
    for name, value in now.items():
        old = before.get(name)
        if isinstance(old, Mapping) and isinstance(value, Mapping) and old.keys() == value.keys():
            yield from _changed(old, value, f"{path}{name}.")
        elif old != value:
            yield f"{path}{name}: {excerpt(old, 24)}, now {excerpt(value, 24)}"


def _out() -> str:
    return wording("directory", "--out")
