"""PyTorch itself on a CUDA device, operator by operator."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from kswap.runtimes.targets.target import Target

if TYPE_CHECKING:
    from torch import nn

    from kswap.runtimes.prepared import Prepared


@contextlib.contextmanager
def _settings(threads: int | None) -> Iterator[None]:
    """cuDNN searches for the quickest kernels inside."""
    import torch

    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def _obstacle() -> str | None:
    import torch

    return None if torch.cuda.is_available() else "there is no CUDA device here: use another target, such as eager"


def _prepare(model: nn.Module, inputs: tuple[Any, ...], threads: int | None, quick: bool) -> Prepared:
    """A pass ends when the GPU has finished it."""
    import torch

    from kswap.runtimes.pytorch import placed, prepared_call

    copy, moved = placed(model, inputs, TARGET.device)

    def call(*given: Any) -> Any:
        output = copy(*given)
        torch.cuda.synchronize()
        return output

    return prepared_call(call, moved, TARGET.device)


def _share_of(model: nn.Module, inputs: tuple[Any, ...], names: Sequence[str], threads: int | None) -> float:
    """Each layer is waited for: a pass that is bound by launches would look quicker without."""
    from kswap.runtimes.shares import share_of_modules, synchronised_clock

    return share_of_modules(model, inputs, names, TARGET.device, synchronised_clock)


TARGET = Target("cuda", "cuda", _prepare, _settings, obstacle=_obstacle, is_eager=True, share_of=_share_of)
