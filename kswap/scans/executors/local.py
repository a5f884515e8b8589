"""Processes of this machine, a fresh one for each trial."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

from kswap.benchmarks.worker import ProcessCall
from kswap.errors import KswapError, StudyError
from kswap.scans.executors.executor import Outcome, Settings
from kswap.sources.device import choose_device


@dataclass(frozen=True)
class LocalExecutor:
    """``settings.workers`` processes at a time, which share the cores of this machine."""

    settings: Settings

    @property
    def workers(self) -> int:
        return self.settings.workers or 1

    def check(self) -> None:
        """Raises :class:`kswap.errors.ModelError` where there is no such device here."""
        choose_device(self.settings.device)

    def run(self, function: Callable[[Any], Any], requests: Sequence[Any]) -> Generator[Outcome, None, None]:
        """See :meth:`kswap.scans.executors.executor.Executor.run`."""
        calls = _Calls(function, _environment(self.workers))
        pool = ThreadPoolExecutor(self.workers)
        try:
            made = [pool.submit(calls.outcome, number, request) for number, request in enumerate(requests)]
            for done in as_completed(made):
                yield done.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            calls.stop()
            pool.shutdown()


class _Calls:
    """The calls that run, which can all be ended."""

    def __init__(self, function: Callable[[Any], Any], environment: dict[str, str]) -> None:
        self._function, self._environment = function, environment
        self._running: set[ProcessCall] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def outcome(self, number: int, request: Any) -> Outcome:
        with self._begun(request) as call:
            try:
                return Outcome(number, call.value())
            except KswapError as error:
                return Outcome(number, error=error)
            finally:
                with self._lock:
                    self._running.discard(call)

    def _begun(self, request: Any) -> ProcessCall:
        with self._lock:
            if self._stopped:
                raise StudyError("the scan was stopped")
            mend = "use fewer --workers, or a smaller batch in the recipe"
            call = ProcessCall(self._function, request, self._environment, does="trains", mend=mend)
            self._running.add(call)
            return call

    def stop(self) -> None:
        """End what runs, and let nothing begin."""
        with self._lock:
            self._stopped = True
            for call in self._running:
                call.stop()


def _environment(workers: int) -> dict[str, str]:
    """Cores shared among the workers, unless the user has said how many threads each has."""
    if workers == 1:
        return dict(os.environ)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {"OMP_NUM_THREADS": str(max(1, cores // workers)), **os.environ}
