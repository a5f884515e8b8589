"""Fresh weights as in the papers: Glorot for pointwise layers, norms as constructed."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


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
