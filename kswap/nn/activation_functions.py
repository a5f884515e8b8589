"""Activations and their gradients as functions, by the names of :mod:`kswap.planner.activations`."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

aten = torch.ops.aten

_VALUES: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda x: x,
    "relu": F.relu,
    "relu6": F.relu6,
    "silu": F.silu,
    "hard_swish": F.hardswish,
    "hard_sigmoid": F.hardsigmoid,
    "sigmoid": torch.sigmoid,
    "gelu": F.gelu,
    "tanh": torch.tanh,
}
# From the gradient of the output, and the input.
_GRADIENTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "identity": lambda grad, x: grad,
    "relu": lambda grad, x: aten.threshold_backward(grad, x, 0),
    "relu6": lambda grad, x: aten.hardtanh_backward(grad, x, 0, 6),
    "silu": aten.silu_backward,
    "hard_swish": aten.hardswish_backward,
    "hard_sigmoid": aten.hardsigmoid_backward,
    "sigmoid": lambda grad, x: aten.sigmoid_backward(grad, torch.sigmoid(x)),
    "gelu": aten.gelu_backward,
    "tanh": lambda grad, x: aten.tanh_backward(grad, torch.tanh(x)),
}


def value(name: str, x: Tensor) -> Tensor:
    """The activation ``name`` of ``x``.

    >>> value("relu6", torch.tensor([-1.0, 3.0, 9.0])).tolist()
    [0.0, 3.0, 6.0]
    """
    return _VALUES[name](x)


def gradient(name: str, grad: Tensor, x: Tensor) -> Tensor:
    """The gradient of the input ``x`` of the activation ``name``, from that of its output.

    >>> gradient("relu", torch.ones(2), torch.tensor([-1.0, 3.0])).tolist()
    [0.0, 1.0]
    """
    return _GRADIENTS[name](grad, x)
