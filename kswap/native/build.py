"""Compiles the kernel with the compiler of the system, and keeps it in the user's cache directory.

A library is found again by all that it depends on: the sources, the flags, the compiler and its version, the
instruction set of this processor as the compiler knows it, and the version of torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from kswap.errors import DeployError
from kswap.locking import directory_lock

SECONDS = 180.0  # for a build, waiting for that of another process included

_FOLDER = Path(__file__).parent
_SOURCES = ("grouped_block.cpp", "grouped_block.h")
_LIBRARY = "grouped_block.so"
_FLAGS = ("-std=c++20", "-O3", "-march=native", "-ffp-contract=fast", "-fPIC", "-shared", "-fvisibility=hidden")
# Of LibTorch's stable ABI: 2.11.
_ABI = "-DTORCH_TARGET_VERSION=0x020b000000000000"
_COMPILERS = ("c++", "g++", "clang++")
_QUERY_SECONDS = 20.0
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Compiler:
    """A C++ compiler: its command, and the macros that it defines for this processor, its version among them."""

    command: tuple[str, ...]
    macros: bytes

    @classmethod
    def find(cls) -> Compiler:
        """The one named in the variable ``CXX``, or the first of the usual ones.

        Raises :class:`kswap.errors.DeployError` where there is none that knows this processor.
        """
        if sys.platform == "win32":
            raise DeployError("the native kernel is for Linux and macOS")
        named = os.environ.get("CXX")
        command = tuple(shlex.split(named)) if named else next(filter(shutil.which, _COMPILERS), None)
        if not command or shutil.which(command if isinstance(command, str) else command[0]) is None:
            wanted = f"CXX names {named!r}, which is not there" if named else f"there is no {', '.join(_COMPILERS)}"
            raise DeployError(f"no C++ compiler ({wanted}): install one, or name it in CXX")
        parts = (command,) if isinstance(command, str) else command
        query = [*parts, "-march=native", "-std=c++20", "-dM", "-E", "-x", "c++", os.devnull]
        return cls(parts, _output(query, time.monotonic() + _QUERY_SECONDS))


def cache_directory() -> Path:
    """Where libraries are kept: ``kswap/native`` in ``XDG_CACHE_HOME``, which is ``~/.cache`` unless it is set."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "kswap" / "native"


def built_library() -> Path | None:
    """The library for this machine if it was built before; ``None`` where it was not. Nothing is compiled."""
    with contextlib.suppress(DeployError, RuntimeError):  # RuntimeError: a user without a home
        path = _place(Compiler.find())
        return path if path.is_file() else None
    return None


def build_library(seconds: float = SECONDS) -> Path:
    """The library for this machine, compiled where it is not in the cache.

    Raises :class:`kswap.errors.DeployError`, with one line that says why, where it cannot be built within ``seconds``.
    """
    end = time.monotonic() + seconds
    try:
        compiler = Compiler.find()
        path = _place(compiler)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _lock(path.parent, end):
            if not path.is_file():
                _compile(compiler, path, end)
    except (OSError, RuntimeError) as error:
        raise DeployError(f"the native kernel cannot be kept in {_shown_cache()}: {error}") from error
    return path


def _shown_cache() -> str:
    with contextlib.suppress(RuntimeError):
        return str(cache_directory())
    return "the cache directory"


def _place(compiler: Compiler) -> Path:
    parts = [(_FOLDER / name).read_bytes() for name in _SOURCES]
    parts += [repr((_FLAGS, _ABI, compiler.command, torch.__version__)).encode(), compiler.macros]
    key = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
    return cache_directory() / key[:32] / _LIBRARY


@contextlib.contextmanager
def _lock(folder: Path, end: float) -> Iterator[None]:
    """Wait until no other process builds in ``folder``. The lock of a killed process is gone with it."""
    while True:
        with directory_lock(folder) as held:
            if held is not False:  # without locks two processes may build; whole files take the name
                yield
                return
        if time.monotonic() > end:
            raise DeployError("another process has been compiling the native kernel for too long")
        time.sleep(_POLL_SECONDS)


def _compile(compiler: Compiler, path: Path, end: float) -> None:
    """Written under another name first, so that what has the name is whole; what killed builds left is removed."""
    for left in path.parent.glob("*.part"):
        left.unlink(missing_ok=True)
    number, partial = tempfile.mkstemp(".part", dir=path.parent)
    os.close(number)
    torch_folder = Path(torch.__file__).parent
    library = torch_folder / "lib"
    command = [*compiler.command, *_FLAGS, _ABI, f"-I{torch_folder / 'include'}", str(_FOLDER / _SOURCES[0])]
    command += ["-o", partial, f"-L{library}", "-ltorch_cpu", "-lc10", f"-Wl,-rpath,{library}"]
    try:
        _output(command, end)
        os.replace(partial, path)
    finally:
        Path(partial).unlink(missing_ok=True)


def _output(command: list[str], end: float) -> bytes:
    """What a command of the compiler prints; it is ended with all that it started when the time is up."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        output, errors = process.communicate(timeout=max(end - time.monotonic(), 0))
    except subprocess.TimeoutExpired:
        raise DeployError(f"{command[0]} took too long to compile the native kernel") from None
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode:
        lines = errors.decode(errors="replace").splitlines()
        reason = next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "no message")
        raise DeployError(f"{command[0]} cannot compile the native kernel: {reason[:200].strip()}")
    return output
