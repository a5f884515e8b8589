"""What the targets that run PyTorch share: a copy of the model in place, and a call of it as a pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from kswap.graph.call import tensors_in
from kswap.graph.clone import full_clone
from kswap.runtimes.prepared import Prepared


def placed(model: nn.Module, inputs: tuple[Any, ...], device: str) -> tuple[nn.Module, tuple[Any, ...]]:
    """A copy of the model in eval mode and its inputs, on the device, in the channels-last memory format."""
    copy = full_clone(model).eval().to(device)
    for tensor in [*copy.parameters(), *copy.buffers()]:
        tensor.data = _channels_last(tensor.data)
    return copy, _moved(inputs, device)


def prepared_call(call: Any, inputs: tuple[Any, ...], device: str = "cpu") -> Prepared:
    """A pass that calls ``call`` on inputs that are in place."""

    # inference_mode costs less than no_grad on every operator, and inputs made outside of it are allowed.
    def run() -> Any:
        with torch.inference_mode():
            return call(*inputs)

    def outputs() -> list[Tensor]:
        return [tensor.cpu() for tensor in tensors_in(run())]

    return Prepared(run, outputs, lambda other: prepared_call(call, _moved(other, device), device))


def _moved(inputs: tuple[Any, ...], device: str) -> tuple[Any, ...]:
    def moved(value: Any) -> Any:
        return _channels_last(value.detach().to(device)) if isinstance(value, Tensor) else value

    return tuple(tree_map(moved, inputs))


def _channels_last(value: Any) -> Any:
    """A 4-D tensor in the channels-last memory format; anything else unchanged."""
    if isinstance(value, Tensor) and value.ndim == 4:
        return value.contiguous(memory_format=torch.channels_last)
    return value
