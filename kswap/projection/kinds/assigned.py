"""The assigned block fitted: which inputs form a group and which outputs go to it, then the weights of each group.

For a given assignment the best weights are known in closed form, group by group, and so is what each group explains of
each output. The assignment is improved in turn: outputs by an exact balanced assignment, inputs by exchanges between
groups, whose gains are known exactly. So the objective never rises.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from kswap.nn.kinds.assigned import AssignedBlock
from kswap.planner.kinds.assigned import AssignedPlan
from kswap.planner.layout import GroupedLayout
from kswap.projection.assignment import (
    Assignment,
    InputExchange,
    Problem,
    error,
    weights_of,
    with_best_outputs,
    with_inputs_by_weight,
)
from kswap.projection.fit import Fit
from kswap.projection.moments import Moments

# The part of the mean variance of the inputs that is added to each, towards the trained weights.
_RIDGE = 3e-3

_STARTS = 2
_ROUNDS_BY_WEIGHT = 4
_MOST_ROUNDS = 40
_LEAST_GAIN = 5e-4


def fit(plan: AssignedPlan, weight: Tensor, moments: Moments, seed: int) -> Fit:
    """Assign inputs and outputs to groups and fit the weights; nothing is drawn, so ``seed`` changes nothing.

    ``parts["k"]`` are the weights of K, ``(F, group_width)``, in the order of its filters.
    """
    assert plan.k is not None
    problem = _problem(weight, moments)
    found, errors = _assigned(problem, _in_own_order(plan.k), seed)
    fitted = replace(plan, reads=tuple(found.reads.flatten().tolist()), writes=_writes(plan.k, found))
    matrix, weights = _solved(problem, fitted)
    return Fit(fitted, matrix, {"k": weights}, errors)


def _problem(weight: Tensor, moments: Moments) -> Problem:
    """The moments with a ridge towards ``weight``."""
    ridge = max(_RIDGE * float(moments.xx.diagonal().mean()), 1e-12)
    xx = moments.xx + ridge * torch.eye(len(moments.xx), dtype=torch.float64)
    total = float(moments.yy.sum()) + ridge * float((weight * weight).sum())
    return Problem(xx, moments.yx + ridge * weight, total)


def _in_own_order(k: GroupedLayout) -> Assignment:
    """The assignment before anything is assigned: K reads and makes its channels in order."""
    first = torch.arange(k.groups).repeat_interleave(k.filters_per_group)
    reads = torch.tensor(k.read_order()).reshape(k.groups, k.group_width)
    return Assignment(reads, torch.cat([first, torch.arange(k.extra_groups)]))


def _assigned(problem: Problem, start: Assignment, seed: int) -> tuple[Assignment, tuple[float, ...]]:
    """The assignment that no round improves any more, and the objective after every half-step that was kept."""
    errors = [error(problem, start)]
    best, generator = start, torch.Generator().manual_seed(seed)
    for number in range(_STARTS):
        order = torch.randperm(len(problem.xx), generator=generator) if number else torch.arange(len(problem.xx))
        tried = Assignment(order[start.reads], start.makers)
        for _ in range(_ROUNDS_BY_WEIGHT):
            tried = with_best_outputs(problem, tried)
            found = error(problem, tried)
            if found < errors[-1]:
                best = tried
                errors.append(found)
            tried = with_inputs_by_weight(problem, tried)
    exchange = InputExchange(problem, best)
    for _ in range(_MOST_ROUNDS):
        before = errors[-1]
        while exchange.round_() > _LEAST_GAIN:
            pass
        errors.append(error(problem, exchange.assignment))
        exchange.set_makers_(with_best_outputs(problem, exchange.assignment).makers)
        errors.append(error(problem, exchange.assignment))
        if before - errors[-1] < _LEAST_GAIN:
            break
    return exchange.assignment, tuple(errors)


def _writes(k: GroupedLayout, found: Assignment) -> tuple[int, ...]:
    """The output of each filter of K: of each group its first filters, then one of those with a filter more."""
    outputs = [found.outputs_of(group).tolist() for group in range(k.groups)]
    first = [channel for own in outputs for channel in own[: k.filters_per_group]]
    return (*first, *(channel for own in outputs for channel in own[k.filters_per_group :]))


def _solved(problem: Problem, plan: AssignedPlan) -> tuple[Tensor, Tensor]:
    """The map ``(F, Ic)`` of the block, and the weights of K by filter, ``(F, group_width)``."""
    assert plan.k is not None
    matrix = torch.zeros_like(problem.yx)
    weights = matrix.new_zeros(len(matrix), plan.k.group_width)
    for inputs, outputs in plan.groups():
        reads, makes = torch.tensor(inputs), torch.tensor(outputs)
        found = weights_of(problem, reads, makes)
        matrix[makes[:, None], reads] = found
        weights[makes] = found
    return matrix, weights[torch.tensor(plan.write_order())]


@torch.no_grad()
def write_(block: AssignedBlock, fitted: Fit, moments: Moments) -> None:
    """Write the orders and the weights into ``block``, in place; see :func:`kswap.projection.kinds.write_`."""
    plan = fitted.plan
    assert isinstance(plan, AssignedPlan)
    block.assign_(plan.reads, plan.writes)
    order = torch.tensor(plan.write_order())
    bias = (moments.y_mean - fitted.matrix @ moments.x_mean)[order]
    start = 0
    for layer in block.layers:
        own_weight, own_bias = layer.weight, layer.bias
        assert isinstance(own_weight, Tensor)
        end = start + len(own_weight)
        own_weight.copy_(fitted.parts["k"][start:end].reshape(own_weight.shape))
        if isinstance(own_bias, Tensor):
            own_bias.copy_(bias[start:end])
        start = end
