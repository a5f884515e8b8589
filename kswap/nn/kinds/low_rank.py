"""The low-rank block: two dense pointwise layers, ``Ic -> r -> F``."""

from __future__ import annotations

from torch import Tensor, nn

from kswap.nn.block import LAYER, PointwiseBlock, Stage
from kswap.nn.pointwise import grouped_like
from kswap.planner.kinds.low_rank import LowRankPlan


class LowRankBlock(PointwiseBlock):
    """``up(down(x))``: ``down`` has the stride of the replaced layer and no bias, ``up`` has its bias.

    One linear map of rank ``plan.rank``; norm and activation of the replaced layer stay outside.

    >>> import torch
    >>> from kswap.planner import BlockSettings, plan_block
    >>> block = LowRankBlock(plan_block(64, 40, BlockSettings(kind="low-rank", rank=8)))
    >>> block(torch.zeros(1, 64, 8, 8)).shape, sum(p.numel() for p in block.parameters())
    (torch.Size([1, 40, 8, 8]), 832)
    """

    def __init__(
        self,
        plan: LowRankPlan,
        norm: nn.Module | None = None,
        activation: nn.Module | None = None,
        replaces: nn.Module | None = None,
    ) -> None:
        """Build the two layers.

        Args:
            plan: the channels and the rank.
            norm: ``None``; this kind takes in no norm.
            activation: ``None``; this kind takes in no activation.
            replaces: the layer that is replaced; it gives the type of the new layers, stride, bias, device, dtype
                and ``requires_grad``. ``None`` is a ``Conv2d`` without bias.
        """
        super().__init__(plan, replaces, norm, activation)
        assert plan.rank is not None
        self.plan: LowRankPlan = plan
        like = self.like(replaces)
        weight = like.weight
        assert isinstance(weight, Tensor)
        self.down = grouped_like(like, plan.in_channels, plan.rank, groups=1, strided=True, bias=False)
        self.up = grouped_like(like, plan.rank, plan.out_channels, groups=1, strided=False)
        self.requires_grad_(weight.requires_grad)

    @property
    def layers(self) -> tuple[nn.Module, ...]:
        return self.down, self.up

    @property
    def stages(self) -> tuple[Stage, ...]:
        return Stage("down", self.down), Stage("up", self.up)

    def part_of(self, name: str) -> tuple[str, str]:
        return LAYER, name.rpartition(".")[2]

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.up(self.down(x))
        return out


BLOCK = LowRankBlock
