"""Channels in another order, as a layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from kswap.nn.indices import IndexBuffers


class ChannelOrder(IndexBuffers):
    """Returns the channels ``order`` of its input, in that order; a channel may be there more than once.

    ``dim`` is the dimension of the channels, counted from the end.

    >>> ChannelOrder([2, 0, 2])(torch.arange(3.0).view(1, 3, 1, 1)).flatten().tolist()
    [2.0, 0.0, 2.0]
    """

    if TYPE_CHECKING:  # TorchScript would read the annotation as a text and fail
        order: Tensor

    def __init__(self, order: Sequence[int], device: torch.device | None = None, dim: int = -3) -> None:
        super().__init__()
        self.dim = dim
        self.set_indices_("order", order, device)

    def forward(self, x: Tensor) -> Tensor:
        return x.index_select(self.dim, self.order)

    def extra_repr(self) -> str:
        return f"{len(self.indices('order'))}"


def inverse_of(order: Sequence[int]) -> list[int]:
    """The order that undoes a permutation.

    >>> inverse_of([2, 0, 1])
    [1, 2, 0]
    """
    return sorted(range(len(order)), key=order.__getitem__)
