"""A question that is answered in a process of its own: fresh memory, its own environment, and no crash of ours."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kswap.errors import DeployError, KswapError

# Each takes a request as JSON values and gives JSON values.
_TASKS = {"bench": ("kswap.benchmarks.run", "answer"), "memory": ("kswap.benchmarks.memory", "answer")}

# The child finds its modules where the parent does, also where that is a checkout.
_CHILD = (
    "import json, sys; asked = json.load(sys.stdin); sys.path[:] = asked['path']; "
    "from kswap.benchmarks.worker import serve; sys.exit(serve(asked))"
)


def ask(task: str, request: Mapping[str, Any], environment: Mapping[str, str], quiet: bool = False) -> Any:
    """What ``task`` ("bench" or "memory") answers to ``request`` in a fresh process with this ``environment``.

    Its standard error is ours, unless ``quiet``; its standard output is dropped, since runtimes write there.
    Raises :class:`DeployError` where the process ends early, and what kswap raised in it with the same class.
    """
    with tempfile.TemporaryDirectory(prefix="kswap-") as directory:
        answer = Path(directory) / "answer.json"
        asked = {"path": sys.path, "task": task, "request": request, "answer": str(answer)}
        done = subprocess.run(
            [sys.executable, "-P", "-c", _CHILD],
            input=json.dumps(asked),
            text=True,
            env=dict(environment),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL if quiet else None,
        )
        if done.returncode == 130:  # interrupted there, so interrupted here
            raise KeyboardInterrupt
        if done.returncode != 0 or not answer.is_file():
            raise DeployError(f"the process that measures {_end_of(done.returncode, quiet)}")
        found = json.loads(answer.read_text(encoding="utf-8"))
    if "error" in found:
        raise _error(found["error"])
    return found["value"]


def serve(asked: Mapping[str, Any]) -> int:
    """The child's side: run the task, write its answer, give the exit status."""
    module, name = _TASKS[asked["task"]]
    _end_with_parent()
    try:
        answer = {"value": getattr(importlib.import_module(module), name)(asked["request"])}
    except KswapError as error:
        answer = {"error": {"class": type(error).__name__, "text": str(error)}}
    except KeyboardInterrupt:
        return 130
    Path(asked["answer"]).write_text(json.dumps(answer), encoding="utf-8")
    return 0


def _end_with_parent() -> None:
    """Where the system can: nobody waits for an answer once the parent is gone."""
    if sys.platform == "linux":
        set_signal_of_parents_death = 1
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(set_signal_of_parents_death, signal.SIGTERM)


def _error(data: Mapping[str, str]) -> KswapError:
    import kswap.errors

    kind = getattr(kswap.errors, data["class"], DeployError)
    known = isinstance(kind, type) and issubclass(kind, KswapError)
    return kind(data["text"]) if known else DeployError(data["text"])


def _end_of(code: int, quiet: bool) -> str:
    if code >= 0:
        return f"failed with exit status {code}" + ("" if quiet else ": what it wrote stands above")
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    likely = ", most likely for lack of memory" if name == "SIGKILL" else ""
    return f"was ended by {name}{likely}: take a smaller --batch or another target"
