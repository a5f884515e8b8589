"""What tests/scans/test_executors.py calls in other processes."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from kswap.errors import TrainingError


def meet(request: dict[str, Any]) -> dict[str, Any]:
    """The number of this process, once another one has begun too."""
    if request["own"] is None:
        raise TrainingError("there is nobody to meet")
    own, other = Path(request["own"]), Path(request["other"])
    own.touch()
    end = time.monotonic() + 120
    while not other.exists() and time.monotonic() < end:
        time.sleep(0.02)
    return {"met": other.exists(), "process": os.getpid()}


def sleep_long(request: dict[str, Any]) -> None:
    Path(request["begun"]).write_text(str(os.getpid()))
    time.sleep(300)
