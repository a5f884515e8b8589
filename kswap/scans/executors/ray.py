"""A Ray cluster: one task a trial (https://docs.ray.io/en/latest/ray-core/tasks.html)."""

from __future__ import annotations

import importlib.util
import logging
import os
import socket
import sys
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

from kswap.benchmarks.worker import answer_of, value_of
from kswap.errors import KswapError, StudyError, excerpt, first_line
from kswap.scans.executors.executor import Outcome, Settings

LOCAL, AUTO = "local", "auto"
_SECONDS = 5.0


@dataclass(frozen=True)
class RayExecutor:
    """Tasks of a cluster, one core each, and one GPU each where the cluster has some and they are not refused.

    ``settings.workers`` bounds how many are under way at a time. kswap, the models' own code, the recipe and the
    pictures must be on every machine under the same paths.
    """

    settings: Settings

    def check(self) -> None:
        """Raises :class:`StudyError` where Ray is missing, or nobody answers at the address."""
        if importlib.util.find_spec("ray") is None:
            raise StudyError("trials on a Ray cluster need ray: pip install 'kswap[ray]'")
        address = self.settings.address
        if address in (LOCAL, AUTO):
            return
        host, colon, port = address.rpartition("://")[2].rpartition(":")
        if not host or not colon or not port.isdecimal() or not 0 < int(port) < 65_536:
            raise StudyError(f"'{excerpt(address)}' is no address of a Ray cluster: write HOST:PORT, {AUTO} or {LOCAL}")
        try:
            # Ray itself would ask for many minutes.
            socket.create_connection((host, int(port)), timeout=_SECONDS).close()
        except OSError as error:
            raise _no_cluster(address, error) from error

    def run(self, function: Callable[[Any], Any], requests: Sequence[Any]) -> Generator[Outcome, None, None]:
        """See :meth:`kswap.scans.executors.executor.Executor.run`. Raises :class:`StudyError` without a cluster."""
        import ray

        self._connect()
        try:
            gpus = 1 if self.settings.device != "cpu" and ray.cluster_resources().get("GPU") else 0
            task = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0)(answer_of)
            waiting = list(enumerate(requests))[::-1]
            most = self.settings.workers or len(waiting)
            running: dict[Any, int] = {}
            while waiting or running:
                while waiting and len(running) < most:
                    number, request = waiting.pop()
                    running[task.remote(function.__module__, function.__qualname__, request)] = number
                done, _ = ray.wait(list(running))
                for reference in done:
                    yield _outcome(running.pop(reference), reference)
        finally:
            ray.shutdown()

    def _connect(self) -> None:
        """Join the cluster, or start one with a core for each worker."""
        import ray

        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        address, workers = self.settings.address, self.settings.workers
        try:
            if address == LOCAL:
                path = os.pathsep.join(entry for entry in sys.path if os.path.isabs(entry))
                found = {"env_vars": {"PYTHONPATH": path}}  # its processes find what this one finds
                ray.init(address=LOCAL, num_cpus=workers, include_dashboard=False, runtime_env=found, **quiet)
            else:
                ray.init(address=address, **quiet)
        except Exception as error:  # Ray has no common class for these
            raise _no_cluster(address, error) from error


def _no_cluster(address: str, error: Exception) -> StudyError:
    return StudyError(
        f"there is no Ray cluster at {excerpt(address)} ({first_line(error)}): start one with `ray start --head`, give "
        f"the address of another, or {LOCAL} to start one for this scan"
    )


def _outcome(number: int, reference: Any) -> Outcome:
    import ray

    try:
        return Outcome(number, value_of(ray.get(reference)))
    except KswapError as error:
        return Outcome(number, error=error)
    except ray.exceptions.RayError as error:
        return Outcome(number, error=StudyError(f"Ray lost the task: {first_line(error)}"))
