"""On which input a model is checked: the smallest that it takes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

SIDES = (64, 96, 128, 160, 192, 224, 256)

MOST_PARAMS = 80_000_000
MOST_MACS = 8_000_000_000


def takes(model: nn.Module, size: tuple[int, ...]) -> bool:
    """Whether ``model``, on the meta device, runs on an input of ``size`` (channels, height, width)."""
    try:
        with torch.no_grad():
            model(torch.zeros(2, *size, device="meta"))
    except Exception:  # whatever a model raises: it does not take this size
        return False
    return True


def smallest_size(model: nn.Module, own: tuple[int, ...]) -> tuple[int, ...]:
    """The smallest input of :data:`SIDES` that ``model`` (on the meta device) takes, at most its ``own``."""
    config = getattr(model, "pretrained_cfg", None)
    if isinstance(config, Mapping) and config.get("fixed_input_size"):
        return own
    sizes = [(own[0], side, side) for side in SIDES if side < min(own[1:])]
    return next((size for size in sizes if takes(model, size)), own)


def too_heavy(params: int, macs: int) -> bool:
    """Whether a model is checked without weights and arithmetic: more parameters or MACs than the limits."""
    return params > MOST_PARAMS or macs > MOST_MACS
