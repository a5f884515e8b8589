"""Fits of low-rank blocks: a truncated singular value decomposition, weighted by the inputs."""

from __future__ import annotations

import torch
from torch import Tensor

from kswap.nn.block import PointwiseBlock
from kswap.nn.kinds.low_rank import LowRankBlock
from kswap.planner.block_plan import BlockPlan
from kswap.planner.kinds.low_rank import LowRankPlan
from kswap.projection.fit import Fit
from kswap.projection.moments import Moments
from kswap.projection.objective import Objective
from kswap.projection.written import write_bias_, write_weight_


def fit(plan: BlockPlan, weight: Tensor, moments: Moments, seed: int = 0) -> Fit:
    """The map of rank ``plan.rank`` that comes nearest to the outputs in ``moments``, the best that there is.

    With the metric C = R R^T of the inputs, the best dense map W is truncated to the largest singular values of W R
    (Eckart and Young 1936). ``parts`` are ``"down"`` ``(rank, Ic)`` and ``"up"`` ``(F, rank)``, scaled so that both
    weigh the same for each channel between them.
    """
    assert isinstance(plan, LowRankPlan)
    if plan.rank is None:
        raise ValueError(f"this plan keeps the convolution: {plan.reason}")
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


def write_(block: PointwiseBlock, fitted: Fit, moments: Moments) -> None:
    """Write a fit of :func:`fit` into a block, in place."""
    assert isinstance(block, LowRankBlock)
    write_weight_(block.down, fitted.parts["down"])
    write_weight_(block.up, fitted.parts["up"])
    write_bias_(block, (block.up,), moments, torch.arange(block.plan.out_channels))
