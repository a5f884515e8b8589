"""Ways to run the long trials of a scan, one file each."""

from __future__ import annotations

from collections.abc import Callable

from kswap.errors import StudyError, nearest
from kswap.scans.executors.executor import Executor, Settings
from kswap.scans.executors.local import LocalExecutor
from kswap.scans.executors.ray import RayExecutor

EXECUTORS: dict[str, Callable[[Settings], Executor]] = {"local": LocalExecutor, "ray": RayExecutor}


def executor_of(name: str, settings: Settings) -> Executor:
    """The executor called ``name``. Raises :class:`StudyError`."""
    if name not in EXECUTORS:
        raise StudyError(f"unknown executor '{name}': known are {', '.join(EXECUTORS)}{nearest(name, EXECUTORS)}")
    return EXECUTORS[name](settings)
