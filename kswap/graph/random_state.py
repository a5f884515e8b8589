"""The global random state, kept as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def preserved_random_state(seed: int | None = None) -> Iterator[None]:
    """Random numbers that are drawn inside leave torch's global generators unchanged, that of every GPU included.

    With a ``seed``, all of them start from it inside. CUDA is not initialised for this.

    >>> before = torch.get_rng_state()
    >>> with preserved_random_state(seed=1):
    ...     _ = torch.rand(3)
    >>> torch.equal(before, torch.get_rng_state())
    True
    """
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
    """A seed drawn from the global generator of the CPU, which advances by this one number."""
    return int(torch.randint(2**62, ()).item())
