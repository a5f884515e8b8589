"""Fresh weights for a block, as in the papers: Glorot for K and L, zero biases, norms as constructed."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from kswap.nn.block import PointwiseBlock
from kswap.nn.norms_and_activations import is_norm


@torch.no_grad()
def glorot_(layer: nn.Module) -> None:
    """Draw the weights of a grouped pointwise layer from Glorot's uniform distribution, in place.

    Fan-in is the inputs per group, fan-out all filters of the layer (Keras' rule for its kernel shape, which
    the papers used). Drawn on the CPU, so that a seed gives the same weights on every device. The gain of a
    weight-standardised convolution stays as constructed.
    """
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor)
    limit = math.sqrt(6.0 / (weight.shape[1] + weight.shape[0]))
    weight.copy_(torch.empty(weight.shape).uniform_(-limit, limit))
    if isinstance(bias, Tensor):
        bias.zero_()


@torch.no_grad()
def reset_norm_(norm: nn.Module) -> None:
    """Put a norm back to its state at construction, in place; a scale that is all zero stays so.

    An all-zero scale marks the last norm of a residual branch that its network starts at zero.
    """
    weight = getattr(norm, "weight", None)
    zero_scale = False
    if isinstance(weight, torch.Tensor) and weight.numel() > 0 and not weight.is_meta:
        zero_scale = not weight.any()
    reset = getattr(norm, "reset_parameters", None)
    if callable(reset):
        reset()
    else:
        for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            tensor = getattr(norm, name, None)
            if isinstance(tensor, torch.Tensor):
                tensor.fill_(value)
    if zero_scale and isinstance(weight, torch.Tensor):
        weight.zero_()


def init_block_(block: PointwiseBlock) -> None:
    """Fresh weights for K, L and their norms, in place, from torch's global generator."""
    for layer in block.grouped_layers:
        for conv in layer.convolutions:
            glorot_(conv)
    for module in block.modules():
        if is_norm(module):
            reset_norm_(module)
