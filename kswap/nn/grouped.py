"""The layers that kswap puts in: a grouped pointwise layer with a second path, and the interleave."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from kswap.errors import PlanError
from kswap.nn.group_merging import GroupMerging, quick_merging
from kswap.nn.indices import IndexBuffers
from kswap.nn.merged_groups import interleave, merged_conv, on_plain_cpu, operators_are_free
from kswap.nn.pointwise import channel_dim, grouped_like, standardises
from kswap.planner.layer_plan import interleave_order
from kswap.planner.layout import GroupedLayout


class GroupedPointwise(nn.Module):
    """K or L: one grouped pointwise layer as a :class:`GroupedLayout` describes it.

    Input ``(N, in_channels, H, W)``, output ``(N, out_channels, H', W')`` where the stride divides H and W; for
    a linear layer ``(..., in_channels)`` and ``(..., out_channels)``. ``first`` and ``second`` are layers of
    the kind of the one that is replaced (see :func:`kswap.nn.pointwise.grouped_like`); ``second`` is ``None``
    when the groups divide the filters. Weights have torch's own initialisation; :mod:`kswap.nn.init` draws
    those of the papers.

    ``merging`` and ``merging_channels_last`` say in which groups the layer is computed on inputs of either memory
    format; ``None`` is by PyTorch's grouped convolution. Where nobody measured, :func:`quick_merging` decides for
    CPUs, and all other devices, half precision and whoever records operators get the grouped convolution.

    >>> layer = GroupedPointwise(GroupedLayout.of(14, 10, ch=4))
    >>> layer(torch.zeros(2, 14, 5, 7)).shape
    torch.Size([2, 10, 5, 7])
    >>> sum(p.numel() for p in layer.parameters())
    40
    """

    # TorchScript compiles properties unless they are named here.
    __jit_unused_properties__: ClassVar = ["convolutions", "can_merge"]

    def __init__(self, layout: GroupedLayout, like: nn.Module | None = None, strided: bool = True) -> None:
        """``like`` is the pointwise layer that is replaced: a ``Conv2d`` without bias where there is none."""
        super().__init__()
        like = nn.Conv2d(1, 1, 1, bias=False) if like is None else like
        self.layout = layout
        self.in_channels = layout.in_channels
        self.out_channels = layout.out_channels
        self.replicated = layout.replicated
        self.second_channels = layout.extra_groups * layout.group_width
        self.dim = channel_dim(like)
        channels, filters = layout.groups * layout.group_width, layout.groups * layout.filters_per_group
        self.first = grouped_like(like, channels, filters, layout.groups, strided)
        self.second: nn.Module | None = None
        if layout.extra_groups:
            extra = layout.extra_groups
            self.second = grouped_like(like, self.second_channels, extra, extra, strided)
        self.merging: GroupMerging | None = None
        self.merging_channels_last: GroupMerging | None = None
        self.measured = False
        if self.can_merge:
            self.merging = quick_merging(layout, channels_last=False)
            self.merging_channels_last = quick_merging(layout, channels_last=True)

    @property
    def convolutions(self) -> tuple[nn.Module, ...]:
        """The layers of the first and, where there is one, the second path."""
        return (self.first,) if self.second is None else (self.first, self.second)

    @property
    def can_merge(self) -> bool:
        """Whether groups can be merged: in two-dimensional convolutions, except weight-standardised ones."""
        return isinstance(self.first, nn.Conv2d) and not standardises(self.first)

    def compute_as_(self, merging: GroupMerging | None) -> None:
        """Choose in which groups the layer is computed, in place, over the same parameters.

        ``None`` is by PyTorch's grouped convolution. What is chosen holds on every device and in every precision.
        Raises :class:`kswap.errors.PlanError` where the layer cannot be computed so.
        """
        if merging is not None:
            if not self.can_merge:
                raise PlanError(
                    f"the groups of a {type(self.first).__name__} cannot be merged: choose no merging for it"
                )
            merging.check(self.layout)
        self.merging = self.merging_channels_last = merging
        self.measured = True

    def _merging(self, x: Tensor) -> GroupMerging | None:
        """How to compute the layer on ``x``; ``None`` is by PyTorch's grouped convolution."""
        if self.merging is None or x.ndim != 4 or x.shape[1] != self.in_channels or not x.numel():
            return None
        if not operators_are_free(x, self.first, self.second):
            return None
        if not self.measured and not on_plain_cpu(x):
            return None
        if x.is_contiguous():
            return self.merging
        return self.merging_channels_last if x.is_contiguous(memory_format=torch.channels_last) else None

    def forward(self, x: Tensor) -> Tensor:
        if not torch.jit.is_scripting():  # type: ignore[attr-defined]
            merging = self._merging(x)
            if merging is not None:
                return merged_conv(x, self.layout, merging, self.first, self.second)
        if self.replicated:
            x = torch.cat([x, x.narrow(self.dim, 0, self.replicated)], dim=self.dim)
        first: Tensor = self.first(x)
        if self.second is None:
            return first
        return torch.cat([first, self.second(x.narrow(self.dim, 0, self.second_channels))], dim=self.dim)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, replicated={self.replicated}"


class Interleave(IndexBuffers):
    """Puts channels 0, s, 2s, ... first, then 1, 1 + s, ..., and so on; the shape is unchanged.

    ``dim`` is the dimension of the channels, counted from the end.

    >>> Interleave(10, 2)(torch.arange(10.0).view(1, 10, 1, 1)).flatten().tolist()
    [0.0, 2.0, 4.0, 6.0, 8.0, 1.0, 3.0, 5.0, 7.0, 9.0]
    """

    if TYPE_CHECKING:  # TorchScript would read the annotation as a text and fail
        order: Tensor

    def __init__(self, channels: int, step: int, device: torch.device | None = None, dim: int = -3) -> None:
        super().__init__()
        self.dim = dim
        self.channels = channels
        self.step = step
        self.set_indices_("order", interleave_order(channels, step), device)

    def _reordered(self, x: Tensor) -> Tensor | None:
        """The output by a quicker operator, where there is one: only its gradient is computed in another way."""
        quick = self.dim == -3 and x.ndim == 4 and operators_are_free(x) and on_plain_cpu(x)
        return interleave(x, self.channels, self.step) if quick else None

    def forward(self, x: Tensor) -> Tensor:
        if not torch.jit.is_scripting():  # type: ignore[attr-defined]
            reordered = self._reordered(x)
            if reordered is not None:
                return reordered
        return x.index_select(self.dim, self.order)

    def extra_repr(self) -> str:
        return f"{self.channels}, step={self.step}"
