"""Whether a model's weights were ever trained, as far as the weights themselves can tell."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from kswap.nn import PointwiseBlock


@torch.no_grad()
def untrained_reason(model: nn.Module) -> str | None:
    """What says that ``model`` was never trained, or ``None`` where nothing does.

    Two things are known. A block with fresh weights has biases of zero, norms as constructed, and weights spread over
    exactly the range that Glorot's distribution is drawn from; any step of an optimizer moves some of them out of it.
    And a batch norm has statistics of 0 and 1 only before its first batch in training mode.

    >>> untrained_reason(nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)))
    'its norms have never seen a training batch'
    """
    blocks = [module for module in model.modules() if isinstance(module, PointwiseBlock)]
    fresh = sum(map(_is_fresh, blocks))
    if fresh:
        return f"{fresh} of its {len(blocks)} blocks have fresh weights"
    norms = list(_tracking_norms(model))
    if norms and all(map(_is_unused, norms)):
        return "its norms have never seen a training batch"
    return None


def _is_fresh(block: PointwiseBlock) -> bool:
    return all(map(_is_drawn, block.layers)) and all(map(_is_unused, _tracking_norms(block)))


def _is_drawn(layer: nn.Module) -> bool:
    """Whether the layer is as :func:`kswap.nn.init.glorot_` leaves it."""
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor)
    if isinstance(bias, Tensor) and bool(bias.any()):
        return False
    values = weight.double()
    limit = math.sqrt(6 / (weight.shape[0] + weight.shape[1]))
    # Weights in half precision are rounded.
    if float(values.abs().max()) > limit * (1 + torch.finfo(weight.dtype).eps):
        return False
    # A uniform distribution has the root mean square limit / sqrt(3), known from n values to 0.45 / sqrt(n) of itself;
    # 5 times that allows for chance.
    spread = float(values.square().mean().sqrt()) * math.sqrt(3) / limit
    return abs(spread - 1) < 5 * 0.45 / math.sqrt(values.numel())


def _tracking_norms(module: nn.Module) -> Iterator[_NormBase]:
    for norm in module.modules():
        if isinstance(norm, _NormBase) and norm.running_mean is not None:
            yield norm


def _is_unused(norm: _NormBase) -> bool:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return not bool(norm.running_mean.any()) and bool((norm.running_var == 1).all())
