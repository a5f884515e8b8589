"""Files of a saved directory, read with care: a stranger may have made them."""

from __future__ import annotations

from pathlib import Path

from kswap.errors import SavedError
from kswap.report.renderers import saved_files

WEIGHTS, PLAN, REPORT = "model.safetensors", "plan.json", "report.json"
FILES = (WEIGHTS, PLAN, *saved_files("report"))
# What kswap.inference.store adds later.
OPTIMIZED = "optimized.json"


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
