"""Copies of a model: whole, or without its weights, to trace and to run without cost."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from kswap.errors import ModelError, first_line


def _computed(model: nn.Module) -> Iterator[Tensor]:
    """Tensors that a forward pass left in attributes with their history, which ``deepcopy`` refuses."""
    for module in model.modules():
        for value in vars(module).values():
            held = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else (value,)
            yield from (tensor for tensor in held if isinstance(tensor, Tensor) and not tensor.is_leaf)


def copy_with(model: nn.Module, memo: dict[int, object]) -> nn.Module:
    """A deep copy in which the objects of ``memo``, by their ids, stand for others."""
    memo.update((id(tensor), tensor.detach().clone()) for tensor in _computed(model))
    try:
        return copy.deepcopy(model, memo)
    except (TypeError, RuntimeError) as error:
        name, kind = _uncopyable(model) or ("an attribute", "something")
        raise ModelError(
            f"this {type(model).__name__} cannot be copied: {name} holds a {kind} ({first_line(error)}); take it off, "
            "convert, and set it again"
        ) from error


def _uncopyable(model: nn.Module) -> tuple[str, str] | None:
    """The attribute that ``deepcopy`` refuses, and the class of its value."""
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if name in ("_modules", "_parameters", "_buffers"):
                continue
            try:
                copy.deepcopy(value, {id(part): part for part in model.modules()})
            except Exception:  # whatever a stranger's class raises
                return f"{path}.{name}".lstrip("."), type(value).__name__
    return None


def sharing_clone(model: nn.Module) -> tuple[nn.Module, Mapping[int, object]]:
    """A deep copy over the same parameters, and the copies of all its parts by the ids of their originals.

    What a run does to the modules of the copy, such as installing hooks, does not reach ``model``.
    """
    memo: dict[int, object] = {id(parameter): parameter for parameter in model.parameters()}
    return copy_with(model, memo), memo


def full_clone(model: nn.Module) -> nn.Module:
    """A deep copy with its weights, in the same mode, also of a model that keeps results of a forward pass."""
    return copy_with(model, {})


def meta_clone(model: nn.Module) -> nn.Module:
    """A deep copy on the meta device, in eval mode. Allocates no weights and leaves ``model`` unchanged."""
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
