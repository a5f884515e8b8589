"""Layers as matrices: weight and bias of a layer in eval mode, found by passing the identity matrix through it."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Affine:
    """``y = weight x + bias`` over the channels: ``weight`` is ``(out, in)``, ``bias`` ``(out,)``, in float64.

    >>> half = Affine(torch.eye(2).double() / 2, torch.ones(2).double())
    >>> (half @ half).bias.tolist()
    [1.5, 1.5]
    """

    weight: Tensor
    bias: Tensor

    def __matmul__(self, first: Affine) -> Affine:
        """This map of the outputs of ``first``."""
        return Affine(self.weight @ first.weight, self.weight @ first.bias + self.bias)

    def plus_identity(self) -> Affine:
        """``x + self(x)``, for a map with as many outputs as inputs."""
        return Affine(self.weight + torch.eye(len(self.weight), dtype=self.weight.dtype), self.bias)

    def rows(self, order: Tensor) -> Affine:
        """The map to these outputs, in this order."""
        return Affine(self.weight[order], self.bias[order])


@torch.no_grad()
def affine_of(layer: nn.Module, channels: int, dim: int = -3) -> Affine:
    """The matrix and bias of a pointwise ``layer`` that is affine in eval mode, whatever it consists of.

    A copy runs in float64 on the CPU, so that the difference of two outputs is exact for weights in float32.

    Args:
        layer: is unchanged.
        channels: of its input.
        dim: the dimension of the channels, counted from the end: -3 for a 1x1 Conv2d, -1 for a Linear.

    >>> affine_of(nn.Sequential(nn.Conv2d(6, 4, 1), nn.BatchNorm2d(4)), 6).weight.shape
    torch.Size([4, 6])
    """
    probe = copy.deepcopy(layer).cpu().double().eval()
    inputs = torch.cat([torch.zeros(1, channels), torch.eye(channels)]).double()
    outputs = probe(inputs[(..., *(None,) * (-dim - 1))]).flatten(1)
    return Affine((outputs[1:] - outputs[0]).T.contiguous(), outputs[0])
