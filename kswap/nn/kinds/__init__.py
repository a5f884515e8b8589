"""Kinds of blocks as modules, one file each, named as in :data:`kswap.planner.kinds.BLOCK_KINDS`."""

from __future__ import annotations

from torch import nn

from kswap.nn.block import PointwiseBlock
from kswap.planner.block_plan import BlockPlan
from kswap.planner.kinds.kind import part_of_kind


def build_block(
    plan: BlockPlan,
    norm: nn.Module | None = None,
    activation: nn.Module | None = None,
    replaces: nn.Module | None = None,
) -> PointwiseBlock:
    """The block of ``plan`` with torch's default initialisation.

    Args:
        plan: a plan of any kind that replaces its layer.
        norm: a norm that the block takes in, or ``None``; copied.
        activation: an activation that the block takes in, or ``None``; copied.
        replaces: the layer that is replaced; it gives the type of the new layers, stride, bias, device, dtype and
            ``requires_grad``. ``None`` is a ``Conv2d`` without bias.

    >>> from kswap.planner import plan_layer
    >>> type(build_block(plan_layer(64, 40, ch=16))).__name__
    'GroupedBlock'
    """
    module = part_of_kind(__name__, plan.kind)
    block: PointwiseBlock = module.BLOCK(plan, norm, activation, replaces)
    return block
