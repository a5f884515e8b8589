"""The layers that kswap puts in: a grouped pointwise convolution with a second path, and the interleave."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kswap.planner.layout import GroupedLayout
from kswap.planner.schemes import interleave_order


class GroupedPointwise(nn.Module):
    """K or L: one grouped pointwise convolution as a :class:`GroupedLayout` describes it.

    Input ``(N, in_channels, H, W)``, output ``(N, out_channels, H', W')`` where the stride divides H and W.
    ``first`` and ``second`` are plain :class:`torch.nn.Conv2d`; ``second`` is ``None`` when the groups
    divide the filters. Weights are made on ``device`` with torch's own initialisation;
    :mod:`kswap.nn.init` draws those of the papers.

    >>> layer = GroupedPointwise(GroupedLayout.of(14, 10, ch=4))
    >>> layer(torch.zeros(2, 14, 5, 7)).shape
    torch.Size([2, 10, 5, 7])
    >>> sum(p.numel() for p in layer.parameters())
    40
    """

    def __init__(
        self,
        layout: GroupedLayout,
        stride: tuple[int, int] = (1, 1),
        bias: bool = False,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_channels = layout.in_channels
        self.out_channels = layout.out_channels
        self.replicated = layout.replicated
        self.second_channels = layout.extra_groups * layout.group_width
        self.first = nn.Conv2d(
            layout.groups * layout.group_width,
            layout.groups * layout.filters_per_group,
            1,
            stride=stride,
            groups=layout.groups,
            bias=bias,
            device=device,
            dtype=dtype,
        )
        self.second: nn.Conv2d | None = None
        if layout.extra_groups:
            self.second = nn.Conv2d(
                self.second_channels,
                layout.extra_groups,
                1,
                stride=stride,
                groups=layout.extra_groups,
                bias=bias,
                device=device,
                dtype=dtype,
            )

    @property
    def convolutions(self) -> tuple[nn.Conv2d, ...]:
        """The convolutions of the first and, where there is one, the second path."""
        return (self.first,) if self.second is None else (self.first, self.second)

    def forward(self, x: Tensor) -> Tensor:
        if self.replicated:
            x = torch.cat([x, x[:, : self.replicated]], dim=1)
        first: Tensor = self.first(x)
        if self.second is None:
            return first
        return torch.cat([first, self.second(x[:, : self.second_channels])], dim=1)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, replicated={self.replicated}"


class Interleave(nn.Module):
    """Puts channels 0, s, 2s, ... first, then 1, 1 + s, ..., and so on; shapes stay as they are.

    >>> Interleave(10, 2)(torch.arange(10.0).view(1, 10, 1, 1)).flatten().tolist()
    [0.0, 2.0, 4.0, 6.0, 8.0, 1.0, 3.0, 5.0, 7.0, 9.0]
    """

    order: Tensor

    def __init__(self, channels: int, step: int, device: torch.device | None = None) -> None:
        super().__init__()
        self.channels = channels
        self.step = step
        order = torch.tensor(interleave_order(channels, step), device=device)
        self.register_buffer("order", order, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x.index_select(1, self.order)

    def extra_repr(self) -> str:
        return f"{self.channels}, step={self.step}"
