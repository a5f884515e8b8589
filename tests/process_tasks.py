"""What tests/benchmarks/test_worker.py calls in processes of their own."""

from __future__ import annotations

import os
import signal
from typing import Any

from kswap.errors import KswapError, PlanError


class OwnError(KswapError):
    """A class that kswap.errors does not have."""


class TwoArgumentsError(Exception):
    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


def answer(request: dict[str, Any]) -> Any:
    return {"doubled": 2 * request["number"], "path": os.environ.get("MARK")}


def refuse(request: dict[str, Any]) -> None:
    kinds = {"own": OwnError, "plan": PlanError, "value": ValueError, "memory": MemoryError}
    raise kinds[request["kind"]]("too much for this test")


def refuse_with_two(request: dict[str, Any]) -> None:
    raise TwoArgumentsError("one", "two")


def die(request: dict[str, Any]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave(request: dict[str, Any]) -> None:
    os._exit(3)


def interrupt(request: dict[str, Any]) -> None:
    raise KeyboardInterrupt
