"""A directory takes the place of another at once, and what killed processes left is found and removed.

A new directory is made beside its target under a hidden name, ``.NAME.HEX.saving``. While its process lives, it
holds a lock on it; a directory without one is a leftover of a process that was killed.

Where the system can exchange two names in one step (Linux: ``renameat2`` with ``RENAME_EXCHANGE``), there is no
moment without the target. Elsewhere the old directory is first renamed to ``.NAME.HEX.saved``: a process that is
killed between the two renames leaves the target under that name, and the next save puts it back.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from kswap.files import sync_directory
from kswap.locking import directory_lock
from kswap.saved.files import is_ours

_NEW, _OLD = ".saving", ".saved"
# Seconds in which a new directory may be without its lock yet.
_GRACE = 60
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextlib.contextmanager
def fresh_directory(target: Path, force: bool) -> Iterator[Path]:
    """A new directory that takes the place of ``target`` when all went well, and is removed otherwise.

    Without ``force`` nothing is replaced but an empty directory, also where one appears meanwhile.

    Raises:
        FileExistsError: there is a directory that holds something, and no ``force``.
        OSError: the directory cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(target)
    fresh = _hidden(target, _NEW)
    fresh.mkdir()
    try:
        with directory_lock(fresh):
            yield fresh
            for path in fresh.iterdir():
                _sync(path)
            sync_directory(fresh)
            if not force or not target.exists():
                _rename_onto_nothing(fresh, target)
            elif not exchange(fresh, target):
                _replace(fresh, target)
            sync_directory(target.parent)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)  # a failed attempt, or what an exchange put there


def exchange(one: Path, other: Path) -> bool:
    """Exchange the names of two directories in one step; ``False`` where the system cannot."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if os.name == "posix" else None
    if renameat2 is None:
        return False
    renameat2.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    done: int = renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    return done == 0


def leftovers_of(target: Path) -> list[Path]:
    """Hidden directories beside ``target`` that processes left which were killed while they saved it."""
    pattern = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{8}}({re.escape(_NEW)}|{re.escape(_OLD)})")
    try:
        beside = [path for path in target.absolute().parent.iterdir() if pattern.fullmatch(path.name)]
    except (OSError, ValueError):
        return []
    return sorted(path for path in beside if path.is_dir() and not path.is_symlink() and _is_left(path))


def remove_leftovers(target: Path) -> None:
    """Remove what killed processes left of ``target``; put the target back where one was killed while replacing it."""
    for path in leftovers_of(target):
        if path.suffix == _OLD and not target.exists():
            with contextlib.suppress(OSError):
                path.rename(target)
        elif all(is_ours(inner.name) for inner in path.iterdir()):
            shutil.rmtree(path, ignore_errors=True)


def _rename_onto_nothing(fresh: Path, target: Path) -> None:
    """Rename, unless ``target`` holds something: POSIX refuses that itself, so nothing can come in between."""
    if os.name != "posix" and target.is_dir():
        target.rmdir()
    fresh.rename(target)


def _replace(fresh: Path, target: Path) -> None:
    """Replace in two steps, where there is no exchange."""
    old = _hidden(target, _OLD)
    with directory_lock(target):
        target.rename(old)
        try:
            fresh.rename(target)
        except OSError:
            old.rename(target)
            raise
        shutil.rmtree(old, ignore_errors=True)


def _hidden(target: Path, suffix: str) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}{suffix}")


def _is_left(directory: Path) -> bool:
    """Whether no process holds the lock of a hidden directory, and none is about to."""
    try:
        if directory.suffix == _NEW and time.time() - directory.stat().st_mtime < _GRACE:
            return False
        with directory_lock(directory) as held:
            return held is True
    except OSError:
        return False


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
