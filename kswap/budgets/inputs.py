"""What the layers of a network read: moments of their inputs on calibration samples, in one streaming pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from kswap.graph.call import Call
from kswap.nn.affine import affine_of
from kswap.nn.pointwise import channel_dim, channels_of, stride_of
from kswap.projection.moments import Moments, MomentSums

# Rows per layer that the moments are taken from; of larger maps a random part stands for all of it.
_MOST_POSITIONS = 200_000


@dataclass(frozen=True)
class LayerInputs:
    """Moments of what one layer of the original reads, with its matrix ``(F, Ic)`` and bias ``(F,)`` in float64.

    ``shape`` is that of its input in one call, whose first dimension is the batch.
    """

    inputs: Moments
    weight: Tensor
    bias: Tensor
    shape: tuple[int, ...]

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

    Memory: :func:`covariance_bytes` per layer, beside the pass itself. Layers that no pass reaches are left out.
    """
    generator = torch.Generator().manual_seed(seed)
    most = max(_MOST_POSITIONS // max(len(batches), 1), 1)
    sums: dict[str, MomentSums] = {}
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> Any:
        def hook(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            x = next(leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor))
            shapes.setdefault(name, tuple(x.shape))
            rows = positions_of(layer, x)
            if len(rows) > most:
                rows = rows[torch.randperm(len(rows), generator=generator)[:most].to(rows.device)]
            if name not in sums:
                sums[name] = MomentSums(rows.shape[1], 0)
            sums[name].add_(rows, rows[:, :0])

        return hook

    handles = [model.get_submodule(n).register_forward_pre_hook(note(n), with_kwargs=True) for n in names]
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    try:
        for batch in batches:
            batch.to(device).on(model)
    finally:
        for handle in handles:
            handle.remove()
    return {name: _of_layer(model.get_submodule(name), sums[name].moments(), shapes[name]) for name in sums}


def _of_layer(layer: nn.Module, inputs: Moments, shape: tuple[int, ...]) -> LayerInputs:
    affine = affine_of(layer, channels_of(layer)[0], channel_dim(layer))
    return LayerInputs(inputs, affine.weight, affine.bias, shape)


def positions_of(layer: nn.Module, x: Tensor) -> Tensor:
    """The input ``x`` of a pointwise ``layer`` as ``(positions, Ic)``, without positions that its stride skips.

    >>> positions_of(nn.Conv2d(3, 8, 1, stride=2), torch.zeros(2, 3, 5, 5)).shape
    torch.Size([18, 3])
    """
    strides = stride_of(layer)
    for dim, step in enumerate(strides, start=-len(strides)):
        if step > 1:
            x = x.index_select(dim, torch.arange(0, x.shape[dim], step, device=x.device))
    return x.movedim(channel_dim(layer), -1).flatten(0, -2)
