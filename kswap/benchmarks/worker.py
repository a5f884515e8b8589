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
from typing import Any, Self

from kswap.errors import DeployError, KswapError
from kswap.isolation import isolated_python

_CHILD = "import json; from kswap.benchmarks.worker import serve; sys.exit(serve(json.load(sys.stdin)))"
_INTERRUPTED = 130


def call_in_process(
    function: Callable[[Any], Any], request: Mapping[str, Any], environment: Mapping[str, str], quiet: bool = False
) -> Any:
    """What ``function(request)`` returns in a fresh process; see :class:`ProcessCall`.

    Raises:
        DeployError: The process ended early.
        Exception: What ``function`` raised, in the class that it was raised in.
    """
    with ProcessCall(function, request, environment, quiet) as call:
        return call.value()


class ProcessCall:
    """A call of a function in a fresh process, which begins at once, and ends at the latest with the context.

    Args:
        function: A function of a module, which the process imports. It takes and returns JSON values.
        request: Its argument.
        environment: The environment variables of the process.
        quiet: Drops the standard error of the process. Its standard output is always dropped: runtimes write there.
        does: What the process does, for messages.
        mend: What helps where there was too little memory, for messages.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        request: Mapping[str, Any],
        environment: Mapping[str, str],
        quiet: bool = False,
        does: str = "measures",
        mend: str = "use a smaller --batch or another target",
    ) -> None:
        self._quiet, self._does, self._mend = quiet, does, mend
        self._directory = tempfile.TemporaryDirectory(prefix="kswap-")
        self._answer = Path(self._directory.name) / "answer.json"
        self._asked = {
            "module": function.__module__,
            "function": function.__qualname__,
            "request": request,
            "answer": str(self._answer),
        }
        self._process = subprocess.Popen(
            isolated_python(_CHILD),
            text=True,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL if quiet else None,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()
        self._process.wait()
        self._directory.cleanup()

    def stop(self) -> None:
        """End the process, if it still runs; from any thread. :meth:`value` then raises :class:`DeployError`."""
        self._process.kill()

    def value(self) -> Any:
        """What the function returns; raises as :func:`call_in_process`."""
        self._process.communicate(json.dumps(self._asked))
        code = self._process.returncode
        if code == _INTERRUPTED:
            raise KeyboardInterrupt
        if code != 0 or not self._answer.is_file():
            raise DeployError(f"the process that {self._does} {_end_of(code, self._quiet, self._mend)}")
        return value_of(json.loads(self._answer.read_text(encoding="utf-8")))


def serve(asked: Mapping[str, Any]) -> int:
    """What the process does: calls the function, writes what it returned or raised, and returns the exit status."""
    _end_with_parent()
    try:
        answer = answer_of(asked["module"], asked["function"], asked["request"])
    except KeyboardInterrupt:
        return _INTERRUPTED
    Path(asked["answer"]).write_text(json.dumps(answer), encoding="utf-8")
    return 0


def answer_of(module: str, function: str, request: Any) -> dict[str, Any]:
    """What a function of a module returns or raises, as a JSON value for :func:`value_of` in another process."""
    try:
        return {"value": getattr(importlib.import_module(module), function)(request)}
    except Exception as error:
        return {"error": _described(error)}


def value_of(answer: Mapping[str, Any]) -> Any:
    """The value of what :func:`answer_of` returned; raises what the function raised, in its class."""
    if "error" in answer:
        raise _rebuilt(answer["error"])
    return answer["value"]


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
        error.add_note(f"In the other process:\n{data['traceback']}")
    return error


def _end_of(code: int, quiet: bool, mend: str) -> str:
    if code >= 0:
        return f"failed with exit status {code}" + ("" if quiet else "; see its output above")
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    likely = ", most likely for lack of memory" if name == "SIGKILL" else ""
    return f"was ended by {name}{likely}: {mend}"
