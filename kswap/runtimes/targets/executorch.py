"""ExecuTorch on the CPU, with the XNNPACK delegate: what phones run, measured on this machine."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from kswap.runtimes.targets.target import Target

if TYPE_CHECKING:
    from torch import nn

    from kswap.runtimes.prepared import Prepared


def _settings(threads: int | None) -> AbstractContextManager[None]:
    from kswap.runtimes.executorch import threads_of_pool

    return threads_of_pool(threads)


def _prepare(model: nn.Module, inputs: tuple[Any, ...], threads: int | None, quick: bool) -> Prepared:
    from kswap.runtimes.executorch import prepared_program

    return prepared_program(model, inputs)


# Lowering a block takes about a second, and a network about 20, so few are tried.
TARGET = Target(
    "executorch",
    "cpu",
    _prepare,
    _settings,
    packages={"executorch": "executorch"},
    most_implementations=3,
    no_share="its packages for Python are built without the tracer of events",
)
