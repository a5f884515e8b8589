"""The global random state, unchanged by what kswap draws."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# The global generators belong to all threads: one after the other may start them anew and put them back.
_LOCK = threading.RLock()


@contextmanager
def preserved_random_state(seed: int | None = None) -> Iterator[None]:
    """Random numbers that are drawn inside leave torch's global generators unchanged, that of every GPU included.

    With a ``seed``, all of them start from it inside. CUDA is not initialised for this. Threads wait for each other.

    >>> before = torch.get_rng_state()
    >>> with preserved_random_state(seed=1):
    ...     _ = torch.rand(3)
    >>> torch.equal(before, torch.get_rng_state())
    True
    """
    with _LOCK:
        yield from _preserved(seed)


def _preserved(seed: int | None) -> Iterator[None]:
    cpu = torch.get_rng_state()
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
    if seed is not None:
        torch.default_generator.manual_seed(seed)
        if gpus is not None:
            torch.cuda.manual_seed_all(seed)
    try:
        yield
    finally:
        torch.set_rng_state(cpu)
        if gpus is not None:
            torch.cuda.set_rng_state_all(gpus)


def drawn_seed() -> int:
    """A seed drawn from the global generator of the CPU, which advances by this one number; short to type."""
    return int(torch.randint(2**31, ()).item())
