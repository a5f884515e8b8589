"""Fits of assigned blocks: which inputs form a group and which outputs go to it, then the weights of each group.

For a given assignment the best weights are known in closed form, group by group, and so is what each group explains of
each output. The assignment is improved in turn: outputs by an exact balanced assignment, inputs by exchanges between
groups, whose gains are known exactly. So the objective never rises.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from kswap.nn.block import PointwiseBlock
from kswap.nn.kinds.assigned import AssignedBlock
from kswap.planner.block_plan import BlockPlan
from kswap.planner.kinds.assigned import AssignedPlan
from kswap.planner.layout import GroupedLayout
from kswap.projection.assignment import (
    Assignment,
    error,
    strength_of,
    weights_of,
    with_best_outputs,
    with_inputs_by_strength,
)
from kswap.projection.exchanges import InputExchange
from kswap.projection.fit import Fit
from kswap.projection.kinds.grouped import write_layer_
from kswap.projection.moments import Moments
from kswap.projection.objective import Objective
from kswap.projection.written import write_bias_

# Where exchanges begin: the best that so many rounds of assigning outputs and inputs in turn pass by, from the order of
# the channels and from a drawn one. Exchanges from the order alone end 0.01 to 0.02 higher (expansions of
# EfficientNet-Lite0, Ch 16).
_STARTS = 2
_ROUNDS = 4

# Exchanges end where a round, or all rounds between two assignments of the outputs, lower the objective by less.
_LEAST_GAIN = 5e-4


def fit(plan: BlockPlan, weight: Tensor, moments: Moments, seed: int = 0) -> Fit:
    """The assignment and the weights whose linear map comes near to the outputs in ``moments``.

    ``parts["k"]`` are the weights of K, ``(F, group_width)``, in the order of its filters; ``plan`` has the orders. The
    objective is that of the plan's own order first, whatever it was assigned before, and falls from there.
    """
    assert isinstance(plan, AssignedPlan)
    assert plan.k is not None
    objective = Objective.of(weight, moments)
    found, errors = _assigned(objective, Assignment.in_own_order(plan.k), seed)
    fitted = replace(plan, reads=tuple(found.reads.flatten().tolist()), writes=_writes(plan.k, found))
    matrix = torch.zeros_like(objective.target)
    k = matrix.new_zeros(plan.out_channels, plan.k.group_width)
    for group, reads in enumerate(found.reads):
        outputs = found.outputs_of(group)
        k[outputs] = weights_of(objective, reads, outputs)
        matrix[outputs[:, None], reads] = k[outputs]
    return Fit(fitted, matrix, {"k": k[torch.tensor(fitted.write_order())]}, errors)


def _assigned(objective: Objective, start: Assignment, seed: int) -> tuple[Assignment, tuple[float, ...]]:
    """An assignment that exchanges hardly improve, and the objective after every step that was kept."""
    best, errors = _place_to_start(objective, start, seed)
    exchange = InputExchange(objective, best)
    while True:
        before = errors[-1]
        while exchange.round_() > _LEAST_GAIN:
            pass
        errors.append(error(objective, exchange.assignment))
        exchange.set_makers_(with_best_outputs(objective, exchange.assignment).makers)
        errors.append(error(objective, exchange.assignment))
        if before - errors[-1] < _LEAST_GAIN:
            return exchange.assignment, tuple(errors)


def _place_to_start(objective: Objective, start: Assignment, seed: int) -> tuple[Assignment, list[float]]:
    """The best assignment on a few walks that ignore how inputs are correlated, and the objectives that led to it."""
    best, errors = start, [error(objective, start)]
    generator, strength = torch.Generator().manual_seed(seed), strength_of(objective)
    for number in range(_STARTS):
        channels = len(objective.metric)
        names = torch.randperm(channels, generator=generator) if number else torch.arange(channels)
        tried = Assignment(names[start.reads], start.makers)
        for _ in range(_ROUNDS):
            tried = with_best_outputs(objective, tried)
            found = error(objective, tried)
            if found < errors[-1]:
                best = tried
                errors.append(found)
            tried = with_inputs_by_strength(strength, tried)
    return best, errors


def _writes(k: GroupedLayout, found: Assignment) -> tuple[int, ...]:
    """The output of each filter of K: the first filters of each group, then one more of those with a second path."""
    outputs = [found.outputs_of(group).tolist() for group in range(k.groups)]
    first = [channel for own in outputs for channel in own[: k.filters_per_group]]
    return (*first, *(channel for own in outputs for channel in own[k.filters_per_group :]))


def write_(block: PointwiseBlock, fitted: Fit, moments: Moments) -> None:
    """Write a fit of :func:`fit` into a block, in place: the orders, which its plan then has too, and the weights."""
    assert isinstance(block, AssignedBlock)
    assert isinstance(fitted.plan, AssignedPlan)
    block.assign_(fitted.plan.reads, fitted.plan.writes)
    write_layer_(block.k, fitted.parts["k"])
    write_bias_(block, block.layers, moments, torch.tensor(fitted.plan.write_order()))
