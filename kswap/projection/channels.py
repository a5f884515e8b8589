"""Which hidden channels stay: those from which the projection's outputs can be made best, by least squares."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kswap.projection.moments import Moments
from kswap.projection.objective import Objective


@dataclass(frozen=True)
class Elimination:
    """Channels that leave one after the other, each time the one that costs least.

    ``order`` ``(channels,)`` are all channels, the first to leave first. ``errors`` ``(channels,)`` is what is lost
    after each of them, relative to the variance of the outputs, when the weights of the others make up for it.
    """

    order: Tensor
    errors: Tensor

    def kept(self, count: int) -> Tensor:
        """The ``count`` channels that stay, in ascending order."""
        return self.order[len(self.order) - count :].sort().values

    def error(self, count: int) -> float:
        """What is lost with ``count`` channels: 0 is nothing, 1 everything."""
        gone = len(self.order) - count
        return float(self.errors[gone - 1]) if gone else 0.0


def eliminate(weight: Tensor, moments: Moments) -> Elimination:
    """The order in which hidden channels can leave, by greedy elimination with exact updates of the inverse.

    Taking channel ``j`` out of the best map ``B`` of the inputs that are left costs ``|B[:, j]|^2 / H[j, j]``, where
    ``H`` is the inverse of their second moments; after it, ``B`` and ``H`` follow by a rank-one update. This is the
    Optimal Brain Surgeon step (Hassibi and Stork, 1993) for whole channels, and the objective of ThiNet (Luo et al.,
    2017). Costs ``O(channels^3)``.

    Args:
        weight: of the projection, ``(F, channels)``; the fit is pulled towards it.
        moments: inputs of the projection, with the outputs that it should return.

    >>> x = torch.randn(200, 4, generator=torch.Generator().manual_seed(0)).double()
    >>> x[:, 2] = x[:, 0]
    >>> weight = torch.tensor([[2.0, 0.5, 1.0, 1.0]]).double()
    >>> found = eliminate(weight, Moments.of(x, x @ weight.T))
    >>> found.kept(3), round(found.error(3), 2)
    (tensor([0, 1, 3]), 0.0)
    """
    objective = Objective.of(weight, moments)
    inverse = torch.linalg.inv(objective.metric)
    inverse = (inverse + inverse.T) / 2
    best = objective.target @ inverse
    channels = torch.arange(len(inverse))  # what the rows of the inverse stand for
    left = torch.ones(len(inverse), dtype=torch.bool)
    order, errors, lost = [], [], 0.0
    for _ in range(len(inverse)):
        costs = (best * best).sum(0) / inverse.diagonal().clamp_min(torch.finfo(torch.float64).tiny)
        gone = int(torch.where(left, costs, torch.inf).argmin())
        lost += float(costs[gone])
        column = inverse[:, gone] / inverse[gone, gone]
        best -= torch.outer(best[:, gone].clone(), column)
        inverse -= torch.outer(column, inverse[gone].clone())
        left[gone] = False
        order.append(int(channels[gone]))
        errors.append(lost / objective.scale)
        if 4 * int(left.sum()) < 3 * len(left):  # smaller matrices from here on
            inverse, best, channels = inverse[left][:, left], best[:, left], channels[left]
            left = torch.ones(len(channels), dtype=torch.bool)
    return Elimination(torch.tensor(order), torch.tensor(errors, dtype=torch.float64))


def refit(weight: Tensor, moments: Moments) -> Tensor:
    """The dense map ``(F, Ic)`` that comes nearest to the outputs in ``moments``, pulled towards ``weight``."""
    objective = Objective.of(weight, moments)
    matrix: Tensor = torch.linalg.solve(objective.metric, objective.target.T).T
    return matrix


def part_of(moments: Moments, keep: Tensor) -> Moments:
    """The moments of the inputs ``keep`` alone, with the same outputs."""
    xx = moments.xx[keep][:, keep]
    return Moments(moments.count, moments.x_mean[keep], moments.y_mean, xx, moments.yx[:, keep], moments.yy)


def choose_channels(weight: Tensor, moments: Moments, count: int) -> tuple[Tensor, Tensor, float]:
    """The ``count`` inputs of a projection that stay, the weights that make up for the others, and the error.

    Args:
        weight: of the projection, ``(F, channels)``.
        moments: its inputs, with the outputs that it should return.
        count: how many channels stay.

    Returns:
        The numbers of the channels in ascending order; the matrix ``(F, count)``; and the part of the outputs'
        variance that it does not explain.
    """
    keep = eliminate(weight, moments).kept(count)
    left = part_of(moments, keep)
    matrix = refit(weight[:, keep], left)
    return keep, matrix, left.error(matrix)
