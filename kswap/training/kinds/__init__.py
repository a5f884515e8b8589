"""What training knows of each kind of block, one file per kind, named as the kind."""

from __future__ import annotations

from kswap.nn import PointwiseBlock
from kswap.planner.kinds.kind import part_of_kind
from kswap.training.trainable import Trainable


def trainable(block: PointwiseBlock) -> Trainable:
    """The ways to compute ``block`` in training. The file of a kind defines ``trainable(block)``.

    >>> from kswap.nn import build_block
    >>> from kswap.planner import plan_layer
    >>> found = trainable(build_block(plan_layer(64, 48, ch=16)))
    >>> str(found.estimated.id), len(found.variations), found.estimated.has_backward
    ('grouped.converted', 2, True)
    """
    module = part_of_kind(__name__, block.plan.kind)
    found: Trainable = module.trainable(block)
    return found
