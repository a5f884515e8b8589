"""The layers of a converted model: grouped pointwise convolution, interleave, and blocks of them."""

from kswap.nn.block import Absorbed, PointwiseBlock
from kswap.nn.grouped import GroupedPointwise, Interleave
from kswap.nn.kinds import build_block
from kswap.nn.kinds.assigned import AssignedBlock
from kswap.nn.kinds.grouped import GroupedBlock
from kswap.nn.kinds.low_rank import LowRankBlock

__all__ = [
    "Absorbed",
    "AssignedBlock",
    "GroupedBlock",
    "GroupedPointwise",
    "Interleave",
    "LowRankBlock",
    "PointwiseBlock",
    "build_block",
]
