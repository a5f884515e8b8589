"""Many models, each in a process that may crash, hang or run out of memory without ending the sweep."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from queue import SimpleQueue

from kswap.isolation import isolated_children
from kswap.model_table.sweep_row import SweepRow

# A process is replaced by a fresh one after so many models, so that what they leave in memory does not add up.
MODELS_A_PROCESS = 40


def _limit_memory(gib: float) -> None:
    """Let allocations beyond ``gib`` fail in this process, where the system can (not on Windows)."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (int(gib * 2**30), int(gib * 2**30)))


def serve(connection: Connection, ch: int, gib: float, threads: int) -> None:
    """What a process does: read a name, check the model, answer with its row as JSON, until nobody asks."""
    _limit_memory(gib)
    import gc

    import torch

    from kswap.coverage.check import check

    torch.set_num_threads(threads)
    with contextlib.suppress(EOFError):  # the other end is closed: the work is done
        while True:
            row = check(connection.recv_bytes().decode(), ch)
            gc.collect()
            connection.send_bytes(json.dumps(row.to_json()).encode())


@dataclass(frozen=True)
class Limits:
    """What one model may take: seconds, and GiB of memory. ``threads`` for each process."""

    seconds: float = 180.0
    gib: float = 6.0
    threads: int = 1


@dataclass
class Worker:
    """A process that checks one model after another; started when needed, and again after a crash."""

    ch: int
    limits: Limits
    _process: BaseProcess | None = field(default=None, init=False)
    _connection: Connection | None = field(default=None, init=False)
    _done: int = field(default=0, init=False)

    def check(self, name: str) -> SweepRow:
        """The row of ``name``. Never raises for a model's fault."""
        connection = self._started()
        try:
            connection.send_bytes(name.encode())
            if not connection.poll(self.limits.seconds):
                self.stop()
                return SweepRow(name, error=f"not done after {self.limits.seconds:g} seconds")
            row = SweepRow.from_json(json.loads(connection.recv_bytes()))
        except (EOFError, OSError):
            code = self.stop()
            return SweepRow(name, error=f"the process ended with {code}, most likely for lack of memory")
        self._done += 1
        if self._done >= MODELS_A_PROCESS:
            self.stop()
        return row

    def _started(self) -> Connection:
        if self._connection is None:
            context = multiprocessing.get_context("spawn")
            self._connection, theirs = context.Pipe()
            arguments = (theirs, self.ch, self.limits.gib, self.limits.threads)
            self._process = context.Process(target=serve, args=arguments, daemon=True)
            with isolated_children():
                self._process.start()
            theirs.close()
            self._done = 0
        return self._connection

    def stop(self) -> int | None:
        """End the process, if there is one; gives the exit status that it had by itself."""
        process, connection = self._process, self._connection
        self._process = self._connection = None
        if process is None or connection is None:
            return None
        connection.close()
        process.join(0.5)
        code = process.exitcode
        if code is None:
            process.kill()
            process.join()
        process.close()
        return code


def sweep(
    names: Iterable[str],
    ch: int = 16,
    jobs: int = 1,
    limits: Limits | None = None,
    started: Callable[[str], None] = lambda name: None,
) -> Iterator[SweepRow]:
    """Check all models, ``jobs`` at a time; rows come as they are done. ``started`` is told each name."""
    chosen = limits or Limits(threads=max(1, (os.cpu_count() or 1) // (2 * jobs)))
    free: SimpleQueue[Worker] = SimpleQueue()
    workers = [Worker(ch, chosen) for _ in range(jobs)]
    for worker in workers:
        free.put(worker)

    def one(name: str) -> SweepRow:
        worker = free.get()
        try:
            started(name)
            return worker.check(name)
        finally:
            free.put(worker)

    pool = ThreadPoolExecutor(jobs)
    try:
        yield from (future.result() for future in as_completed([pool.submit(one, name) for name in names]))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.stop()
