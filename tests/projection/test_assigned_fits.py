"""Fits of assigned blocks: never worse than K alone in its own order, exact where an assignment is hidden."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, permutations

import numpy as np
import pytest
import torch
from fits_fixture import inputs, moments_of, trained
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from kswap.nn import build_block
from kswap.planner import BlockSettings, plan_block
from kswap.planner.kinds.assigned import AssignedPlan
from kswap.projection.assignment import Assignment, error
from kswap.projection.balanced import improved
from kswap.projection.exchanges import InputExchange, gains_of_reading
from kswap.projection.kinds import fit, matrix_of
from kswap.projection.objective import Objective

SEEDS = st.integers(0, 2**16)


@st.composite
def plans(draw: st.DrawFn) -> AssignedPlan:
    """Layouts with replication, second paths and capped groups."""
    channels, filters = draw(st.integers(3, 40)), draw(st.integers(2, 40))
    return plan_block(channels, filters, BlockSettings("assigned", draw(st.integers(1, 12))))


@given(plans(), SEEDS, st.sampled_from([1, 5, 200]))
@settings(max_examples=30, deadline=None)
def test_no_step_raises_the_objective_and_the_first_is_k_alone(plan: AssignedPlan, seed: int, count: int) -> None:
    if not plan.replaces:
        return
    weight = trained(plan.out_channels, plan.in_channels, seed)
    x = inputs(plan.in_channels, count, seed)
    x[:, 0] = 3.0  # a dead channel
    moments = moments_of(x, weight)
    fitted = fit(plan, weight, moments, seed)
    assert fitted.matrix.isfinite().all()
    assert all(after <= before + 1e-9 for before, after in pairwise(fitted.errors))
    objective = Objective.of(weight, moments)
    alone = plan_block(
        plan.in_channels, plan.out_channels, BlockSettings(ch=plan.ch, scheme=plan.scheme, second_layer=False)
    )
    in_order = objective.value(fit(alone, weight, moments).matrix)
    assert fitted.errors[0] == pytest.approx(in_order, abs=1e-7)
    assert objective.value(fitted.matrix) == pytest.approx(fitted.errors[-1], abs=1e-7)
    assert objective.value(fitted.matrix) <= in_order + 1e-7


@pytest.mark.parametrize(("channels", "filters", "ch"), [(24, 36, 6), (32, 32, 8), (40, 20, 8)])
def test_a_hidden_assignment_is_found(channels: int, filters: int, ch: int) -> None:
    """A layer that is block diagonal up to the order of its channels is recovered, and its weights exactly.

    The search is local. It found the first two shapes for each of six draws of the weights, the third for three.
    """
    torch.manual_seed(0)
    plan = plan_block(channels, filters, BlockSettings("assigned", ch))
    generator = torch.Generator().manual_seed(1)
    reads = torch.randperm(channels, generator=generator).tolist()
    hidden = replace(plan, reads=tuple(reads), writes=tuple(torch.randperm(filters, generator=generator).tolist()))
    block = build_block(hidden, replaces=nn.Conv2d(channels, filters, 1, dtype=torch.float64))
    weight = matrix_of(block).weight
    moments = moments_of(torch.randn(500, channels, generator=generator).double(), weight)
    fitted = fit(plan, weight, moments)
    assert fitted.errors[0] > 0.3
    assert fitted.errors[-1] < 1e-9
    torch.testing.assert_close(fitted.matrix, weight, rtol=1e-8, atol=1e-8)
    found = {frozenset(inputs) for inputs, _ in fitted.plan.groups()}
    assert found == {frozenset(inputs) for inputs, _ in hidden.groups()}


def test_it_helps_and_the_same_seed_gives_the_same_fit() -> None:
    plan, weight = plan_block(48, 96, BlockSettings("assigned", 8)), trained(96, 48, 0)
    moments = moments_of(inputs(48, 500, 0), weight)
    first, second = (fit(plan, weight, moments, seed=3) for _ in range(2))
    assert (first.plan, first.errors) == (second.plan, second.errors)
    assert torch.equal(first.parts["k"], second.parts["k"])
    assert first.errors[-1] < 0.9 * first.errors[0]


@given(plans(), SEEDS)
@settings(max_examples=30, deadline=None)
def test_what_an_exchange_gains_is_exact(plan: AssignedPlan, seed: int) -> None:
    if not plan.replaces:
        return
    weight = trained(plan.out_channels, plan.in_channels, seed)
    objective = Objective.of(weight, moments_of(inputs(plan.in_channels, 60, seed), weight))
    start = Assignment.in_own_order(plan.k)
    before = error(objective, start)
    gains = gains_of_reading(objective, start.reads[0], start.outputs_of(0))
    for place, channel in [(0, plan.in_channels - 1), (plan.k.group_width - 1, plan.k.group_width)]:
        if channel >= plan.in_channels or channel in start.reads[0]:
            continue
        reads = start.reads.clone()
        reads[0, place] = channel
        gained = before - error(objective, Assignment(reads, start.makers))
        assert gained == pytest.approx(float(gains[place, channel]) / objective.scale, abs=1e-6)
    exchange = InputExchange(objective, start)
    gained = exchange.round_()
    assert before - error(objective, exchange.assignment) == pytest.approx(gained, abs=1e-6)
    assert {*exchange.assignment.reads.flatten().tolist()} == {*range(plan.in_channels)}


@given(st.integers(1, 4), st.integers(1, 7), SEEDS)
@settings(max_examples=80, deadline=None)
def test_balanced_assignments_are_optimal(groups: int, rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, own = rng.random((rows, groups)).round(1), rng.integers(0, groups, rows)
    found = improved(values, own)
    assert sorted(found) == sorted(own)
    best = max(values[np.arange(rows), list(order)].sum() for order in set(permutations(own.tolist())))
    assert values[np.arange(rows), found].sum() == pytest.approx(best)


def test_larger_balanced_assignments_keep_their_sizes() -> None:
    rng = np.random.default_rng(0)
    values, own = rng.random((400, 20)), np.arange(400) % 20
    found = improved(values, own)
    assert (np.bincount(found) == 20).all()
    assert values[np.arange(400), found].mean() > 0.9
