"""Second moments of what a layer reads and of what it should return, summed over a stream of images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """Centred moments per position, in float64 on the CPU.

    ``x`` are the inputs of a layer, ``(positions, Ic)``, and ``y`` the outputs that it should have, ``(positions, F)``.
    ``xx`` is the covariance ``(Ic, Ic)`` of the inputs, ``yx`` ``(F, Ic)`` that of outputs with inputs, ``yy`` ``(F,)``
    the variances of the outputs. ``count`` is the number of positions.

    >>> x = torch.eye(3).double()
    >>> round(Moments.of(x, 2 * x).yx.diagonal().sum().item(), 6)
    1.333333
    """

    count: int
    x_mean: Tensor
    y_mean: Tensor
    xx: Tensor
    yx: Tensor
    yy: Tensor

    @classmethod
    def of(cls, x: Tensor, y: Tensor) -> Moments:
        """The moments of one batch of positions."""
        sums = MomentSums(x.shape[1], y.shape[1])
        sums.add_(x, y)
        return sums.moments()

    def error(self, matrix: Tensor) -> float:
        """The relative error of ``matrix`` ``(F, Ic)`` with the best bias: 0 is exact, 1 as bad as a constant.

        The mean square of ``y - matrix x - bias`` over that of ``y`` around its mean (fraction of variance
        unexplained).
        """
        total = float(self.yy.sum())
        left = total - 2 * float((matrix * self.yx).sum()) + float(((matrix @ self.xx) * matrix).sum())
        return max(left, 0.0) / total if total > 0 else 0.0

    def bias_of(self, matrix: Tensor, keep: Tensor | None = None) -> Tensor:
        """The bias ``(F,)`` that gives ``matrix x + bias`` the mean output.

        Args:
            matrix: ``(F, Ic)``, or ``(F, len(keep))``.
            keep: the input channels that ``matrix`` reads, where it does not read all.

        >>> x = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
        >>> Moments.of(x, x + 1).bias_of(torch.eye(2).double())
        tensor([1., 1.], dtype=torch.float64)
        """
        return self.y_mean - matrix @ (self.x_mean if keep is None else self.x_mean[keep])


class MomentSums:
    """Sums from which :class:`Moments` are made; one batch at a time.

    Sums are taken around the mean of the first batch, so that large means cost no digits.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        self.count = 0
        self._x0 = torch.zeros(inputs, dtype=torch.float64)
        self._y0 = torch.zeros(outputs, dtype=torch.float64)
        self._x = torch.zeros(inputs, dtype=torch.float64)
        self._y = torch.zeros(outputs, dtype=torch.float64)
        self._xx = torch.zeros(inputs, inputs, dtype=torch.float64)
        self._yx = torch.zeros(outputs, inputs, dtype=torch.float64)
        self._yy = torch.zeros(outputs, dtype=torch.float64)

    @torch.no_grad()
    def add_(self, x: Tensor, y: Tensor) -> None:
        """Add positions: ``x`` is ``(positions, Ic)``, ``y`` ``(positions, F)``, of any floating dtype."""
        x, y = x.detach().double().cpu(), y.detach().double().cpu()
        if self.count == 0:
            self._x0, self._y0 = x.mean(0), y.mean(0)
        x, y = x - self._x0, y - self._y0
        self.count += len(x)
        self._x += x.sum(0)
        self._y += y.sum(0)
        self._xx += x.T @ x
        self._yx += y.T @ x
        self._yy += (y * y).sum(0)

    def moments(self) -> Moments:
        """What was added until now. At least one position must have been."""
        x, y = self._x / self.count, self._y / self.count
        return Moments(
            self.count,
            self._x0 + x,
            self._y0 + y,
            self._xx / self.count - torch.outer(x, x),
            self._yx / self.count - torch.outer(y, x),
            (self._yy / self.count - y * y).clamp_min(0),
        )
