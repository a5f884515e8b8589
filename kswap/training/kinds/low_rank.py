"""The low-rank block in training: its two layers are dense convolutions, which are quick by themselves."""

from __future__ import annotations

from kswap.nn import LowRankBlock
from kswap.nn.implementation import Cost
from kswap.training.trainable import Trainable, stock_only


def trainable(block: LowRankBlock) -> Trainable:
    """Nothing but the block itself; see :func:`kswap.training.kinds.trainable`."""
    plan = block.plan
    moved = plan.in_channels + 2 * (plan.rank or 0) + plan.out_channels
    return stock_only(block, Cost(plan.weights, moved))
