"""Fits of grouped blocks: K alone in closed form, K with L by alternating least squares."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from kswap.errors import PlanError
from kswap.nn.affine import affine_of
from kswap.nn.block import PointwiseBlock
from kswap.nn.grouped import GroupedPointwise
from kswap.nn.kinds.grouped import GroupedBlock
from kswap.nn.pointwise import filter_params, standardises
from kswap.planner.block_plan import BlockPlan
from kswap.planner.layer_plan import LayerPlan, interleave_order
from kswap.projection.absorbed import quieten_, reorder_channels_
from kswap.projection.alternating import Alternation
from kswap.projection.fit import Fit
from kswap.projection.moments import Moments
from kswap.projection.norms import is_matched, matching_scale, shift_statistics_
from kswap.projection.objective import Objective
from kswap.projection.supports import Support
from kswap.projection.written import write_bias_, write_weight_


def fit(plan: BlockPlan, weight: Tensor, moments: Moments, seed: int = 0) -> Fit:
    """The grouped block whose linear map comes nearest to the outputs in ``moments``.

    ``parts`` are the weights of K (``"k"``) and, where there is one, L (``"l"``), each ``(F, inputs per group)``: the
    filters of the first path, then those of the second. The start is K fitted alone, whatever the ``seed``.
    """
    return _fit(_replacing(plan), Objective.of(weight, moments))


def fit_absorbed(plan: BlockPlan, weight: Tensor, moments: Moments, seed: int = 0) -> Fit:
    """K of a block that holds norms and activations, fitted as if it stood alone.

    ``matrix`` is that of K for the outputs of the block. Raises :class:`PlanError` for a block that returns the
    second branch alone.
    """
    plan = _replacing(plan)
    if plan.l is not None and not plan.sum:
        raise PlanError(
            f"{plan.short()} cannot start from trained weights with norm and activation inside: place it linearly"
        )
    return dataclasses.replace(_fit(_without_l(plan), Objective.of(weight, moments)), plan=plan)


def _replacing(plan: BlockPlan) -> LayerPlan:
    assert isinstance(plan, LayerPlan)
    assert plan.k is not None
    return plan


def _without_l(plan: LayerPlan) -> LayerPlan:
    """The plan of K as it is added to the output: an interleave before L goes with L."""
    return plan if plan.l is None else dataclasses.replace(plan, l=None, interleave_step=None)


def _fit(plan: LayerPlan, objective: Objective, zero_sum: bool = False) -> Fit:
    if plan.l is not None:
        alternation = Alternation(plan, objective, zero_sum)
        pair = alternation.run()
        return Fit(plan, alternation.matrix(pair.k, pair.l), {"k": pair.k, "l": pair.l}, pair.errors)
    assert plan.k is not None
    support, order = Support(plan.k), output_order(plan)
    target = objective.target[torch.argsort(order)]
    k = support.solve(target, objective.metric, support.zeros(), zero_sum)
    error = objective.relative(support.value(target, objective.metric, k))
    return Fit(plan, support.dense(k)[order], {"k": k}, (error,))


def _standardised(plan: LayerPlan, fitted: Fit, moments: Moments, gains: bool) -> dict[str, Tensor]:
    """The parts that weight-standardised layers can hold, near those of ``fitted``.

    The weights of each filter sum to zero. Without gains, those of K also have one size, and L is the best for them;
    its own sizes are lost.
    """
    objective = Objective.of(fitted.matrix, moments)
    parts = _fit(plan, objective, zero_sum=True).parts
    if gains or plan.l is None:
        return parts
    k = nn.functional.normalize(parts["k"], dim=1) * parts["k"].shape[1] ** 0.5
    alternation = Alternation(plan, objective, zero_sum=True)
    return {"k": k, "l": alternation.l_step(k, torch.zeros_like(parts["l"]))}


def output_order(plan: LayerPlan) -> Tensor:
    """For each output of a block, the channel of K that it is, or to which L is added."""
    step = plan.interleave_step if plan.l is None else None
    return torch.tensor(interleave_order(plan.out_channels, step or 1))


def write_(block: PointwiseBlock, fitted: Fit, moments: Moments) -> None:
    """Write a fit of :func:`fit` into a block in linear placement, in place."""
    assert isinstance(block, GroupedBlock)
    parts = fitted.parts
    if standardises(block.k.first):
        parts = _standardised(block.plan, fitted, moments, gains=bool(filter_params(block.k.first)))
    for layer, weights in zip(block.grouped_layers, parts.values(), strict=True):
        write_layer_(layer, weights)
    write_bias_(block, block.grouped_layers[-1].convolutions, moments, torch.argsort(output_order(block.plan)))


@torch.no_grad()
def write_absorbed_(block: PointwiseBlock, fitted: Fit, moments: Moments) -> None:
    """Write a fit of :func:`fit_absorbed` into a block that holds copies of the original's norm and activation.

    K is shifted and scaled to the mean and variance that ``moments`` have for the original's outputs, by its weights,
    by its biases or the running statistics of its norm. The second branch keeps the weights of L and starts small
    (:func:`kswap.projection.absorbed.quieten_`).
    """
    assert isinstance(block, GroupedBlock)
    plan, channels = block.plan, torch.argsort(output_order(block.plan))
    wanted_mean, wanted_var = moments.y_mean[channels], moments.yy[channels]
    for module in (block.k_norm, block.k_act):
        reorder_channels_(module, channels)
    k = fitted.parts["k"]
    if standardises(block.k.first):
        k = _standardised(_without_l(plan), fitted, moments, gains=True)["k"]
    write_layer_(block.k, k)
    k = k * matching_scale(_variances(block, moments), wanted_var)[:, None]
    write_layer_(block.k, k)
    mean = affine_of(block.k, plan.in_channels, block.k.dim).weight @ moments.x_mean
    if all(isinstance(layer.bias, Tensor) for layer in block.k.convolutions):
        for layer, bias in zip(block.k.convolutions, _paths(block.k, wanted_mean - mean), strict=True):
            layer.bias.copy_(bias)  # type: ignore[operator]
        mean = wanted_mean
    if block.k_norm is not None and is_matched(block.k_norm):
        shift_statistics_(block.k_norm, mean, _variances(block, moments), wanted_mean, wanted_var)
    if block.l is not None:
        quieten_(block.l.convolutions, block.l_norm, block.l_act)


def _variances(block: GroupedBlock, moments: Moments) -> Tensor:
    """Of the outputs of K, as it is written: ``(F,)``."""
    matrix = affine_of(block.k, block.plan.in_channels, block.k.dim).weight
    return ((matrix @ moments.xx) * matrix).sum(1)


def write_layer_(layer: GroupedPointwise, weights: Tensor) -> None:
    """Write weights ``(F, inputs per group)`` into both paths of K or L, in place; biases become zero."""
    for convolution, rows in zip(layer.convolutions, _paths(layer, weights), strict=True):
        write_weight_(convolution, rows)


def _paths(layer: GroupedPointwise, weights: Tensor) -> tuple[Tensor, ...]:
    """The rows of the first path and, where there is one, of the second."""
    first = layer.layout.groups * layer.layout.filters_per_group
    return (weights[:first],) if layer.second is None else (weights[:first], weights[first:])
