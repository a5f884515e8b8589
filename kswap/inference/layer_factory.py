"""Plain layers of torch.nn from matrices."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kswap.nn import PointwiseBlock
from kswap.nn.affine import Affine
from kswap.nn.pointwise import GroupedLinear

_CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


@dataclass(frozen=True)
class LayerFactory:
    """Makes pointwise layers: convolutions with ``stride``, which has one number per dimension; linear layers where
    it is empty."""

    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def like(cls, block: PointwiseBlock) -> LayerFactory:
        """A factory of layers with the stride, dtype and device of ``block``."""
        return cls(tuple(block.stride), block.weight.dtype, block.weight.device)

    @property
    def dim(self) -> int:
        """The dimension of the channels, counted from the end."""
        return -1 - len(self.stride)

    @torch.no_grad()
    def layer(self, weight: Tensor, bias: Tensor | None, groups: int = 1, strided: bool = False) -> nn.Module:
        """A convolution or linear layer with these weights, in eval mode and without gradients.

        Args:
            weight: ``(out, in / groups)``.
            bias: ``(out,)``, or ``None``.
            groups: of the layer.
            strided: whether it has the stride of the factory, or none.
        """
        filters, width = weight.shape
        # Made on the meta device: weights that are overwritten at once need no random numbers.
        common = {"bias": bias is not None, "dtype": self.dtype, "device": torch.device("meta")}
        made: nn.Module
        if not self.stride:
            linear = GroupedLinear(width * groups, filters, groups, **common)  # type: ignore[arg-type]
            made = linear if groups > 1 else nn.Linear(width, filters, **common)  # type: ignore[arg-type]
        else:
            kind = _CONVOLUTIONS[len(self.stride)]
            stride = self.stride if strided else 1
            made = kind(width * groups, filters, 1, stride=stride, groups=groups, **common)  # type: ignore[arg-type]
        made.to_empty(device=self.device)
        made.weight.copy_(weight.reshape(made.weight.shape))
        if bias is not None and made.bias is not None:
            made.bias.copy_(bias)
        return made.eval().requires_grad_(False)

    def dense(self, affine: Affine, strided: bool = False) -> nn.Module:
        """The whole matrix as one layer."""
        return self.layer(affine.weight, affine.bias, strided=strided)

    def diagonal(self, affine: Affine, groups: int, strided: bool = False) -> nn.Module:
        """A block-diagonal matrix as a layer of ``groups`` groups; entries outside the blocks are ignored."""
        blocks = [row.chunk(groups, 1)[g] for g, row in enumerate(affine.weight.chunk(groups))]
        return self.layer(torch.cat(blocks), affine.bias, groups, strided)
