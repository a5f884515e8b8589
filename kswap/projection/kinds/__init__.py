"""Fits of blocks to trained layers, one file for each kind of block, named as in ``kswap/planner/kinds``."""

from __future__ import annotations

from torch import Tensor

from kswap.nn.block import PointwiseBlock
from kswap.planner.block_plan import BlockPlan
from kswap.planner.kinds.kind import part_of_kind
from kswap.projection.fit import Fit
from kswap.projection.moments import Moments
from kswap.projection.written import matrix_of

__all__ = ["fit", "matrix_of", "write_"]


def fit(plan: BlockPlan, weight: Tensor, moments: Moments, seed: int = 0) -> Fit:
    """The block of ``plan`` that comes nearest to the outputs in ``moments``, as one linear map.

    Args:
        plan: a plan of any kind that replaces its layer.
        weight: the matrix ``(F, Ic)`` of the trained layer, towards which the fit is regularised.
        moments: inputs that the block will see, and outputs that it should return.
        seed: the same seed gives the same fit.
    """
    found: Fit = part_of_kind(__name__, plan.kind).fit(plan, weight.detach().double().cpu(), moments, seed)
    return found


def write_(block: PointwiseBlock, fitted: Fit, moments: Moments) -> None:
    """Write a fit into the layers of ``block``, in place.

    Where the last layer has a bias, the mean output becomes that in ``moments``. Norms and activations of the block
    are unchanged.
    """
    part_of_kind(__name__, fitted.plan.kind).write_(block, fitted, moments)
