"""The device that a module is on."""

from __future__ import annotations

import torch
from torch import nn


def device_of(model: nn.Module) -> torch.device:
    """The device of the first parameter; the CPU where the model has none.

    >>> device_of(nn.Linear(1, 1, device="meta")), device_of(nn.ReLU())
    (device(type='meta'), device(type='cpu'))
    """
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
