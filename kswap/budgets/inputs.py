"""What the layers of a network read: moments of their inputs on calibration samples, in one streaming pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kswap.graph.call import Call, first_tensor
from kswap.graph.device import device_of
from kswap.nn.affine import affine_of
from kswap.nn.pointwise import channel_dim, channels_of
from kswap.projection.moments import Moments, MomentSums
from kswap.projection.positions import Positions

# Rows per layer that the moments are taken from; of larger maps a random part stands for all of it.
_MOST_POSITIONS = 200_000


@dataclass(frozen=True)
class LayerInputs:
    """Moments of what one layer of the original reads, with its matrix ``(F, Ic)`` and bias ``(F,)`` in float64.

    ``shape`` is that of its input in one call, whose first dimension is the batch; a pass has ``calls`` of them.
    """

    inputs: Moments
    weight: Tensor
    bias: Tensor
    shape: tuple[int, ...]
    calls: int

    def moments(self) -> Moments:
        """With the outputs that the layer itself has: they follow from the moments of its inputs."""
        reached = self.weight @ self.inputs.xx
        return Moments(
            self.inputs.count,
            self.inputs.x_mean,
            self.weight @ self.inputs.x_mean + self.bias,
            self.inputs.xx,
            reached,
            (reached * self.weight).sum(1).clamp_min(0),
        )


def covariance_bytes(layer: nn.Module) -> int:
    """Bytes of the sums that are kept for ``layer`` while the samples pass: Ic x Ic numbers in float64.

    >>> covariance_bytes(nn.Conv2d(1152, 320, 1))
    10616832
    """
    return 8 * channels_of(layer)[0] ** 2


@torch.no_grad()
def layer_inputs(
    model: nn.Module, names: Sequence[str], batches: Sequence[Call], seed: int = 0
) -> Mapping[str, LayerInputs]:
    """Run ``model``, in eval mode, on all ``batches`` and take the moments of what the layers ``names`` read.

    Returns them in the order in which the layers run.

    Memory: :func:`covariance_bytes` per layer, beside the pass itself. Layers that no pass reaches are left out.
    """
    positions = Positions(_MOST_POSITIONS // max(len(batches), 1), torch.Generator().manual_seed(seed))
    sums: dict[str, MomentSums] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    calls = dict.fromkeys(names, 0)

    def note(name: str) -> Any:
        def hook(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> None:
            x = first_tensor((args, kwargs))
            shapes.setdefault(name, tuple(x.shape))
            calls[name] += 1
            rows, nothing = positions.of(layer, x, output.narrow(channel_dim(layer), 0, 0))
            sums.setdefault(name, MomentSums(rows.shape[1], 0)).add_(rows, nothing)

        return hook

    handles = [model.get_submodule(n).register_forward_hook(note(n), with_kwargs=True) for n in names]
    device = device_of(model)
    try:
        for batch in batches:
            batch.to(device).on(model)
    finally:
        for handle in handles:
            handle.remove()
    return {
        name: _of_layer(model.get_submodule(name), own.moments(), shapes[name], calls[name] // max(len(batches), 1))
        for name, own in sums.items()
    }


def _of_layer(layer: nn.Module, inputs: Moments, shape: tuple[int, ...], calls: int) -> LayerInputs:
    affine = affine_of(layer, channels_of(layer)[0], channel_dim(layer))
    return LayerInputs(inputs, affine.weight, affine.bias, shape, calls)
