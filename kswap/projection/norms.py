"""Running statistics of norms, matched to those that the original's norms had for the same images."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from kswap.nn.norms_and_activations import is_norm
from kswap.projection.walk import Seen

# Scales beyond these are the noise of channels that are nearly constant.
_LEAST_SCALE, _MOST_SCALE = 0.05, 20.0


def is_matched(module: nn.Module) -> bool:
    """Whether ``module`` is a norm with running statistics: the only norms that :func:`match_norm_` changes."""
    statistics = (getattr(module, name, None) for name in ("running_mean", "running_var"))
    return is_norm(module) and all(isinstance(value, Tensor) for value in statistics)


class _Statistics:
    """Mean and variance per channel, over batches of ``(N, C, ...)``."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros(())
        self.squares = torch.zeros(())  # sum of squared differences from the mean

    def add_(self, x: Tensor) -> None:
        count = x.numel() // x.shape[1]
        rows = x.detach().reshape(len(x), x.shape[1], -1)
        mean = rows.mean(2).mean(0)
        # Five times faster than torch.var_mean over these dimensions, on one thread.
        var = (rows - mean[:, None]).square_().mean(2).mean(0).double().cpu()
        mean = mean.double().cpu()
        total = self.count + count
        if self.count == 0:
            self.count, self.mean, self.squares = count, mean, var * count
            return
        step = mean - self.mean
        self.squares = self.squares + var * count + step**2 * (self.count * count / total)
        self.mean = self.mean + step * (count / total)
        self.count = total

    @property
    def var(self) -> Tensor:
        return self.squares / max(self.count, 1)


@torch.no_grad()
def match_norm_(norm: nn.Module, inputs: Iterable[Seen]) -> None:
    """Change the running statistics of ``norm`` in place, so that its outputs keep the original's mean and variance.

    For each channel, the input of the converted network is shifted and scaled to the mean and variance that the input
    of the original has on the same images; the original's running statistics follow. Where the two inputs are equal,
    nothing changes. Plain re-estimation of the statistics is another thing, and harms trained networks: they are not
    those of the calibration images.
    """
    ours, theirs = _Statistics(), _Statistics()
    for seen in inputs:
        ours.add_(seen.converted)
        theirs.add_(seen.original)
    if ours.count:
        shift_statistics_(norm, ours.mean, ours.var, theirs.mean, theirs.var)


@torch.no_grad()
def shift_statistics_(norm: nn.Module, mean: Tensor, var: Tensor, wanted_mean: Tensor, wanted_var: Tensor) -> None:
    """Change running statistics in place, for inputs that have ``mean`` and ``var`` instead of the wanted ones.

    All four are ``(channels,)``. The norm then returns for the new inputs what it returned for the wanted ones, up to
    second moments.
    """
    running_mean, running_var = norm.running_mean, norm.running_var
    assert isinstance(running_mean, Tensor)
    assert isinstance(running_var, Tensor)
    eps = float(getattr(norm, "eps", 0.0))
    scale = matching_scale(var, wanted_var)
    old_mean, old_var = running_mean.double().cpu(), running_var.double().cpu()
    running_mean.copy_(mean + (old_mean - wanted_mean) / scale)
    running_var.copy_(((old_var + eps) / scale**2 - eps).clamp_min(0))


def matching_scale(var: Tensor, wanted_var: Tensor) -> Tensor:
    """The factors that bring channels of variance ``var`` to ``wanted_var``, within bounds: ``(channels,)``."""
    return ((wanted_var + 1e-12) / (var + 1e-12)).sqrt().clamp(_LEAST_SCALE, _MOST_SCALE)
