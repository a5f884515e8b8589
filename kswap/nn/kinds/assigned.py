"""The assigned block: K alone, whose groups read assigned inputs and make assigned outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor, nn

from kswap.nn.block import LAYER, PointwiseBlock, Stage
from kswap.nn.channel_order import ChannelOrder, inverse_of
from kswap.nn.grouped import GroupedPointwise
from kswap.nn.pointwise import channel_dim
from kswap.planner.kinds.assigned import AssignedPlan
from kswap.planner.layout import GroupedLayout


class AssignedBlock(PointwiseBlock):
    """``writes(k(reads(x)))``: the inputs in the order that K reads, K, and its filters in the order of the outputs.

    ``reads`` and ``writes`` are ``None`` where K's own order is the right one. K has no replication of its own:
    ``reads`` repeats channels where the layout does. Norm and activation of the replaced layer stay outside.

    >>> import torch
    >>> from kswap.planner import BlockSettings, plan_block
    >>> block = AssignedBlock(plan_block(64, 96, BlockSettings(kind="assigned", ch=16)))
    >>> block.assign_(reads=[*range(63, -1, -1)], writes=[*range(95, -1, -1)])
    >>> block(torch.zeros(1, 64, 8, 8)).shape, sum(p.numel() for p in block.parameters())
    (torch.Size([1, 96, 8, 8]), 1536)
    """

    def __init__(
        self,
        plan: AssignedPlan,
        norm: nn.Module | None = None,
        activation: nn.Module | None = None,
        replaces: nn.Module | None = None,
    ) -> None:
        """Build K and the two orders.

        Args:
            plan: the layout of K, and the orders where they are assigned.
            norm: ``None``; this kind takes in no norm.
            activation: ``None``; this kind takes in no activation.
            replaces: the layer that is replaced; it gives the type of the new layers, stride, bias, device, dtype
                and ``requires_grad``. ``None`` is a ``Conv2d`` without bias.
        """
        super().__init__(plan, replaces, norm, activation)
        assert plan.k is not None
        self.plan: AssignedPlan = plan
        like = self.like(replaces)
        weight = like.weight
        assert isinstance(weight, Tensor)
        self.dim = channel_dim(like)
        self.reads: ChannelOrder | None = None
        self.k = GroupedPointwise(without_replication(plan.k), like)
        self.writes: ChannelOrder | None = None
        self._set_orders_(plan)
        self.requires_grad_(weight.requires_grad)

    def assign_(self, reads: Sequence[int] | None, writes: Sequence[int] | None) -> None:
        """Set the orders, in place, in the plan as well; weights are unchanged.

        See :class:`kswap.planner.kinds.assigned.AssignedPlan`, which checks them: raises
        :class:`kswap.errors.PlanError` for what is no order of the channels.
        """
        plan = replace(
            self.plan,
            reads=None if reads is None else tuple(reads),
            writes=None if writes is None else tuple(writes),
        )
        self._set_orders_(plan)
        self.plan = plan

    def _set_orders_(self, plan: AssignedPlan) -> None:
        device, reads, takes = self.weight.device, plan.read_order(), inverse_of(plan.write_order())
        self.reads = ChannelOrder(reads, device, self.dim) if reads != tuple(range(self.in_channels)) else None
        self.writes = ChannelOrder(takes, device, self.dim) if takes != [*range(self.out_channels)] else None

    @property
    def layers(self) -> tuple[nn.Module, ...]:
        """The convolutions or linear layers of K."""
        return self.k.convolutions

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The whole block."""
        parts = [part for part in (self.reads, self.k, self.writes) if part is not None]
        return (Stage("k", nn.Sequential(*parts)),)

    def part_of(self, name: str) -> tuple[str, str]:
        """See :meth:`PointwiseBlock.part_of`."""
        return LAYER, name.rpartition(".")[2]

    def forward(self, x: Tensor) -> Tensor:
        if self.reads is not None:
            x = self.reads(x)
        out: Tensor = self.k(x)
        if self.writes is not None:
            out = self.writes(out)
        return out


def without_replication(layout: GroupedLayout) -> GroupedLayout:
    """The layout that reads its replicated inputs as inputs of their own; its weights are the same.

    >>> without_replication(GroupedLayout.of(14, 10, ch=4)).in_channels
    16
    """
    return replace(layout, in_channels=layout.groups * layout.group_width, replicated=0)


BLOCK = AssignedBlock
