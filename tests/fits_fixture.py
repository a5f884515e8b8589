"""Inputs and trained weights that blocks are fitted to in the tests."""

from __future__ import annotations

import torch
from torch import Tensor

from kswap.projection.moments import Moments


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def inputs(channels: int, count: int, seed: int, rank: int | None = None) -> Tensor:
    """Correlated inputs with means, of very different variances, as activations are."""
    generator = drawn(seed)
    mixing = torch.randn(rank or channels, channels, generator=generator).double()
    mixing = mixing * torch.logspace(-1, 1, channels).double()[torch.randperm(channels, generator=generator)]
    return torch.randn(count, rank or channels, generator=drawn(seed + 1)).double() @ mixing + mixing.mean(0)


def trained(filters: int, channels: int, seed: int) -> Tensor:
    return torch.randn(filters, channels, generator=drawn(seed + 2)).double() / channels**0.5


def moments_of(x: Tensor, weight: Tensor) -> Moments:
    return Moments.of(x, x @ weight.T + 1)
