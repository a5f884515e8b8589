"""Many models, some at a time, each in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from queue import SimpleQueue

from kswap.coverage.worker import Limits, Worker
from kswap.model_table.sweep_row import SweepRow


def sweep(
    names: Iterable[str],
    ch: int = 16,
    jobs: int = 1,
    limits: Limits | None = None,
    started: Callable[[str], None] = lambda name: None,
) -> Iterator[SweepRow]:
    """Check models, and yield their rows in the order in which they are done.

    Args:
        names: timm's names of the models.
        ch: Channels per group.
        jobs: How many models are checked at a time.
        limits: What each model may take. Without them the cores are shared among the jobs.
        started: Called with the name of each model when its check begins, in any thread.
    """
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
