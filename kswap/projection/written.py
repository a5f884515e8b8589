"""Fitted matrices written into layers, and read back from blocks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kswap.nn.affine import Affine, affine_of
from kswap.nn.block import PointwiseBlock
from kswap.nn.pointwise import filter_params, standardises
from kswap.projection.moments import Moments


def matrix_of(block: PointwiseBlock) -> Affine:
    """Matrix and bias of a block that is one linear map, as it computes: ``(F, Ic)`` and ``(F,)`` in float64.

    >>> from kswap.nn import build_block
    >>> from kswap.planner import plan_layer
    >>> matrix_of(build_block(plan_layer(64, 40, ch=16))).weight.shape
    torch.Size([40, 64])
    """
    return affine_of(block, block.plan.in_channels, -1 - len(block.stride))


@torch.no_grad()
def write_weight_(layer: nn.Module, rows: Tensor) -> None:
    """Write ``rows`` ``(filters, inputs per group)`` into a grouped or dense pointwise layer, in place; biases to zero.

    A weight-standardised layer gets weights that it standardises to these rows, as near as it can: the rows must sum to
    zero, and where it has no gain only their direction is kept.
    """
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor)
    if isinstance(bias, Tensor):
        bias.zero_()
    if not standardises(layer):
        weight.copy_(rows.reshape(weight.shape))
        return
    size = rows.square().mean(1).sqrt()
    # A filter of zeros has no direction: it keeps the one that it has, at a gain of zero.
    known = size > 0
    weight[known.to(weight.device)] = (rows[known] / size[known, None]).to(weight).reshape(-1, *weight.shape[1:])
    if filter_params(layer):
        gain, eps, scale = layer.gain, layer.eps, layer.scale
        assert isinstance(gain, Tensor)
        assert isinstance(eps, float)
        assert isinstance(scale, float)
        gain.copy_((size * (1 + eps) ** 0.5 / scale).reshape(gain.shape))


@torch.no_grad()
def write_bias_(block: PointwiseBlock, layers: tuple[nn.Module, ...], moments: Moments, order: Tensor) -> None:
    """Set the biases of the last layers so that the block has the mean output of ``moments``, in place.

    Nothing happens where they have none. All other biases of the block must be zero.

    Args:
        block: one linear map, whose weights are written.
        layers: whose outputs, one after the other, are those of the block.
        moments: what the block reads, and what it should return.
        order: for each channel of ``layers``, the channel of the block's output that it is.
    """
    biases = [bias for bias in (layer.bias for layer in layers) if isinstance(bias, Tensor)]
    if not biases:
        return
    wanted = moments.bias_of(matrix_of(block).weight)[order]
    for bias, values in zip(biases, torch.split(wanted, [len(bias) for bias in biases]), strict=True):
        bias.copy_(values)
