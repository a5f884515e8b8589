"""A function that is called in a process of its own: fresh memory, its own environment, and a crash is its own."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kswap.errors import DeployError, KswapError
from kswap.isolation import isolated_python

_CHILD = "import json; from kswap.benchmarks.worker import serve; sys.exit(serve(json.load(sys.stdin)))"
_INTERRUPTED = 130


def call_in_process(
    function: Callable[[Any], Any], request: Mapping[str, Any], environment: Mapping[str, str], quiet: bool = False
) -> Any:
    """What ``function(request)`` returns in a fresh process.

    Args:
        function: A function of a module, which the process imports. It takes and returns JSON values.
        request: Its argument.
        environment: The environment variables of the process.
        quiet: Drops the standard error of the process. Its standard output is always dropped: runtimes write there.

    Raises:
        DeployError: The process ended early.
        Exception: What ``function`` raised, in the class that it was raised in.
    """
    with tempfile.TemporaryDirectory(prefix="kswap-") as directory:
        answer = Path(directory) / "answer.json"
        asked = {
            "module": function.__module__,
            "function": function.__qualname__,
            "request": request,
            "answer": str(answer),
        }
        done = subprocess.run(
            isolated_python(_CHILD),
            input=json.dumps(asked),
            text=True,
            env=dict(environment),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL if quiet else None,
        )
        if done.returncode == _INTERRUPTED:
            raise KeyboardInterrupt
        if done.returncode != 0 or not answer.is_file():
            raise DeployError(f"the process that measures {_end_of(done.returncode, quiet)}")
        found = json.loads(answer.read_text(encoding="utf-8"))
    if "error" in found:
        raise _rebuilt(found["error"])
    return found["value"]


def serve(asked: Mapping[str, Any]) -> int:
    """What the process does: calls the function, writes what it returned or raised, and returns the exit status."""
    _end_with_parent()
    try:
        function = getattr(importlib.import_module(asked["module"]), asked["function"])
        answer = {"value": function(asked["request"])}
    except Exception as error:
        answer = {"error": _described(error)}
    except KeyboardInterrupt:
        return _INTERRUPTED
    Path(asked["answer"]).write_text(json.dumps(answer), encoding="utf-8")
    return 0


def _end_with_parent() -> None:
    """Where the system can: nobody waits for an answer once the parent is gone."""
    if sys.platform == "linux":
        set_signal_of_parents_death = 1
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(set_signal_of_parents_death, signal.SIGTERM)


def _described(error: Exception) -> dict[str, str]:
    kind = type(error)
    where = "" if isinstance(error, KswapError) else "".join(traceback.format_exception(error))
    return {"module": kind.__module__, "class": kind.__qualname__, "text": str(error), "traceback": where}


def _rebuilt(data: Mapping[str, str]) -> Exception:
    """An exception of the same class; of :class:`DeployError` where that class takes more than a message."""
    error: Exception = DeployError(f"{data['class']}: {data['text']}")
    with contextlib.suppress(ImportError, TypeError):
        kind = getattr(importlib.import_module(data["module"]), data["class"], None)
        if isinstance(kind, type) and issubclass(kind, Exception):
            error = kind(data["text"])
    if data["traceback"]:
        error.add_note(f"In the process that measures:\n{data['traceback']}")
    return error


def _end_of(code: int, quiet: bool) -> str:
    if code >= 0:
        return f"failed with exit status {code}" + ("" if quiet else "; see its output above")
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    likely = ", most likely for lack of memory" if name == "SIGKILL" else ""
    return f"was ended by {name}{likely}: use a smaller --batch or another target"
