"""Initial weights as Keras draws them for the authors' networks."""

from __future__ import annotations

import math

import torch
from torch import nn


def fans(conv: nn.Conv2d) -> tuple[int, int]:
    """Fan-in and fan-out by Keras' rule for the shape of the kernel; depthwise kernels have one output per channel.

    >>> fans(nn.Conv2d(8, 16, 3)), fans(nn.Conv2d(8, 8, 3, groups=8))
    ((72, 144), (72, 9))
    """
    window = conv.kernel_size[0] * conv.kernel_size[1]
    if conv.groups == conv.in_channels > 1:
        return window * conv.in_channels, window
    return window * conv.in_channels // conv.groups, window * conv.out_channels


@torch.no_grad()
def glorot_uniform_(model: nn.Module) -> None:
    """Draw convolutions and linear layers of ``model`` from Glorot's uniform distribution, in place; biases are 0."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            fan_in, fan_out = (
                fans(module) if isinstance(module, nn.Conv2d) else (module.in_features, module.out_features)
            )
            limit = math.sqrt(6.0 / (fan_in + fan_out))
            module.weight.uniform_(-limit, limit)
            if module.bias is not None:
                module.bias.zero_()


@torch.no_grad()
def fan_out_normal_(model: nn.Module) -> None:
    """Draw all convolutions of ``model`` by Keras' variance scaling (2, fan-out, truncated normal), in place.

    Linear layers get its uniform form with scale 1/3, as in Keras' EfficientNet; biases become zero.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            # A normal distribution truncated at two standard deviations keeps 0.87962566 of its standard deviation.
            deviation = math.sqrt(2.0 / fans(module)[1]) / 0.87962566103423978
            nn.init.trunc_normal_(module.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
        elif isinstance(module, nn.Linear):
            limit = math.sqrt(1.0 / module.out_features) if module.out_features else 0.0
            module.weight.uniform_(-limit, limit)
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            module.bias.zero_()
