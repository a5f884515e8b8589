"""PyTorch itself on the CPU, operator by operator."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from kswap.runtimes.targets.target import Target

if TYPE_CHECKING:
    from torch import nn

    from kswap.runtimes.prepared import Prepared


def _settings(threads: int | None) -> AbstractContextManager[None]:
    from kswap.runtimes.prepared import torch_threads

    return torch_threads(threads)


def _prepare(model: nn.Module, inputs: tuple[Any, ...], threads: int | None, quick: bool) -> Prepared:
    from kswap.runtimes.pytorch import placed, prepared_call

    return prepared_call(*placed(model, inputs, TARGET.device))


def _share_of(model: nn.Module, inputs: tuple[Any, ...], names: Sequence[str], threads: int | None) -> float:
    """In CPU seconds of this thread, which has a part in every operator: a machine that is busy with other work holds a
    pass up anywhere, and mostly between the layers that are asked for."""
    import time

    from kswap.runtimes.shares import share_of_modules

    return share_of_modules(model, inputs, names, TARGET.device, time.thread_time)


TARGET = Target("eager", "cpu", _prepare, _settings, is_eager=True, share_of=_share_of)
