"""Blocks that hold norms and activations: K's norm does what the original's did, and the second branch starts small.

The published blocks compute ``k = act(norm(K x))`` and return ``k + act(norm(L P k))``. No linear fit describes that,
so K is fitted alone, and the sum starts as little more than ``k``.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from kswap.nn.pointwise import filter_params, standardises

# How much of its usual size the second branch starts at.
_SHARE = 0.02
# Inputs at which an activation may return next to nothing, and what that is.
_RESTING, _NOTHING = [sign * half / 2 for half in range(13) for sign in (-1, 1)], 0.02


@torch.no_grad()
def quieten_(layers: Iterable[nn.Module], norm: nn.Module | None, activation: nn.Module | None) -> None:
    """Make ``activation(norm(layers(x)))`` next to nothing, in place, such that gradients reach all of it.

    The weights of ``layers`` stay as drawn. The scale of the norm becomes small, its statistics neutral, and its shift
    an input for which the activation returns nothing: 0, or for a sigmoid -4. Without a norm that has a scale, the
    weights become small instead.
    """
    layers = tuple(layers)
    channels = sum(len(layer.weight) for layer in layers if isinstance(layer.weight, Tensor))
    rest = resting_input(activation, norm, channels)
    scale = getattr(norm, "weight", None)
    if norm is None or not isinstance(scale, Tensor):
        for layer in layers:
            _shrink_(layer)
    else:
        scale.mul_(_SHARE)
        for name, neutral in (("running_mean", 0.0), ("running_var", 1.0)):
            statistics = getattr(norm, name, None)
            if isinstance(statistics, Tensor):
                statistics.fill_(neutral)
    last = layers if norm is None else (norm,)
    for module in (*layers, *last):
        if isinstance(getattr(module, "bias", None), Tensor):
            module.bias.fill_(rest if module in last else 0.0)  # type: ignore[operator]


def _shrink_(layer: nn.Module) -> None:
    """The output of ``layer`` becomes small; one that standardises its weights needs a gain for that."""
    factor = layer.gain if filter_params(layer) else None if standardises(layer) else layer.weight
    if isinstance(factor, Tensor):
        factor.mul_(_SHARE)


@torch.no_grad()
def resting_input(activation: nn.Module | None, norm: nn.Module | None = None, channels: int = 1) -> float:
    """The input nearest to 0 at which an activation returns next to nothing, and near which it has a slope.

    ``norm`` may hold an activation of its own, which comes first. 0 where there is no such input.

    >>> resting_input(nn.SiLU()), resting_input(nn.Sigmoid()), resting_input(nn.Hardsigmoid())
    (0.0, -4.0, -3.0)
    """

    def values(at: Tensor) -> Tensor:
        out = at.repeat(1, channels)[:, :, None, None]
        for part in (getattr(norm, "act", None), activation):
            if isinstance(part, nn.Module):
                like = next((parameter for parameter in part.parameters()), out)
                out = part(out.to(like)).to(out)
        return out.flatten(1)

    inputs = torch.tensor(_RESTING)[:, None]
    small = values(inputs).abs().amax(1) <= _NOTHING
    slopes = (values(inputs + 0.25) - values(inputs - 0.25)).abs().amin(1) > 0
    found = (small & slopes).nonzero().flatten()
    return _RESTING[int(found[0])] + 0.0 if len(found) else 0.0


@torch.no_grad()
def reorder_channels_(module: nn.Module | None, order: Tensor) -> None:
    """Put the parameters and statistics that ``module`` has for each channel into another order, in place."""
    if module is None:
        return
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.shape == order.shape:
            tensor.copy_(tensor[order.to(tensor.device)])
