"""Files of a saved directory, read with care: a stranger may have made them."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from kswap.errors import SavedError
from kswap.report.renderers import saved_files

WEIGHTS, PLAN, REPORT = "model.safetensors", "plan.json", "report.json"
FILES = (WEIGHTS, PLAN, *saved_files("report"))
# What kswap.inference.store adds later.
OPTIMIZED = "optimized.json"

_MOST_JSON = 64 * 2**20


def inside(root: Path, name: str) -> Path:
    """A file of the directory itself: no link that leads out of it, nothing but a plain file.

    Raises :class:`SavedError` where it is anything else.
    """
    path = root / name
    if not path.is_file():
        raise SavedError(f"{root} is damaged: it has no {name}; copy or convert it again")
    if not path.resolve().is_relative_to(root.resolve()):
        raise SavedError(f"{path} is a link that leads out of the directory: kswap does not follow it")
    return path


def read_json(path: Path) -> Any:
    """What a JSON file holds. Raises :class:`SavedError` for one that is no JSON, or too large."""
    if path.stat().st_size > _MOST_JSON:
        raise SavedError(f"{path} is too large for a file of kswap ({path.stat().st_size:,} bytes)")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SavedError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise SavedError(f"{path} is damaged: it holds no valid JSON; copy or convert it again") from error


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all: an existing one is replaced at the end.

    Raises :class:`SavedError` where it cannot be written.
    """
    try:
        number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        fresh = Path(name)
        try:
            with os.fdopen(number, "w", encoding="utf-8") as file:
                file.write(text if text.endswith("\n") else text + "\n")
            fresh.chmod(0o644)
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        raise SavedError(f"{path} cannot be written: {error.strerror}; choose another place") from error
