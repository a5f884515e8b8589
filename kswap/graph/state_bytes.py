"""Bytes on disk."""

from __future__ import annotations

from torch import nn


def state_bytes(*modules: nn.Module) -> int:
    """Bytes of all tensors that are saved with these modules: parameters and buffers, shared ones once.

    >>> state_bytes(nn.Conv2d(8, 4, 1), nn.BatchNorm2d(4))
    216
    """
    tensors = [tensor for module in modules for tensor in module.state_dict().values()]
    return sum({tensor.untyped_storage().data_ptr() or id(tensor): tensor.nbytes for tensor in tensors}.values())
