"""glibc's settings that keep freed memory in the process.

By default glibc returns each large buffer to the system when it is freed. Every pass of a model then has its buffers
mapped and cleared again, which can take more time than the arithmetic. See mallopt(3).
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class _Setting:
    """One of glibc's settings: its environment variable, its number in ``malloc.h`` and our value in bytes."""

    variable: str
    parameter: int
    value: int


# Nothing is returned to the system below 1 GiB.
_SETTINGS = (
    _Setting("MALLOC_MMAP_THRESHOLD_", -3, 2**30),
    _Setting("MALLOC_TRIM_THRESHOLD_", -1, 2**30),
    _Setting("MALLOC_TOP_PAD_", -2, 2**26),
)

KEEPING = {setting.variable: str(setting.value) for setting in _SETTINGS}


def has_glibc() -> bool:
    """Whether this process has an allocator with these settings: Linux with glibc."""
    return sys.platform == "linux" and platform.libc_ver()[0] == "glibc"


def keep_freed_memory() -> bool:
    """Make glibc keep freed memory in this process, until it ends.

    Does nothing without glibc. A setting whose environment variable the user has set is left alone. For commands
    that make many passes; a library function must not call it, since it cannot be undone.

    Returns:
        Whether every setting was accepted, or was set by the user.
    """
    if not has_glibc():
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    left = [setting for setting in _SETTINGS if setting.variable not in os.environ]
    accepted = [mallopt(setting.parameter, setting.value) == 1 for setting in left]
    return all(accepted)


def keeping_memory(environment: Mapping[str, str]) -> dict[str, str]:
    """``environment`` for a new process in which glibc keeps freed memory.

    Values that are set already stay. Without glibc the environment is returned unchanged.

    >>> keeping_memory({"MALLOC_TOP_PAD_": "0"})["MALLOC_TOP_PAD_"]
    '0'
    """
    return {**KEEPING, **environment} if has_glibc() else dict(environment)


def releasing_memory(environment: Mapping[str, str]) -> dict[str, str]:
    """``environment`` without what :func:`keeping_memory` added, to measure peaks of memory as users have them.

    >>> releasing_memory(keeping_memory({"HOME": "/home/me"}))
    {'HOME': '/home/me'}
    """
    return {key: value for key, value in environment.items() if KEEPING.get(key) != value}
