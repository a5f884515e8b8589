"""What the variants of an export need: a free batch dimension, and a model that computes in half precision."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from kswap.errors import DeployError
from kswap.graph.call import tensors_in
from kswap.graph.clone import full_clone

# How to mend an export with a free batch that fails.
FREE_BATCH = "export it with a fixed batch, or write it so that no shape in it depends on the batch"


class InHalfPrecision(nn.Module):
    """A copy of a model in float16, between inputs and outputs in float32: who calls it notices nothing.

    >>> layer = InHalfPrecision(nn.Linear(4, 2))
    >>> layer.model.weight.dtype, layer(torch.zeros(1, 4)).dtype
    (torch.float16, torch.float32)
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = full_clone(model).half()

    def forward(self, *inputs: Any) -> Any:
        return _floats_as(torch.float32, self.model(*_floats_as(torch.float16, inputs)))


def _floats_as(dtype: torch.dtype, values: Any) -> Any:
    """Nested values with every tensor of floats in ``dtype``."""

    def changed(value: Any) -> Any:
        return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value

    return tree_map(changed, values)


def batch_shapes(model: nn.Module, inputs: tuple[Any, ...]) -> Any:
    """What ``torch.export`` takes for ``dynamic_shapes`` where the first dimension of all inputs is the batch."""
    shapes: Any = torch.export.ShapesCollection()  # type: ignore[no-untyped-call]
    batch = torch.export.Dim("batch")
    for tensor in tensors_in(inputs):
        shapes[tensor] = {0: batch}
    return shapes.dynamic_shapes(model, inputs)


def with_batch(inputs: tuple[Any, ...], batch: int) -> tuple[Any, ...]:
    """``inputs`` with another batch: their first samples, repeated as often as it takes.

    Raises :class:`DeployError` where the inputs do not have one and the same batch.

    >>> [tuple(x.shape) for x in with_batch((torch.zeros(1, 3), torch.zeros(1, 8)), 2)]
    [(2, 3), (2, 8)]
    """
    sizes = {tensor.shape[0] if tensor.ndim else None for tensor in tensors_in(inputs)}
    if len(sizes) != 1 or sizes & {None, 0}:
        raise DeployError("a free batch is the first dimension of all inputs, and these do not have it in common")
    (size,) = sizes
    assert size is not None
    numbers = torch.arange(batch) % size
    return tuple(tree_map(lambda value: value[numbers] if isinstance(value, Tensor) else value, inputs))
