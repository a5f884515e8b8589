"""Copies of a model: whole, or without its weights, to trace and to run without cost."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator

import torch
from torch import Tensor, nn


def _computed(model: nn.Module) -> Iterator[Tensor]:
    """Tensors that a forward pass left in attributes with their history, which ``deepcopy`` refuses."""
    for module in model.modules():
        for value in vars(module).values():
            held = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else (value,)
            yield from (tensor for tensor in held if isinstance(tensor, Tensor) and not tensor.is_leaf)


def copy_with(model: nn.Module, memo: dict[int, object]) -> nn.Module:
    """A deep copy in which the objects of ``memo``, by their ids, stand for others."""
    memo.update((id(tensor), tensor.detach().clone()) for tensor in _computed(model))
    return copy.deepcopy(model, memo)


def full_clone(model: nn.Module) -> nn.Module:
    """A deep copy with its weights, in the same mode, also of a model that keeps results of a forward pass."""
    return copy_with(model, {})


def meta_clone(model: nn.Module) -> nn.Module:
    """A deep copy on the meta device, in eval mode. Allocates no weights and leaves ``model`` as it is."""
    memo: dict[int, object] = {}
    for parameter in model.parameters():
        empty = torch.empty_like(parameter, device="meta")
        memo[id(parameter)] = nn.Parameter(empty, requires_grad=parameter.requires_grad)
    for buffer in model.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy_with(model, memo).eval()


def is_on_meta(model: nn.Module) -> bool:
    """Whether any weight of ``model`` is on the meta device."""
    return any(tensor.is_meta for tensor in itertools.chain(model.parameters(), model.buffers()))
