"""A copy of a model without its weights, to trace and to run without cost."""

from __future__ import annotations

import copy
import itertools

import torch
from torch import nn


def meta_clone(model: nn.Module) -> nn.Module:
    """A deep copy on the meta device, in eval mode. Allocates no weights and leaves ``model`` as it is."""
    memo: dict[int, object] = {}
    for parameter in model.parameters():
        empty = torch.empty_like(parameter, device="meta")
        memo[id(parameter)] = nn.Parameter(empty, requires_grad=parameter.requires_grad)
    for buffer in model.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    clone = copy.deepcopy(model, memo)
    return clone.eval()


def is_on_meta(model: nn.Module) -> bool:
    """Whether any weight of ``model`` is on the meta device."""
    return any(tensor.is_meta for tensor in itertools.chain(model.parameters(), model.buffers()))
