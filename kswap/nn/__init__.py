"""The layers of a converted model: grouped pointwise convolution, interleave, and the block of both."""

from kswap.nn.block import Absorbed, PointwiseBlock
from kswap.nn.grouped import GroupedPointwise, Interleave

__all__ = ["Absorbed", "GroupedPointwise", "Interleave", "PointwiseBlock"]
