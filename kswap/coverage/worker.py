"""A process that checks models, and may crash, hang or run out of memory without ending the sweep."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from typing import TextIO

from kswap.codec import decode, encode
from kswap.isolation import isolated_python
from kswap.model_table.sweep_row import SweepRow

# A process is replaced after this many models, so that what they leave in memory does not add up.
MODELS_PER_PROCESS = 40


@dataclass(frozen=True)
class Limits:
    """What one model may take.

    Args:
        seconds: How long it may take.
        gib: The memory of its process in GiB.
        threads: The threads of its process.
    """

    seconds: float = 180.0
    gib: float = 6.0
    threads: int = 1


@dataclass
class Worker:
    """A process that checks one model after another; started when needed, and again after a crash."""

    ch: int
    limits: Limits
    _process: subprocess.Popen[str] | None = field(default=None, init=False)
    _checked: int = field(default=0, init=False)

    def check(self, name: str) -> SweepRow:
        """The row of ``name``. Never raises for a model's fault."""
        late = threading.Event()
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None

        def end() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(self.limits.seconds, end)
        timer.start()
        try:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(f"{name}\n")
                process.stdin.flush()
            answer = process.stdout.readline()
        finally:
            timer.cancel()
        if answer.endswith("\n"):
            self._checked += 1
            if self._checked >= MODELS_PER_PROCESS or late.is_set():
                self.stop()
            return decode(SweepRow, json.loads(answer), "the answer of the process")
        code = self.stop()
        if late.is_set():
            return SweepRow(name, error=f"not done after {self.limits.seconds:g} seconds")
        return SweepRow(name, error=f"the process ended with {code}, most likely for lack of memory")

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._checked = 0
            limits = self.limits
            self._process = subprocess.Popen(
                isolated_python(
                    f"from kswap.coverage.worker import serve; serve({self.ch}, {limits.gib}, {limits.threads})"
                ),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                start_new_session=True,  # Ctrl-C is for the sweep, which then ends its processes
            )
        return self._process

    def stop(self) -> int | None:
        """End the process, if there is one. Returns its exit status."""
        process, self._process = self._process, None
        if process is None:
            return None
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(OSError, ValueError):
            process.stdin.close()  # without more names it ends by itself
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.5)
        finally:
            process.kill()
            process.wait()
        with contextlib.suppress(OSError, ValueError):
            process.stdout.close()
        return process.returncode


def serve(ch: int, gib: float, threads: int) -> None:
    """The child's side: read names, write their rows as JSON, a line each, until there are no more."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a model prints is no answer
    _limit_memory(gib)
    import gc

    import torch

    from kswap.coverage.check import check

    torch.set_num_threads(threads)
    for line in sys.stdin:
        row = check(line.rstrip("\n"), ch)
        gc.collect()
        _answer(answers, row)


def _answer(answers: TextIO, row: SweepRow) -> None:
    answers.write(json.dumps(encode(row)) + "\n")
    answers.flush()


def _limit_memory(gib: float) -> None:
    """Let allocations beyond ``gib`` fail in this process, where the system can (not on Windows)."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (int(gib * 2**30), int(gib * 2**30)))
