"""The operator ``kswap_native::grouped_block``: whether it is ready, its numbers, and its shapes without data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, library

from kswap.errors import DeployError
from kswap.native.build import SECONDS, build_library, built_library

# The numbers of activations in grouped_block.h, by name as in kswap.planner.activations.
ACTIVATIONS = {"identity": 0, "relu": 1, "relu6": 2, "silu": 3, "sigmoid": 4, "hard_swish": 5, "hard_sigmoid": 6}

_loaded: Callable[..., Tensor] | None = None


def grouped_block() -> Callable[..., Tensor] | None:
    """The operator, or ``None`` where :func:`obstacle` did not make it ready in this process.

    Its arguments: the input ``(N, C, H, W)``; the weight ``(filters, inputs of a group)`` and bias of K, and of L or
    ``None``; the groups of K and of L; the step of the interleave, 1 for none; the numbers of the activations after K
    and after L; whether the output is the sum of K and L; the stride of K in both dimensions. Filters of the second
    path stand last, as in :class:`kswap.planner.layout.GroupedLayout`. The output has the memory format of the input.
    """
    return _loaded


def obstacle(build: bool = False, seconds: float = SECONDS) -> str | None:
    """Make the operator ready in this process; returns ``None``, or why it cannot be used, in one line.

    Args:
        build: compile it where it was not built on this machine before.
        seconds: how long a build may take.
    """
    global _loaded
    if _loaded is not None:
        return None
    try:
        built = build_library(seconds) if build else built_library()
        if built is None:
            return "it was not built on this machine: ask for it with --native or native=True"
        torch.ops.load_library(built)  # type: ignore[no-untyped-call]
    except DeployError as error:
        return str(error)
    except (OSError, RuntimeError) as error:  # a library that does not fit: of a file system that runs nothing
        return f"{built} cannot be loaded: {str(error).splitlines()[0][:200]}"
    library.register_fake("kswap_native::grouped_block", _shapes)
    _loaded = torch.ops.kswap_native.grouped_block.default
    return None


def _shapes(x: Tensor, k_weight: Tensor, *rest: Any) -> Tensor:
    """An output without data: the fake implementation of the operator."""
    stride = rest[-2:]
    height, width = ((size + step - 1) // step for size, step in zip(x.shape[2:], stride, strict=True))
    is_last = not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
    kind = torch.channels_last if is_last else torch.contiguous_format
    return x.new_empty((x.shape[0], k_weight.shape[0], height, width)).to(memory_format=kind)
