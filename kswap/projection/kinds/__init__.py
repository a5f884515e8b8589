"""Fits of blocks to trained layers, one file for each kind of block, named as in ``kswap/planner/kinds``."""

from __future__ import annotations

from torch import Tensor

from kswap.nn.block import PointwiseBlock
from kswap.planner.block_plan import BlockPlan
from kswap.planner.kinds.kind import part_of_kind
from kswap.projection.fit import Fit
from kswap.projection.moments import Moments
from kswap.projection.written import matrix_of

__all__ = ["fit", "fit_absorbed", "matrix_of", "write_", "write_absorbed_"]


def fit(plan: BlockPlan, weight: Tensor, moments: Moments, seed: int = 0) -> Fit:
    """The block of ``plan`` that comes nearest to the outputs in ``moments``, as one linear map.

    Args:
        plan: a plan of any kind that replaces its layer.
        weight: the matrix ``(F, Ic)`` of the trained layer, towards which the fit is regularised.
        moments: inputs that the block will see, and outputs that it should return.
        seed: the same seed gives the same fit.

    Raises :class:`ValueError` for a plan that keeps its layer.
    """
    plan.check_replaces()
    found: Fit = part_of_kind(__name__, plan.kind).fit(plan, weight.detach().double().cpu(), moments, seed)
    return found


def write_(block: PointwiseBlock, fitted: Fit, moments: Moments) -> None:
    """Write a fit into the layers of ``block``, in place.

    Where the last layer has a bias, the mean output becomes that in ``moments``. Norms and activations of the block
    are unchanged.
    """
    part_of_kind(__name__, fitted.plan.kind).write_(block, fitted, moments)


def fit_absorbed(plan: BlockPlan, weight: Tensor, moments: Moments, seed: int = 0) -> Fit:
    """The start of a block that holds copies of the norm and activation, for :func:`write_absorbed_`.

    Arguments are those of :func:`fit`; ``moments`` are of the outputs before the norm. ``matrix`` is the linear map up
    to the first norm. Raises :class:`kswap.errors.PlanError` for blocks that cannot start so. Only kinds whose plans
    absorb have this.
    """
    plan.check_replaces()
    found: Fit = part_of_kind(__name__, plan.kind).fit_absorbed(plan, weight.detach().double().cpu(), moments, seed)
    return found


def write_absorbed_(block: PointwiseBlock, fitted: Fit, moments: Moments) -> None:
    """Write a fit of :func:`fit_absorbed` into ``block``, whose norms and activations are the original's, in place.

    The outputs of the first norm get the mean and variance that the original's norm returns for the same images. What
    the block adds after its first activation starts next to nothing, and learns from there.
    """
    part_of_kind(__name__, fitted.plan.kind).write_absorbed_(block, fitted, moments)
