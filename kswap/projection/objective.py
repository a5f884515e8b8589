"""What a fit minimises: the error of the whole map on the moments, with a ridge towards the trained weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kswap.errors import DataError
from kswap.projection.moments import Moments

# Of the mean variance of the inputs, and as much again as channels there are for each position: with few positions the
# moments are noise in most directions, and the trained weights know better.
RIDGE, RIDGE_OF_FEW = 3e-3, 0.1
_LEAST_VARIANCE = 1e-60


@dataclass(frozen=True)
class Objective:
    """``tr(A metric A^T) - 2 tr(A target^T) + constant`` of a map ``A`` ``(F, Ic)``, relative to the constant.

    That is the mean square error of the outputs plus a ridge that pulls ``A`` towards the trained weights, relative to
    that of ``A = 0``: nearly :meth:`kswap.projection.moments.Moments.error`. Units are those in which the inputs have
    a mean variance of 1.
    """

    metric: Tensor
    target: Tensor
    constant: float

    @classmethod
    def of(cls, weight: Tensor, moments: Moments) -> Objective:
        """The objective of a fit to ``moments``, pulled towards ``weight`` ``(F, Ic)``.

        The fewer positions the moments are of, the stronger the pull. Where no input varies, the weights alone decide.
        Raises :class:`DataError` for moments that are not finite.

        >>> x = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)).double()
        >>> weight = torch.arange(12.0).reshape(2, 6).double()
        >>> round(Objective.of(weight, Moments.of(x, x @ weight.T)).value(weight), 9)
        0.0
        """
        if not all(bool(part.isfinite().all()) for part in (moments.xx, moments.yx, moments.yy, weight)):
            raise DataError("the layer has weights, inputs or outputs that are not finite: check the calibration data")
        variance = float(moments.xx.diagonal().mean())
        eye = torch.eye(len(moments.xx), dtype=torch.float64)
        if variance < _LEAST_VARIANCE:
            return cls(eye, weight, float((weight * weight).sum()))
        ridge = RIDGE + RIDGE_OF_FEW * len(eye) / moments.count
        constant = float(moments.yy.sum()) / variance + ridge * float((weight * weight).sum())
        metric, target = moments.xx / variance + ridge * eye, moments.yx / variance + ridge * weight
        return cls(metric, target, constant)

    @property
    def scale(self) -> float:
        """What the objective is relative to: its terms at ``A = 0``."""
        return self.constant or 1.0

    def value(self, matrix: Tensor) -> float:
        """The objective of ``matrix`` ``(F, Ic)``."""
        return self.relative(float((((matrix @ self.metric) - 2 * self.target) * matrix).sum()))

    def relative(self, terms: float) -> float:
        """The objective from the terms that depend on the map."""
        return max(terms + self.constant, 0.0) / self.scale
