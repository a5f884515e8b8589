"""The assigned block in training: one grouped convolution between two orders of channels."""

from __future__ import annotations

from kswap.nn.implementation import Cost
from kswap.nn.kinds.assigned import AssignedBlock
from kswap.training.trainable import Trainable, stock_only


def trainable(block: AssignedBlock) -> Trainable:
    """Nothing but the block itself; see :func:`kswap.training.kinds.trainable`."""
    plan = block.plan
    ordered = 2 * len(plan.read_order()) * (block.reads is not None) + 2 * plan.out_channels * (
        block.writes is not None
    )
    return stock_only(block, Cost(plan.weights, plan.in_channels + plan.out_channels + ordered))
