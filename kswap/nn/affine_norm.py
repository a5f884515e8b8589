"""Norms that are one scale and shift per channel in eval mode."""

from __future__ import annotations

import copy
from functools import cache

import torch
from torch import Tensor, nn


@cache
def _forwards() -> tuple[object, ...]:
    """The forward passes of the norms that are known to be a scale and a shift in eval mode."""
    from timm.layers import norm_act
    from torchvision.ops import FrozenBatchNorm2d

    kinds = (
        nn.BatchNorm2d,
        nn.SyncBatchNorm,
        norm_act.BatchNormAct2d,
        norm_act.SyncBatchNormAct,
        norm_act.FrozenBatchNormAct2d,
        FrozenBatchNorm2d,
    )
    return tuple(kind.forward for kind in kinds)


def split_norm(norm: nn.Module | None) -> tuple[nn.Module | None, nn.Module | None]:
    """A norm as two modules: a copy that is its scale and shift, and the rest, such as the activation inside it.

    Either may be ``None``. A norm that is no fixed scale and shift (group norm, layer norm, no running statistics) is
    all rest.

    >>> split_norm(nn.BatchNorm2d(4)), split_norm(nn.GroupNorm(2, 4))
    ((BatchNorm2d(4, ...), None), (None, GroupNorm(2, 4, ...)))
    """
    if norm is None:
        return None, None
    if type(norm).forward not in _forwards() or getattr(norm, "running_mean", None) is None:
        return None, norm
    core = copy.deepcopy(norm)
    for inner in ("drop", "act"):
        if isinstance(getattr(core, inner, None), nn.Module):
            setattr(core, inner, nn.Identity())
    return core, getattr(norm, "act", None)


@torch.no_grad()
def scale_and_shift(core: nn.Module, channels: int) -> tuple[Tensor, Tensor]:
    """Scale and shift of a norm that :func:`split_norm` returned first: two tensors ``(channels,)`` in float64.

    >>> scale, shift = scale_and_shift(nn.BatchNorm2d(3), 3)
    >>> scale.shape, shift.tolist()
    (torch.Size([3]), [0.0, 0.0, 0.0])
    """
    spatial = 0 if isinstance(core, nn.BatchNorm1d) else 3 if isinstance(core, nn.BatchNorm3d) else 2
    probe = copy.deepcopy(core).cpu().double().eval()
    ends = torch.stack([torch.zeros(channels), torch.ones(channels)]).double()
    shift, end = probe(ends.reshape(2, channels, *(1,) * spatial)).flatten(1)
    return end - shift, shift


def in_order(*layers: nn.Module | None) -> nn.Module | None:
    """These layers one after the other, without those that do nothing; ``None`` when none is left."""
    left = [layer for layer in layers if layer is not None and not isinstance(layer, nn.Identity)]
    if len(left) <= 1:
        return left[0] if left else None
    return nn.Sequential(*left)
