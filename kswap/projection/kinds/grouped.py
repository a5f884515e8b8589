"""Fits of grouped blocks: K alone in closed form, K with L by alternating least squares."""

from __future__ import annotations

import torch
from torch import Tensor

from kswap.nn.block import PointwiseBlock
from kswap.nn.grouped import GroupedPointwise
from kswap.nn.kinds.grouped import GroupedBlock
from kswap.planner.block_plan import BlockPlan
from kswap.planner.layer_plan import LayerPlan, interleave_order
from kswap.projection.alternating import Alternation
from kswap.projection.fit import Fit
from kswap.projection.moments import Moments
from kswap.projection.objective import Objective
from kswap.projection.supports import Support
from kswap.projection.written import write_bias_, write_weight_


def fit(plan: BlockPlan, weight: Tensor, moments: Moments, seed: int = 0) -> Fit:
    """The grouped block whose linear map comes nearest to the outputs in ``moments``.

    ``parts`` are the weights of K (``"k"``) and, where there is one, L (``"l"``), each ``(F, inputs per group)``: the
    filters of the first path, then those of the second. The start is K fitted alone, whatever the ``seed``.
    """
    assert isinstance(plan, LayerPlan)
    if plan.k is None:
        raise ValueError(f"this plan keeps the convolution: {plan.reason}")
    return _fit(plan, Objective.of(weight, moments))


def _fit(plan: LayerPlan, objective: Objective) -> Fit:
    if plan.l is not None:
        alternation = Alternation(plan, objective)
        pair = alternation.run()
        return Fit(plan, alternation.matrix(pair.k, pair.l), {"k": pair.k, "l": pair.l}, pair.errors)
    assert plan.k is not None
    support, order = Support(plan.k), output_order(plan)
    target = objective.target[torch.argsort(order)]
    k = support.solve(target, objective.metric, support.zeros())
    error = objective.relative(support.value(target, objective.metric, k))
    return Fit(plan, support.dense(k)[order], {"k": k}, (error,))


def output_order(plan: LayerPlan) -> Tensor:
    """For each output of a block without L, the channel of K that it is."""
    return torch.tensor(interleave_order(plan.out_channels, plan.interleave_step or 1))


def write_(block: PointwiseBlock, fitted: Fit, moments: Moments) -> None:
    """Write a fit of :func:`fit` into a block in linear placement, in place."""
    assert isinstance(block, GroupedBlock)
    write_layer_(block.k, fitted.parts["k"])
    order = torch.argsort(output_order(block.plan))
    if block.l is not None:
        write_layer_(block.l, fitted.parts["l"])
        order = torch.arange(block.plan.out_channels)
    write_bias_(block, block.grouped_layers[-1].convolutions, moments, order)


def write_layer_(layer: GroupedPointwise, weights: Tensor) -> None:
    """Write weights ``(F, inputs per group)`` into both paths of K or L, in place; biases become zero."""
    for convolution, rows in zip(layer.convolutions, _paths(layer, weights), strict=True):
        write_weight_(convolution, rows)


def _paths(layer: GroupedPointwise, weights: Tensor) -> tuple[Tensor, ...]:
    first = layer.layout.groups * layer.layout.filters_per_group
    return (weights[:first],) if layer.second is None else (weights[:first], weights[first:])
