"""Fits of low-rank blocks: a truncated singular value decomposition, weighted by the inputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kswap.nn.block import PointwiseBlock
from kswap.nn.kinds.low_rank import LowRankBlock
from kswap.nn.pointwise import filter_params, standardises
from kswap.planner.block_plan import BlockPlan
from kswap.planner.kinds.low_rank import LowRankPlan
from kswap.projection.fit import Fit
from kswap.projection.moments import Moments
from kswap.projection.objective import Objective
from kswap.projection.supports import inverse
from kswap.projection.written import write_bias_, write_weight_


def fit(plan: BlockPlan, weight: Tensor, moments: Moments, seed: int = 0) -> Fit:
    """The map of rank ``plan.rank`` that comes nearest to the outputs in ``moments``, the best that there is.

    With the metric C = R R^T of the inputs, the best dense map W is truncated to the largest singular values of W R
    (Eckart and Young 1936). ``parts`` are ``"down"`` ``(rank, Ic)`` and ``"up"`` ``(F, rank)``, scaled so that both
    weigh the same for each channel between them.
    """
    assert isinstance(plan, LowRankPlan)
    assert plan.rank is not None
    objective = Objective.of(weight, moments)
    down, up = _truncated(objective.metric, objective.target, plan.rank)
    matrix = up @ down
    return Fit(plan, matrix, {"down": down, "up": up}, (objective.value(matrix),))


def _truncated(metric: Tensor, target: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The two factors of the best map of this rank."""
    root = torch.linalg.cholesky(metric)
    weighted = torch.linalg.solve_triangular(root, target.T, upper=False).T  # W R, since target is W R R^T
    left, values, right = torch.linalg.svd(weighted, full_matrices=False)
    found = len(values[:rank])
    down = torch.zeros(rank, len(metric), dtype=torch.float64)
    up = torch.zeros(len(target), rank, dtype=torch.float64)
    down[:found] = torch.linalg.solve_triangular(root, right[:found] * values[:found, None], upper=False, left=False)
    up[:, :found] = left[:, :found]
    scale = down.norm(dim=1).sqrt()
    return down / torch.where(scale > 0, scale, 1)[:, None], up * scale


def _standardised(fitted: Fit, moments: Moments, gains: bool) -> tuple[Tensor, Tensor]:
    """The factors that weight-standardised layers can hold, near those of ``fitted``.

    The weights of each filter sum to zero, which takes one from the rank. Without gains, the filters of ``down`` also
    have one size, and ``up`` is the best for them; its own sizes are lost.
    """
    objective = Objective.of(fitted.matrix, moments)
    inputs, between = (_zero_sums(size) for size in fitted.parts["down"].T.shape)
    down, up = _truncated(inputs.T @ objective.metric @ inputs, objective.target @ inputs, between.shape[1])
    down, up = between @ down @ inputs.T, up @ between.T
    if gains:
        return down, up
    down = nn.functional.normalize(down, dim=1) * down.shape[1] ** 0.5
    return down, objective.target @ down.T @ inverse(down @ objective.metric @ down.T, zero_sum=True)


def _zero_sums(size: int) -> Tensor:
    """An orthonormal basis of the vectors whose elements sum to zero: ``(size, size - 1)``."""
    spread = torch.eye(size, dtype=torch.float64)
    spread[:, 0] = 1
    basis: Tensor = torch.linalg.qr(spread).Q[:, 1:]
    return basis


def write_(block: PointwiseBlock, fitted: Fit, moments: Moments) -> None:
    """Write a fit of :func:`fit` into a block, in place."""
    assert isinstance(block, LowRankBlock)
    down, up = fitted.parts["down"], fitted.parts["up"]
    if standardises(block.down):
        down, up = _standardised(fitted, moments, gains=bool(filter_params(block.down)))
    write_weight_(block.down, down)
    write_weight_(block.up, up)
    write_bias_(block, (block.up,), moments, torch.arange(block.plan.out_channels))
