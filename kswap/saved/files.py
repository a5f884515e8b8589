"""The files of a saved directory, and which of its entries are kswap's."""

from __future__ import annotations

import os
import re
from pathlib import Path

from kswap.errors import SavedError, excerpt
from kswap.report.renderers import saved_files

WEIGHTS, PLAN, REPORT = "model.safetensors", "plan.json", "report.json"
FILES = (WEIGHTS, PLAN, *saved_files("report"))
# What kswap.inference.store adds later.
OPTIMIZED = "optimized.json"
# What kswap.transfer adds: what was done and measured, and the weights that were the most accurate on the way.
DISTILLATION, COMPRESSION, BEST_WEIGHTS = "distillation.json", "compression.json", "best.safetensors"
# What kswap.training adds: the record, the learning curve, the weights of the end where others were kept, and how
# pictures were prepared.
TRAINING, CURVE, LAST_WEIGHTS, PREPROCESSING = "training.json", "training.png", "last.safetensors", "preprocessing.json"
_ADDED = (OPTIMIZED, DISTILLATION, COMPRESSION, BEST_WEIGHTS, TRAINING, CURVE, LAST_WEIGHTS, PREPROCESSING)

# What a killed process leaves of a file that it was writing, also of kswap 0.1.0.
_PARTIAL = re.compile(rf"\.({'|'.join(map(re.escape, (*FILES, *_ADDED)))})\.\w+(\.part)?")


def is_ours(name: str) -> bool:
    """Whether a file of a directory is one that kswap writes there, whole or cut off.

    >>> is_ours("plan.json"), is_ours(".optimized.json.1f00ba42.part"), is_ours("cat.jpg")
    (True, True, False)
    """
    return name in (*FILES, *_ADDED) or _PARTIAL.fullmatch(name) is not None


def inside(root: Path, name: str) -> Path:
    """A file of the directory itself: no link that leads out of it, nothing but a plain file.

    Raises :class:`SavedError` where it is anything else.
    """
    path = root / name
    if not os.path.isfile(path):
        raise SavedError(f"{excerpt(root, 200)} is damaged: it has no {name}; copy or convert it again")
    if not path.resolve().is_relative_to(root.resolve()):
        raise SavedError(
            f"{excerpt(root, 200)} is damaged: its {name} is a link that leads out of the directory, "
            "which kswap does not follow"
        )
    return path
