"""Whether a layer with a forward pass of its own computes what the class that it derives from does."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_FUNCTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}

# float64 rounds at 2e-16; a sum over thousands of channels in another order stays far below this.
_TOLERANCE = 1e-9


@torch.no_grad()
def computes_plain_map(layer: nn.Module, in_shape: tuple[int, ...]) -> bool:
    """Whether ``layer``, a Linear or a convolution, maps an input of ``in_shape`` as its base class would.

    Tried in eval and in training mode on a copy in float64, with random numbers in place of every parameter, those of
    its children too: a norm, a scale or an adapter that happens to change nothing today is found.

    >>> class Wrapper(nn.Conv2d):
    ...     def forward(self, x: Tensor) -> Tensor:
    ...         return super().forward(x)
    >>> computes_plain_map(Wrapper(4, 8, 1), (1, 4, 5, 5))
    True
    >>> class Doubled(nn.Conv2d):
    ...     def forward(self, x: Tensor) -> Tensor:
    ...         return 2 * super().forward(x)
    >>> computes_plain_map(Doubled(4, 8, 1), (1, 4, 5, 5))
    False
    """
    if any(buffer.is_meta for buffer in layer.buffers()):
        return False
    generator = torch.Generator().manual_seed(0)
    return all(_agrees(layer, in_shape, generator, training) for training in (False, True))


def _agrees(layer: nn.Module, in_shape: tuple[int, ...], generator: torch.Generator, training: bool) -> bool:
    memo: dict[int, object] = {
        id(p): nn.Parameter(torch.randn(p.shape, generator=generator, dtype=torch.float64)) for p in layer.parameters()
    }
    x = torch.randn(in_shape, generator=generator, dtype=torch.float64)
    try:
        tried = copy.deepcopy(layer, memo).cpu().double().train(training)
        found, expected = tried(x), _plain(tried, x)
    except Exception:  # whatever a forward pass of somebody else raises on this input
        return False
    if not isinstance(found, Tensor) or found.shape != expected.shape:
        return False
    return bool((found - expected).abs().max() <= _TOLERANCE * expected.abs().max())


def _plain(layer: nn.Module, x: Tensor) -> Tensor:
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor)
    assert bias is None or isinstance(bias, Tensor)
    if isinstance(layer, nn.Linear):
        return F.linear(x, weight, bias)
    stride = layer.stride
    assert isinstance(stride, tuple)
    return _FUNCTIONS[len(stride)](x, weight, bias, stride)
